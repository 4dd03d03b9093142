"""Priors: densities on a grid, curvature, the mixture that a guide makes, refusals."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes import VAE, fit
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.guides import FullCovariance, Laplace, MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import GaussianMixture, Prior, StandardNormal, VampPrior
from pyro_vaes.priors.base import MIN_PRECISION
from pyro_vaes.recipes import Settings, build_seeded, laplace, vae

SHAPE = (1, 4, 4)
AMORTISED = {"MeanField": MeanField, "FullCovariance": FullCovariance}


class Correlated(Prior):
    """A normal prior that knows nothing but its density."""

    matrix = torch.tensor([[2.0, 0.6], [0.6, 0.5]]).double()

    def forward(self):
        return dist.MultivariateNormal(torch.ones(2).double(), precision_matrix=self.matrix)


class Saddle(Prior):
    """An unnormalised density with a free sign for each curvature."""

    def __init__(self, *curvatures):
        super().__init__(len(curvatures))
        self.curvatures = nn.Parameter(torch.tensor(curvatures).double())

    def score(self, z):
        return -self.curvatures * z


def pair(prior, guide=MeanField, likelihood=None):
    model = VAE(MLPDecoder(2, SHAPE, hidden=(8,)), prior, likelihood or Bernoulli())
    return model, guide(model, MLPEncoder(SHAPE, hidden=(8,)))


def vamp(guide="MeanField", **options):
    return pair(VampPrior(2, components=6, **options), AMORTISED[guide])


def uneven_mixture():
    prior = GaussianMixture(2, components=4).double()
    for parameter in prior.parameters():
        nn.init.normal_(parameter, std=0.5)
    return prior


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


# --- density, score, precision ------------------------------------------------------------------------------


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


# --- Gaussian mixture ---------------------------------------------------------------------------------------


def test_mixture_equals_a_sum_over_its_components():
    prior, z = uneven_mixture(), torch.randn(9, 2).double()
    scales = prior.log_scales.exp()
    parts = [
        weight * dist.Normal(loc, scale).log_prob(z).sum(-1).exp()
        for weight, loc, scale in zip(prior.logits.softmax(0), prior.locs, scales, strict=True)
    ]
    torch.testing.assert_close(prior().log_prob(z).exp(), sum(parts))
    torch.testing.assert_close(prior.responsibilities(z), torch.stack(parts, -1) / sum(parts).unsqueeze(-1))


def test_mixture_precision_is_the_hessian_and_the_spread_of_scores_between_components():
    prior, z = uneven_mixture(), torch.randn(2).double()
    hessian = -torch.func.hessian(lambda value: prior().log_prob(value))(z)
    shares, pulls = prior.responsibilities(z), (prior.locs - z) * (-2 * prior.log_scales).exp()
    between = (pulls * shares.unsqueeze(-1)).T @ pulls - torch.outer(prior.score(z), prior.score(z))
    torch.testing.assert_close(prior.precision(z), hessian + between)


def test_mixture_components_start_apart_with_the_moments_of_the_standard_normal():
    prior = GaussianMixture(2, components=5000)
    assert torch.pdist(GaussianMixture(2).locs).min() > 0.01
    torch.testing.assert_close(prior().mean, torch.zeros(2), rtol=0, atol=0.05)
    torch.testing.assert_close(prior().variance, torch.ones(2), rtol=0, atol=0.05)


def test_one_component_is_a_normal_whose_laplace_posterior_is_that_of_the_standard_normal():
    mixture = GaussianMixture(2, components=1)
    nn.init.zeros_(mixture.locs)
    nn.init.zeros_(mixture.log_scales)
    model, guide = pair(StandardNormal(2), Laplace)
    other = VAE(model.decoder, mixture, model.likelihood)
    same = Laplace(other, guide.encoder)
    same.head = guide.head
    x = torch.rand(4, *SHAPE).round()
    expected, posterior = guide.posterior(x), same.posterior(x)
    torch.testing.assert_close(posterior.mean, expected.mean)
    torch.testing.assert_close(posterior.precision_tril, expected.precision_tril)


@pytest.mark.parametrize("make", [lambda: GaussianMixture(2, components=3), lambda: DefaultCurvature(2, components=3)])
def test_laplace_trains_under_a_mixture(make):
    model, guide = pair(make(), lambda *both: Laplace(*both, updates=1), Gaussian(0.3))
    before = copy.deepcopy(model.prior.state_dict())
    loss, optimizer = ELBO(), torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.02)
    x, losses = torch.rand(32, *SHAPE), []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(loss.loss_and_grads(model, guide, x).item())
        assert all(p.grad.isfinite().all() for p in model.prior.parameters())
        optimizer.step()
    assert sum(losses[-5:]) < sum(losses[:5])
    unchanged = [name for name, value in model.prior.state_dict().items() if torch.equal(value, before[name])]
    assert unchanged == ["initialized"]


class DefaultCurvature(GaussianMixture):
    """The mixture with the score and precision that every prior has."""

    score, precision = Prior.score, Prior.precision


# --- VampPrior ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guide", AMORTISED)
def test_vamp_prior_is_the_mixture_of_the_guides_posteriors(guide):
    model, q = vamp(guide)
    z = torch.randn(7, 2)
    inputs = model.prior.pseudo_inputs
    assert inputs.shape == (6, *SHAPE)
    assert 0 < inputs.min() < inputs.max() < 1
    with torch.no_grad():
        by_hand = (
            torch.stack([q.posterior(u.unsqueeze(0)).log_prob(z) for u in inputs]).logsumexp(0) - torch.tensor(6).log()
        )
        torch.testing.assert_close(model.prior().log_prob(z), by_hand)
        inputs = torch.rand(4, *SHAPE)
        q.head.bias += 1
        assert not torch.allclose(model.prior().log_prob(z), by_hand), "the prior must follow the guide"


def test_vamp_prior_registers_the_pseudo_inputs_alone_and_each_parameter_once():
    model, guide = vamp()
    assert {name for name, _ in model.prior.named_parameters()} == {"pseudo_logits"}
    assert not {*map(id, model.parameters())} & {*map(id, guide.parameters())}
    guide(x := torch.rand(3, *SHAPE).round())
    model(x)
    store = pyro.get_param_store()
    assert len(store) == len([*model.parameters(), *guide.parameters()])


def test_gradients_of_the_prior_reach_pseudo_inputs_and_encoder():
    model, guide = vamp()
    model.prior().log_prob(torch.randn(5, 2)).sum().backward()
    for name, p in [("pseudo_logits", model.prior.pseudo_logits), *guide.named_parameters()]:
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_vamp_prior_starts_at_training_data():
    x = torch.rand(40, *SHAPE).round()
    data = Data.from_arrays(x_train=x.squeeze(1), x_test=x[:5].squeeze(1))
    model, guide = vamp()
    fit(model, guide, data, epochs=1, lr=1e-9, progress=False, device="cpu")
    inputs = model.prior.pseudo_inputs.detach()
    assert len(inputs.round().unique(dim=0)) == 6
    assert all((x == u).flatten(1).all(1).any() for u in inputs.round())
    torch.testing.assert_close(inputs, 0.05 + 0.9 * inputs.round())


def test_fewer_data_than_pseudo_inputs_leave_the_others_as_they_were():
    model, _ = vamp()
    before = model.prior.pseudo_logits.detach().clone()
    model.prior.initialize(torch.rand(2, *SHAPE))
    changed = (model.prior.pseudo_logits != before).flatten(1).all(1)
    assert changed.tolist() == [True] * 2 + [False] * 4


def test_a_copy_of_the_pair_has_a_prior_of_its_own_guide():
    model, guide = vamp()
    other_model, other_guide = copy.deepcopy((model, guide))
    assert other_model.prior.posterior.func.__self__ is other_guide
    assert model.prior.posterior.func.__self__ is guide


# --- refusals -----------------------------------------------------------------------------------------------


def test_vamp_prior_refuses_to_be_used_without_a_guide():
    model = VAE(MLPDecoder(2, SHAPE), VampPrior(2), Bernoulli())
    with pytest.raises(InputError, match=r"no guide yet: build one first"):
        model.sample(2)


@pytest.mark.parametrize("updates", [0, 2])
def test_vamp_prior_refuses_a_guide_that_asks_for_the_prior(updates):
    model, guide = pair(VampPrior(2), lambda *both: Laplace(*both, updates=updates))
    words = r"the posterior of this guide depends on the prior: .* such as MeanField or FullCovariance"
    for use in (model.prior, lambda: guide(torch.zeros(3, *SHAPE))):
        with pytest.raises(InputError, match=words):
            use()


def test_vamp_prior_refuses_a_second_guide():
    model, guide = vamp()
    with pytest.raises(InputError, match=r"another guide's posteriors already: build the second guide on a VAE"):
        FullCovariance(model, guide.encoder)


@pytest.mark.parametrize("value", [-0.5, 2.0, float("nan")])
def test_vamp_prior_refuses_data_outside_the_unit_interval(value):
    model, _ = vamp()
    with pytest.raises(InputError, match=rf"\[0, 1\], but x holds {value:.4g}"):
        model.prior.initialize(torch.full((3, *SHAPE), value))


@pytest.mark.parametrize("make", [GaussianMixture, VampPrior])
def test_priors_refuse_numbers_of_components(make):
    with pytest.raises(InputError, match="components is 0"):
        make(2, components=0)


# --- by name ------------------------------------------------------------------------------------------------


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
