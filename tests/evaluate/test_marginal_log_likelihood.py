"""The marginal log-likelihood against closed forms and quadrature, whatever the guide."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import MixtureSameFamily, MultivariateNormal

import pyro_vaes as pv
from pyro_vaes import VAE, guides, models
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import MarginalLogLikelihood, log_likelihood, marginal_log_likelihood
from pyro_vaes.evaluate.marginal import adapt, climb, estimate, modes, target, weights
from pyro_vaes.evaluate.marginal.bridge import Bridge, annealed_mean
from pyro_vaes.evaluate.marginal.curvature import curvature
from pyro_vaes.evaluate.marginal.draws import Sampler
from pyro_vaes.evaluate.marginal.modes import propose
from pyro_vaes.evaluate.marginal.student import DEGREES, StudentMixture
from pyro_vaes.evaluate.marginal.target import ModelTarget
from pyro_vaes.evaluate.marginal.traced import TracedTarget
from pyro_vaes.evaluate.marginal.weights import weighted_mean
from pyro_vaes.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, PixelCNN, Poisson
from pyro_vaes.networks import LadderMLPDecoder, LadderMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import AutoregressiveFlow, GaussianMixture, Prior, StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive

EXACT = 1e-6
TOLERANCE = 0.05  # nats, the default


def quadrature(model, x, reach=12.0, points=4001, chunk=500):
    """Log p(x) of a model of one latent dimension by the trapezoidal rule."""
    grid = torch.linspace(-reach, reach, points).to(next(model.parameters()))
    parts = [model.log_joint(x, z.view(-1, 1, 1).expand(-1, len(x), 1)) for z in grid.split(chunk)]
    return torch.cat(parts).detach().double().logsumexp(0) + math.log(2 * reach / (points - 1))


def assert_equals(result, expected, errors=4.0, largest=1.2 * TOLERANCE):
    """Within standard errors, which are small."""
    assert result.per_datum_stderr.max() < largest, "the test says nothing"
    assert result.unreliable == 0
    difference = result.per_datum - expected.detach()
    assert (difference.abs() <= errors * result.per_datum_stderr + 1e-4).all(), difference


def untrained(vae, shape):
    return guides.MeanField(vae, MLPEncoder(shape, hidden=(5,))).to(next(vae.parameters()))


def linear_model(prior, likelihood, width=3, seed=0):
    """A model of one latent dimension with a linear decoder."""
    decoder = MLPDecoder(1, (width,), hidden=())
    with torch.no_grad():
        decoder[0].weight.normal_(generator=torch.Generator().manual_seed(seed))
    return VAE(decoder, prior, likelihood).double()


# --- closed forms -------------------------------------------------------------------------------------------


@pytest.fixture
def linear():
    return LinearGaussian()


def optimal(linear):
    return linear.set_optimal(guides.MeanField(linear.vae, linear.encoder), inverse_positive(linear.mean_field_scale))


STARTS = {
    "no guide": lambda linear: None,
    "untrained": lambda linear: guides.MeanField(linear.vae, linear.encoder).double(),
    "optimal": optimal,
    "exact": lambda linear: guides.Laplace(linear.vae, linear.encoder, updates=1, step_size=1.0).double(),
    "mixture": lambda linear: guides.Mixture(linear.vae, linear.encoder, components=2).double(),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("latent_dim", [1, 3, 7])
def test_linear_gaussian_is_exact(start, latent_dim):
    linear = LinearGaussian(latent_dim)
    result = marginal_log_likelihood(linear.vae, linear.x, STARTS[start](linear))
    torch.testing.assert_close(result.per_datum, linear.log_evidence, rtol=0, atol=EXACT)
    assert result.per_datum_stderr.max() < EXACT
    assert result.unreliable == 0
    assert set(result.method) == {"importance sampling"}
    assert (result.effective_samples > 100).all()


def test_single_precision_is_as_good_as_its_densities():
    linear = LinearGaussian()
    result = marginal_log_likelihood(linear.vae.float(), linear.x.float())
    assert result.per_datum.dtype == torch.float64
    torch.testing.assert_close(result.per_datum, linear.log_evidence, rtol=0, atol=1e-4)


def test_mixture_model_sums_its_clusters_out(linear):
    prior = GaussianMixture(3, components=2).double()
    with torch.no_grad():
        prior.locs.mul_(2)
        prior.logits.copy_(torch.tensor([0.3, -0.5]))
    model = models.MixtureVAE(linear.vae.decoder, prior, linear.vae.likelihood)
    weight, noise = linear.weight, linear.scale**2 * torch.eye(8).double()
    covariances = [weight @ scale.exp().square().diag() @ weight.T + noise for scale in prior.log_scales]
    components = MultivariateNormal(prior.locs @ weight.T + linear.bias, torch.stack(covariances))
    log_probs = components.log_prob(linear.x.flatten(1).unsqueeze(1)) + prior.logits.log_softmax(0)
    assert_equals(marginal_log_likelihood(model, linear.x), log_probs.logsumexp(1))
    guide = models.MixtureGuide(model, linear.encoder).double()
    assert_equals(marginal_log_likelihood(model, linear.x, guide), log_probs.logsumexp(1))


def linear_hierarchy():
    """z2 ~ N(0, I), z1 ~ N(A z2 + a, diag s²), x ~ N(B z1 + b, σ² I), and its evidence."""
    torch.manual_seed(3)
    network = nn.Identity()
    network.out_features = 3
    conditional = models.ConditionalNormal(network, size=2)
    decoder = MLPDecoder(2, (4,), hidden=())
    with torch.no_grad():
        conditional.head.weight[2:] = 0.0
        conditional.head.weight[:2].normal_()
        decoder[0].weight.normal_()
    model = models.HierarchicalVAE(decoder, StandardNormal(3), [conditional], Gaussian(0.5)).double()
    a, b = conditional.head.weight[:2].detach(), decoder[0].weight.detach()
    below = conditional(torch.zeros(3).double())
    covariance = b @ (a @ a.T + below.variance.diag()) @ b.T + model.likelihood.log_scale.exp() ** 2 * torch.eye(4)
    return model, MultivariateNormal(below.mean @ b.T + decoder[0].bias, covariance)


def test_hierarchy_of_normals_is_exact():
    model, evidence = linear_hierarchy()
    x = model.sample(4)
    encoders = [MLPEncoder((4,), hidden=(5,)), MLPEncoder((2,), hidden=(5,))]
    top_down = models.TopDownGuide(model, LadderMLPEncoder((4,), hidden=((5,), (5,)))).double()
    for guide in (None, models.HierarchicalGuide(model, encoders).double(), top_down):
        result = marginal_log_likelihood(model, x, guide)
        torch.testing.assert_close(result.per_datum, evidence.log_prob(x).detach(), rtol=0, atol=EXACT)


# --- quadrature in one dimension ----------------------------------------------------------------------------


class StudentPrior(Prior):
    """Heavier tails than the proposal's."""

    def forward(self):
        one = torch.ones(self.latent_dim, dtype=torch.float64)
        return dist.StudentT(3 * one, 0 * one, one).to_event(1)


class FarApart(GaussianMixture):
    """Two narrow components."""

    def __init__(self):
        super().__init__(1, components=2)
        with torch.no_grad():
            self.locs.copy_(torch.tensor([[-3.0], [2.0]]))
            self.log_scales.copy_(torch.tensor([[-1.0], [-2.0]]))


COUNTS = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 7.0], [0.0, 25.0, 1.0]]).double()
ONE_DIMENSION = {
    "Student-t prior, Gaussian": (lambda: linear_model(StudentPrior(1), Gaussian(0.4)), COUNTS / 4, 400.0),
    "Student-t prior, Poisson": (lambda: linear_model(StudentPrior(1), Poisson()), COUNTS, 40.0),
    "Bernoulli": (lambda: linear_model(StandardNormal(1), Bernoulli()), (COUNTS > 0).double(), 12.0),
    "Poisson": (lambda: linear_model(StandardNormal(1), Poisson()), COUNTS, 12.0),
    "discretized logistic": (
        lambda: linear_model(StandardNormal(1), DiscretizedLogistic(5, 0.2)),
        COUNTS.clamp(max=4) / 4,
        12.0,
    ),
    "mixture prior, Gaussian": (lambda: linear_model(FarApart(), Gaussian(2.0)), COUNTS / 4, 12.0),
    "mixture prior, Bernoulli": (lambda: linear_model(FarApart(), Bernoulli()), (COUNTS > 0).double(), 12.0),
}


@pytest.mark.parametrize("name", ONE_DIMENSION)
@pytest.mark.parametrize("guided", [False, True], ids=["no guide", "untrained"])
def test_one_dimension_equals_quadrature(name, guided):
    make, x, reach = ONE_DIMENSION[name]
    model = make()
    result = marginal_log_likelihood(model, x, untrained(model, (3,)) if guided else None)
    assert_equals(result, quadrature(model, x, reach, points=20_001))


class Square(nn.Module):
    """z²."""

    def forward(self, z):
        return z.square()


def test_both_modes_count():
    model = VAE(Square(), StandardNormal(1), Gaussian(0.3)).double()
    x = torch.tensor([[0.0], [0.5], [1.0], [4.0], [9.0]]).double()
    result = marginal_log_likelihood(model, x)
    expected = quadrature(model, x)
    assert_equals(result, expected)
    mixture = propose(Sampler(ModelTarget(model, x), None))
    assert mixture.log_weights.exp()[3].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert mixture.loc[3].abs().flatten().tolist() == pytest.approx([1.98, 1.98], abs=0.02)


def test_a_mode_that_all_ascents_missed_is_met_by_prior_draws(monkeypatch):
    monkeypatch.setattr(modes, "_prior_starts", lambda target: torch.ones(1, 1, 1).double())
    model = VAE(Square(), StandardNormal(1), Gaussian(0.3)).double()
    x = torch.tensor([[1.0]]).double()
    assert propose(Sampler(ModelTarget(model, x), None)).loc.shape == (1, 1, 1)
    result = marginal_log_likelihood(model, x)
    assert_equals(result, quadrature(model, x), largest=0.15)  # one wide component in place of two
    assert set(result.method) == {"adaptive importance sampling"}


# --- two dimensions -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """A model of two latent dimensions that was trained on digits for a short time, its guide and test images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = pv.data.load("digits", train_size=500)
        vae = VAE(MLPDecoder(2, data.event_shape, hidden=(32,)), StandardNormal(2), Gaussian())
        guide = guides.MeanField(vae, MLPEncoder(data.event_shape, hidden=(32,)))
        pv.fit(vae, guide, data, epochs=20, lr=3e-3, progress=False, step="eager")
    return vae, guide, data.test.x[:8]


@torch.no_grad()
def grid_log_likelihood(vae, x, reach=6.0, points=601):
    axis = torch.linspace(-reach, reach, points)
    grid = torch.cartesian_prod(axis, axis)
    parts = [vae.log_joint(x, z.unsqueeze(1).expand(-1, len(x), 2)).double() for z in grid.split(5000)]
    return torch.cat(parts).logsumexp(0) + 2 * math.log(2 * reach / (points - 1))


def test_digits_equal_the_grid(digits):
    vae, guide, x = digits
    expected = grid_log_likelihood(vae, x)
    for start in (guide, None):
        result = marginal_log_likelihood(vae, x, start, num_samples=2000)
        assert_equals(result, expected, largest=0.04)
        assert result.mean == pytest.approx(expected.mean().item(), abs=0.02)
    bound = log_likelihood(vae, untrained(vae, x.shape[1:]), x, num_samples=4000)
    assert bound.mean < expected.mean() - 0.1, "the guide's own weights would do"


def test_two_guides_give_one_figure(digits):
    vae, guide, x = digits
    first, second = (marginal_log_likelihood(vae, x, each, seed=seed) for seed, each in enumerate((guide, None)))
    errors = (first.per_datum_stderr.square() + second.per_datum_stderr.square()).sqrt()
    mean_error = errors.square().sum().sqrt() / len(x)
    assert abs(first.mean - second.mean) < 3 * mean_error
    assert ((first.per_datum - second.per_datum).abs() < 4 * errors).all()


GUIDES = {
    "MeanField": {},
    "FullCovariance": {},
    "LowRank": {},
    "Householder": {},
    "Laplace": {},
    "SemiAmortized": {"steps": 2},
    "InverseAutoregressiveFlow": {"hidden": (8,)},
    "Mixture": {"components": 2},
    "RecursiveMixture": {"components": 2},
}


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_can_start_it(digits, name):
    vae, _, x = digits
    guide = getattr(guides, name)(vae, MLPEncoder(x.shape[1:], hidden=(5,)), **GUIDES[name])
    result = marginal_log_likelihood(vae, x[:3], guide, num_samples=500)
    assert_equals(result, grid_log_likelihood(vae, x[:3], points=301), largest=0.1)


PIXELS = {"window": (3, 2), "layers": 2, "channels": 4}


def test_pixelcnn_equals_the_grid():
    torch.manual_seed(0)
    decoder = MLPDecoder(1, (2, 4, 4), hidden=(8,))
    with torch.no_grad():
        decoder[0].weight.mul_(4)
        decoder[2].weight.mul_(4)
    model = VAE(decoder, StandardNormal(1), PixelCNN((1, 4, 4), features=2, **PIXELS)).double()
    assert not ModelTarget(model, torch.zeros(1, 1, 4, 4)).has_precision
    x = model.sample(4)
    assert_equals(marginal_log_likelihood(model, x), quadrature(model, x, reach=8.0, points=1001))


# --- several latents ----------------------------------------------------------------------------------------


def ladder(priors, **options):
    torch.manual_seed(1)
    decoder = LadderMLPDecoder((1, 1), (4,), hidden=((6,), (6,)))
    kind = models.LadderMixtureVAE if any(isinstance(each, GaussianMixture) for each in priors) else models.LadderVAE
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(2)
    return kind(decoder, priors, Gaussian(0.5), **options).double()


LADDERS = {
    "ladder": lambda: ladder([StandardNormal(1), StandardNormal(1)]),
    "mixture": lambda: ladder([StandardNormal(1), GaussianMixture(1, components=3)]),
    "clusters": lambda: ladder([StandardNormal(1), GaussianMixture(1, components=3)], cluster_sites=["y2"]),
}


@pytest.mark.parametrize("name", LADDERS)
def test_ladders_equal_the_grid(name):
    model = LADDERS[name]()
    x = model.sample(4)
    axis = torch.linspace(-7, 7, 701).double()
    first, second = (each.view(-1, 1, 1).expand(-1, 4, 1) for each in torch.cartesian_prod(axis, axis).unbind(-1))
    with torch.no_grad():
        expected = model.log_joint(x, first, second).logsumexp(0) + 2 * math.log(0.02)
    kind = models.LadderMixtureGuide if name != "ladder" else models.LadderGuide
    for guide in (None, kind(model, LadderMLPEncoder((4,), hidden=((5,), (5,)))).double()):
        assert_equals(marginal_log_likelihood(model, x, guide), expected)


def test_nonlinear_hierarchy_equals_the_grid():
    torch.manual_seed(2)
    conditional = models.ConditionalNormal(MLPEncoder((1,), hidden=(6,)), size=1)
    model = models.HierarchicalVAE(MLPDecoder(1, (3,), hidden=(6,)), StandardNormal(1), [conditional], Poisson())
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    x = model.sample(4)
    axis = torch.linspace(-9, 9, 901).double()
    low, high = (each.view(-1, 1, 1).expand(-1, 4, 1) for each in torch.cartesian_prod(axis, axis).unbind(-1))
    with torch.no_grad():
        expected = model.log_joint(x, low, high).logsumexp(0) + 2 * math.log(0.02)
    assert_equals(marginal_log_likelihood(model, x), expected)


# --- a user's own model -------------------------------------------------------------------------------------


def chain_of_latents(x):
    shift = pyro.param("shift", torch.tensor(1.0))
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.Normal(shift, 1.0))
        low = pyro.sample("low", dist.Normal(top.unsqueeze(-1), torch.tensor([0.5, 2.0])).to_event(1))
        pyro.sample("x", dist.Normal(low, 0.5).to_event(1), obs=x)


def chain_guide(x):
    with pyro.plate("data", len(x)):
        low = pyro.sample("low", dist.Normal(x, 2.0).to_event(1))
        pyro.sample("top", dist.Normal(low.mean(-1), 1.0))


@pytest.mark.parametrize("guide", [None, chain_guide], ids=["no guide", "guide"])
def test_a_users_own_model_of_several_latents(guide):
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0], [1.0, 4.0]])
    pyro.param("shift", torch.tensor(2.0))
    covariance = torch.ones(2, 2) + torch.tensor([0.5, 4.25]).diag()
    result = marginal_log_likelihood(chain_of_latents, x, guide)
    expected = MultivariateNormal(torch.full((2,), 2.0), covariance).log_prob(x)
    torch.testing.assert_close(result.per_datum, expected.double(), rtol=0, atol=2e-3)
    assert list(pyro.get_param_store()) == ["shift"]


def gamma_poisson(x):
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
        pyro.sample("x", dist.Poisson(rate.unsqueeze(-1).expand(*rate.shape, x.shape[-1])).to_event(1), obs=x)


def gamma_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("rate", dist.Gamma(1.0 + x.sum(-1), 1.0 + x.shape[-1]))


def gamma_evidence(x):
    shape, total, count = 2.0, x.sum(-1), x.shape[-1]
    norm = torch.lgamma(total + shape) - math.lgamma(shape) - torch.lgamma(x + 1).sum(-1)
    return norm + shape * math.log(0.5) - (total + shape) * math.log(0.5 + count)


def dirichlet_multinomial(x):
    with pyro.plate("data", len(x)):
        share = pyro.sample("share", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
        pyro.sample("x", dist.Multinomial(probs=share, validate_args=False), obs=x)


def dirichlet_evidence(x):
    return dist.DirichletMultinomial(torch.tensor([1.0, 2.0, 3.0]), total_count=10).log_prob(x)


def uniform_within(x):
    """A bound that another latent sets."""
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.Uniform(torch.tensor(1.0), 3.0))
        z = pyro.sample("z", dist.Uniform(torch.zeros(()), top))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), 0.5).to_event(1), obs=x)


def uniform_evidence(x):
    top = torch.linspace(1, 3, 2001).double()
    inside = torch.special.ndtr((top - x) / 0.5) - torch.special.ndtr(-x / 0.5)
    return torch.trapezoid(inside / top / 2, top, dim=-1).log()


BOUNDED = {
    "positive": (gamma_poisson, None, COUNTS.float(), gamma_evidence),
    "positive, guided": (gamma_poisson, gamma_guide, COUNTS.float(), gamma_evidence),
    "simplex": (dirichlet_multinomial, None, torch.tensor([[1.0, 2, 7], [10, 0, 0], [3, 3, 4]]), dirichlet_evidence),
    "interval": (uniform_within, None, torch.tensor([[0.5], [2.0], [-0.3]]), uniform_evidence),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_latents(name):
    model, guide, x, evidence = BOUNDED[name]
    assert_equals(marginal_log_likelihood(model, x, guide), evidence(x).double())


def within_one(x):
    """Data that rule most latents out."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        low = z.unsqueeze(-1) - 1
        pyro.sample("x", dist.Uniform(low, low + 2, validate_args=False).to_event(1), obs=x)


def test_hard_edges():
    x = torch.tensor([[0.0], [0.7], [2.5]])
    inside = torch.special.ndtr(x.double() + 1) - torch.special.ndtr(x.double() - 1)
    assert_equals(marginal_log_likelihood(within_one, x), (inside / 2).log()[:, 0])


def test_a_users_guide_of_a_library_model(linear):
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(3).double(), 1.0).to_event(1))

    result = marginal_log_likelihood(linear.vae, linear.x, guide)
    torch.testing.assert_close(result.per_datum, linear.log_evidence, rtol=0, atol=EXACT)


# --- draws, memory, results ---------------------------------------------------------------------------------


def small():
    torch.manual_seed(0)
    vae = VAE(MLPDecoder(2, (6,), hidden=(5,)), StandardNormal(2), Bernoulli()).double()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(3)
    return vae, torch.rand(7, 6).double().round()


def test_seeds_fix_the_draws():
    vae, x = small()
    guide = untrained(vae, (6,))
    before = torch.random.get_rng_state()
    first, again, other = (marginal_log_likelihood(vae, x, guide, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.per_datum, again.per_datum)
    assert not torch.equal(first.per_datum, other.per_datum)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(p.grad is None and p.requires_grad for p in vae.parameters())


@pytest.mark.parametrize("values", [1, 100, 5000])
def test_memory_does_not_change_the_result(monkeypatch, values):
    vae, x = small()
    whole = marginal_log_likelihood(vae, x)
    most = []
    densities = ModelTarget.densities
    monkeypatch.setattr(
        ModelTarget, "densities", lambda self, z: most.append(len(z) * self.x.numel()) or densities(self, z)
    )
    for module in (target, climb, estimate):
        monkeypatch.setattr(module, "CHUNK_VALUES", values)
    parts = marginal_log_likelihood(vae, x)
    assert max(most) <= max(values, len(climb.LENGTHS) * x.numel())
    torch.testing.assert_close(parts.per_datum, whole.per_datum, rtol=0, atol=1e-9)
    torch.testing.assert_close(parts.pareto_k, whole.pareto_k, rtol=0, atol=1e-6)


def test_blocks_of_data_are_estimated_one_after_the_other(monkeypatch):
    vae, x = small()
    whole = marginal_log_likelihood(vae, x)
    monkeypatch.setattr(estimate, "BLOCK_VALUES", 3 * 2 * 1000)
    sizes, run = [], estimate.propose
    monkeypatch.setattr(estimate, "propose", lambda sampler: sizes.append(len(sampler.target.x)) or run(sampler))
    parts = marginal_log_likelihood(vae, x)
    assert sizes == [3, 3, 1]
    first = marginal_log_likelihood(vae, x[:3])
    assert torch.equal(parts.per_datum[:3], first.per_datum)
    errors = (whole.per_datum_stderr.square() + parts.per_datum_stderr.square()).sqrt()
    assert ((whole.per_datum - parts.per_datum).abs() < 4 * errors).all()


def test_result_says_what_it_is(capsys):
    vae, x = small()
    result = marginal_log_likelihood(vae, x, num_samples=200, progress=True)
    assert isinstance(result, MarginalLogLikelihood)
    for values in (result.per_datum, result.per_datum_stderr, result.pareto_k, result.effective_samples):
        assert values.shape == (7,)
        assert values.isfinite().all()
    assert len(result.method) == 7
    assert result.mean == pytest.approx(result.per_datum.mean().item())
    assert result.stderr == pytest.approx(result.per_datum.std().item() / 7**0.5)
    assert (result.effective_samples <= 200).all()
    assert "7 data (" in result.describe()
    assert "200 samples" in result.describe()
    assert "7/7" in capsys.readouterr().err


def test_unreliable_is_a_share():
    result = MarginalLogLikelihood(
        torch.zeros(4), torch.zeros(4), torch.tensor([0.1, 0.7, 0.8, 3.0]), torch.ones(4), (), 1
    )
    assert result.unreliable == 0.5


# --- parts --------------------------------------------------------------------------------------------------


def test_student_mixture_is_that_of_pyro():
    torch.manual_seed(0)
    tril = torch.randn(4, 3, 2, 2).double().tril()
    tril.diagonal(dim1=-2, dim2=-1).abs_().add_(0.3)
    mixture = StudentMixture(torch.randn(4, 3).double().log_softmax(-1), torch.randn(4, 3, 2).double(), tril)
    parts = dist.Categorical(logits=mixture.log_weights)
    students = dist.MultivariateStudentT(torch.tensor(DEGREES).double(), mixture.loc, tril)
    normals = MultivariateNormal(mixture.loc, scale_tril=tril)
    z = torch.randn(5, 4, 2).double()
    torch.testing.assert_close(mixture.log_prob(z), dist.MixtureSameFamily(parts, students).log_prob(z))
    expected = MixtureSameFamily(parts, normals).log_prob(z)
    torch.testing.assert_close(mixture.log_components(z)[1].logsumexp(-1), expected)


def test_student_mixture_draws_have_its_moments():
    loc = torch.tensor([[[-20.0], [20.0]], [[0.0], [50.0]]]).double()
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).double()
    mixture = StudentMixture(weights.log(), loc, torch.tensor([0.5, 2.0]).double().view(1, 2, 1, 1).expand(2, 2, 1, 1))
    z = mixture.sample(40_000)
    upper = z[:, 0, 0] > 0
    assert upper.double().mean() == pytest.approx(0.75, abs=1e-3)
    assert z[upper, 0].mean() == pytest.approx(20.0, abs=0.1)
    assert z[~upper, 0].var() == pytest.approx(0.25 * DEGREES / (DEGREES - 2), rel=0.1)
    assert z[:, 1].var() == pytest.approx(0.25 * DEGREES / (DEGREES - 2), rel=0.1)


def test_weights_of_a_proposal_have_the_mean_one(linear):
    """Of the posterior itself, which is its own target: the defensive parts are drawn and counted alike."""
    sampler = Sampler(ModelTarget(linear.vae, linear.x), STARTS["untrained"](linear))
    mixture = propose(sampler)
    draws = sampler.draw(mixture, 20_000)
    weights = (draws.log_joint - draws.log_proposal(mixture.log_prob(draws.z)) - linear.log_evidence).exp()
    errors = weights.std(0) / len(weights) ** 0.5
    assert errors.max() < 0.02
    assert ((weights.mean(0) - 1).abs() < 4 * errors).all()
    guide = sampler.guide.log_prob(draws.z)
    assert (draws.log_proposal(mixture.log_prob(draws.z)) >= guide + math.log(0.05) - 1e-9).all()


def test_a_held_control_variate_leaves_the_mean_as_it_is():
    proposal, normal = torch.distributions.StudentT(5.0), torch.distributions.Normal(0.0, 1.0)
    goal = torch.distributions.Normal(0.1, 0.95)
    z = proposal.sample((200, 2000)).double()
    log_weights, log_ratio = (each.log_prob(z) - proposal.log_prob(z) for each in (goal, normal))
    held = torch.full((2000,), math.log(0.9)).double()
    result = weighted_mean(log_weights + 2, log_ratio, held + 2)
    means = (result.log_p - 2).exp()
    assert means.mean() == pytest.approx(1.0, abs=4 * means.std().item() / 2000**0.5)
    plain = weighted_mean(log_weights[:, :100])
    assert means.std() < 0.6 * plain.log_p.exp().std()
    assert result.stderr.mean() == pytest.approx(means.std().item(), rel=0.05)


def test_tempering_leaves_enough_draws():
    log_weights = torch.cat([torch.randn(1000, 2).double() * 20, torch.zeros(1000, 1).double()], 1)
    log_weights[:10] = -math.inf
    weights = adapt.temper(log_weights, 100.0)
    effective = 1 / weights.square().sum(0)
    assert effective[:2].tolist() == pytest.approx([100, 100], rel=1e-3)
    assert effective[2].item() == pytest.approx(990)
    assert (weights[:10] == 0).all()


def test_moments_are_those_of_the_posterior(linear):
    sampler = Sampler(ModelTarget(linear.vae, linear.x), None)
    wide = StudentMixture(
        torch.zeros(5, 1).double(), torch.zeros(5, 1, 3).double(), torch.eye(3).double().expand(5, 1, 3, 3)
    )
    draws = sampler.draw(wide, 200_000)
    after = adapt.match_moments([adapt.Round(wide, draws)])
    torch.testing.assert_close(after.loc[:, 0], linear.mean, rtol=0, atol=0.05)
    covariance = after.scale_tril[:, 0] @ after.scale_tril[:, 0].mT
    torch.testing.assert_close(covariance, linear.covariance.expand(5, 3, 3), rtol=0.2, atol=0.01)


def test_curvature_is_the_absolute_hessian():
    def log_density(z):
        return z[..., 0] * z[..., 1] - z[..., 0].square()

    found = curvature(log_density, torch.randn(3, 4, 2).double())
    hessian = torch.tensor([[-2.0, 1.0], [1.0, 0.0]]).double()
    values, vectors = torch.linalg.eigh(hessian)
    torch.testing.assert_close(found, (vectors * values.abs() @ vectors.T).expand(3, 4, 2, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("newton", [True, False], ids=["Newton", "BFGS"])
def test_ascents_arrive_at_the_mode(linear, newton):
    run = ModelTarget(linear.vae, linear.x)
    run.has_precision = newton
    ends = climb.climb(run, 3 * torch.randn(6, 5, 3).double())
    torch.testing.assert_close(ends.z, linear.mean.detach().expand(6, 5, 3), rtol=0, atol=1e-6 if newton else 0.1)
    highest = run.values(linear.mean.detach().unsqueeze(0))[0].expand(6, 5)
    torch.testing.assert_close(ends.log_joint, highest, rtol=0, atol=0.01)
    torch.testing.assert_close(ends.precision, linear.precision.expand(6, 5, 3, 3), rtol=1e-4, atol=1e-4)


def test_the_librarys_densities_are_those_of_its_traces(digits):
    vae, _, x = digits
    fast, traced = ModelTarget(vae, x), TracedTarget(vae, x)
    z = fast.prior_draws(6)
    assert traced.sizes == fast.sizes
    for mine, expected in zip(fast.values(z), traced.values(z), strict=True):
        torch.testing.assert_close(mine, expected)


def test_flow_priors_count():
    torch.manual_seed(0)
    vae = VAE(MLPDecoder(2, (3,), hidden=()), AutoregressiveFlow(2, flows=1, hidden=(4,)), Gaussian(0.5)).double()
    x = vae.sample(3)
    axis = torch.linspace(-9, 9, 451).double()
    with torch.no_grad():
        grid = vae.log_joint(x, torch.cartesian_prod(axis, axis).unsqueeze(1).expand(-1, 3, 2))
    assert_equals(marginal_log_likelihood(vae, x), grid.logsumexp(0) + 2 * math.log(18 / 450))


# --- annealing ----------------------------------------------------------------------------------------------


def off(linear):
    """A proposal that lies beside the posterior."""
    loc = linear.mean.detach().unsqueeze(1) + 1.0
    return StudentMixture(torch.zeros(5, 1).double(), loc, 0.5 * torch.eye(3).double().expand(5, 1, 3, 3))


def test_bridge_goes_from_the_proposal_to_the_target(linear):
    run = ModelTarget(linear.vae, linear.x)
    bridge = Bridge(run, off(linear))
    u = bridge.prior_draws(4000)
    assert u.mean(0).abs().max() < 0.1
    state = bridge(u[:3])
    z = bridge.loc + 0.5 * u[:3]
    torch.testing.assert_close(state.log_density(0.0), off(linear).log_prob(z))
    torch.testing.assert_close(state.log_density(1.0), run.log_joint(z).detach())
    torch.testing.assert_close(state.score(1.0), 0.5 * run.score(z))


def test_annealing_from_a_poor_proposal(linear):
    result = annealed_mean(ModelTarget(linear.vae, linear.x), off(linear))
    assert result.stderr.max() < 0.2
    assert ((result.log_p - linear.log_evidence).abs() < 4 * result.stderr).all()


def test_what_annealing_does_not_settle_is_flagged(linear, monkeypatch):
    hopeless = weighted_mean(torch.randn(200, 5).double() ** 3)
    monkeypatch.setattr(estimate, "annealed_mean", lambda target, mixture: hopeless)
    monkeypatch.setattr(adapt, "ROUNDS", 1)
    factor = torch.eye(3).double().expand(5, 1, 3, 3)
    far = StudentMixture(torch.zeros(5, 1).double(), linear.mean.detach().unsqueeze(1) + 4.0, 0.1 * factor)
    monkeypatch.setattr(estimate, "propose", lambda sampler: far)
    result = marginal_log_likelihood(linear.vae, linear.x)
    assert result.unreliable == (result.pareto_k > 0.7).double().mean()
    assert result.unreliable > 0.5


def test_what_stays_unsettled_is_annealed(linear, monkeypatch):
    monkeypatch.setattr(weights, "HIGHEST_K", -math.inf)  # nothing is good enough
    monkeypatch.setattr(adapt, "ROUNDS", 1)
    monkeypatch.setattr(estimate, "propose", lambda sampler: off(linear))
    result = marginal_log_likelihood(linear.vae, linear.x)
    assert set(result.method) == {"annealed importance sampling"}
    assert_equals(result, linear.log_evidence, largest=0.2)


# --- what is refused ----------------------------------------------------------------------------------------


def model_of(latent, observe=True):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", latent)
            if observe:
                pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape, 2]).to_event(1), obs=x)

    return model


def outside(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape[:-1], len(x), 2]).to_event(1), obs=x)


def two_sites(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("w", dist.Normal(0.0, 1.0))


def impossible(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Uniform(torch.full_like(x, 5.0), 6.0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "guide", "words"),
    [
        (model_of(dist.Bernoulli(0.5)), None, "latent 'z' samples Bernoulli"),
        (model_of(dist.Poisson(3.0)), None, "latent 'z' samples Poisson"),
        (outside, None, "site 'z' has log-densities of shape"),
        (model_of(dist.Normal(0.0, 1.0), observe=False), None, r"has the sites \['z'\]: expected at least one latent"),
        (model_of(dist.Normal(0.0, 1.0)), two_sites, "but the guide samples"),
        (impossible, None, r"log p\(x, z\) is not finite for 3 of 3 observations"),
    ],
    ids=["binary", "count", "outside", "unobserved", "other latents", "impossible"],
)
def test_models_that_cannot_be_estimated_are_refused(model, guide, words):
    with pytest.raises(InputError, match=words):
        marginal_log_likelihood(model, torch.zeros(3, 2), guide)


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (torch.ones(3, 4), {"num_samples": 99}, "num_samples is 99: expected a whole number, 100 or more"),
        (torch.ones(3, 4), {"tolerance": 0.0}, "tolerance is 0.0"),
        (torch.ones(3, 4), {"tolerance": float("nan")}, "tolerance is nan"),
        (torch.ones(3, 4), {"seed": -1}, "seed is -1"),
        (torch.ones(0, 4), {}, "x holds no data"),
        (torch.full((3, 4), 0.5), {}, "Bernoulli needs binary data"),
        (torch.ones(3, 4, dtype=torch.uint8), {}, "x is uint8"),
    ],
    ids=["samples", "tolerance", "nan", "seed", "no data", "grey", "uint8"],
)
def test_input_that_cannot_be_used_is_refused(x, options, words):
    vae = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Bernoulli())
    with pytest.raises(InputError, match=words):
        marginal_log_likelihood(vae, x, **options)


def test_a_guide_of_another_size_is_refused(linear):
    other = VAE(MLPDecoder(2, (1, 2, 4), hidden=()), StandardNormal(2), Gaussian(0.5)).double()
    guide = guides.MeanField(other, MLPEncoder((1, 2, 4), hidden=(3,))).double()
    with pytest.raises(InputError, match=r"latents and their sizes are \{'z': 3\}, but the guide samples \{'z': 2\}"):
        marginal_log_likelihood(linear.vae, linear.x, guide)
