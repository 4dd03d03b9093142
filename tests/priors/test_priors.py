"""Priors: densities on a grid, curvature, names."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from pyro_vaes.priors import GaussianMixture, Prior, StandardNormal, VampPrior
from pyro_vaes.priors.base import MIN_PRECISION
from pyro_vaes.recipes import Settings, build_seeded, laplace, vae
from tests.helpers.priors import SHAPE, uneven_mixture, vamp


class Correlated(Prior):
    """A normal prior that knows nothing but its density."""

    matrix = torch.tensor([[2.0, 0.6], [0.6, 0.5]]).double()

    def forward(self):
        return dist.MultivariateNormal(torch.ones(2).double(), precision_matrix=self.matrix)


class Saddle(Prior):
    """An unnormalized density with a free sign for each curvature."""

    def __init__(self, *curvatures):
        super().__init__(len(curvatures))
        self.curvatures = nn.Parameter(torch.tensor(curvatures).double())

    def score(self, z):
        return -self.curvatures * z


PRIORS = {
    "StandardNormal": lambda: StandardNormal(2).double(),
    "GaussianMixture": uneven_mixture,
    "VampPrior": lambda: vamp()[0].prior,
    "VampPrior-FullCovariance": lambda: vamp("FullCovariance")[0].prior,
    "Correlated": lambda: Correlated(2),
}


@pytest.fixture(params=PRIORS)
def prior(request):
    return PRIORS[request.param]()


def test_density_integrates_to_one(prior):
    line = torch.linspace(-12, 12, 601)
    z = torch.cartesian_prod(line, line).to(prior().sample())
    with torch.no_grad():
        total = prior().log_prob(z).exp().sum() * (line[1] - line[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-4)


def test_score_and_precision(prior):
    z = torch.randn(5, 3, 2).to(prior().sample())
    torch.testing.assert_close(prior.score(z), Prior.score(prior, z))
    precision = prior.precision(z)
    assert torch.broadcast_shapes(precision.shape, (5, 3, 2, 2)) == (5, 3, 2, 2)
    torch.testing.assert_close(precision, precision.mT)
    assert torch.linalg.eigvalsh(precision).min() > 0


def test_default_precision_where_log_p_is_piecewise_linear():
    class DoubleExponential(Prior):
        def forward(self):
            return dist.Laplace(torch.zeros(2), 1.0).to_event(1)

    precision = DoubleExponential(2).precision(torch.randn(5, 3, 2))
    torch.testing.assert_close(precision, (MIN_PRECISION * torch.eye(2)).expand(5, 3, 2, 2))


def test_default_precision_is_exact_under_normal_priors():
    z = torch.randn(5, 3, 2).double()
    standard = StandardNormal(2).double()
    torch.testing.assert_close(Prior.precision(standard, z), standard.precision(z).expand(5, 3, 2, 2))
    torch.testing.assert_close(Correlated(2).precision(z), Correlated.matrix.expand(5, 3, 2, 2))


def test_default_precision_is_the_absolute_hessian():
    precision = Saddle(3.0, -2.0, 0.0).precision(torch.randn(7, 3).double())
    expected = torch.diag(torch.tensor([3.0, 2.0, MIN_PRECISION]).double())
    torch.testing.assert_close(precision, expected.expand(7, 3, 3))


def test_default_precision_has_the_gradient_of_the_absolute_value():
    prior = Saddle(3.0, -2.0, 3.0)  # equal eigenvalues, where the gradient of eigh is not finite
    prior.precision(torch.zeros(3).double()).sum().backward()
    torch.testing.assert_close(prior.curvatures.grad, torch.tensor([1.0, -1.0, 1.0]).double())


@pytest.mark.parametrize("make", [GaussianMixture, VampPrior])
def test_priors_refuse_numbers_of_components(make):
    with pytest.raises(InputError, match="components is 0"):
        make(2, components=0)


@pytest.mark.parametrize("name", ["standard-normal", "gaussian-mixture(components=3)", "vamp-prior(components=3)"])
def test_recipes_take_a_prior_by_name(name):
    system = build_seeded(vae, SHAPE, Settings(prior=name, latent_dim=2, hidden=(8,)), seed=0)
    terms = ELBO().terms(system.model, system.guide, torch.rand(3, *SHAPE))
    assert terms["kl"].isfinite().all()


@pytest.mark.parametrize(
    ("recipe", "name", "words"), [(vae, "vamp", "vamp-prior"), (laplace, "vamp-prior", "depends on the prior")]
)
def test_recipes_refuse_priors(recipe, name, words):
    with pytest.raises(InputError, match=words):
        recipe(SHAPE, Settings(prior=name, latent_dim=2, hidden=(8,)))
