"""The marginal log-likelihood against closed forms and quadrature, its draws and what it refuses."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vaes import VAE, guides
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import MarginalLogLikelihood, log_likelihood, marginal_log_likelihood
from pyro_vaes.evaluate.marginal import adapt, climb, estimate, target
from pyro_vaes.evaluate.marginal.student import StudentMixture
from pyro_vaes.evaluate.marginal.target import ModelTarget
from pyro_vaes.evaluate.marginal.weights import weighted_mean
from pyro_vaes.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Poisson
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import GaussianMixture, Prior, StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian, optimal_mean_field
from tests.helpers.quadrature import COUNTS, EXACT, assert_equals, grid_log_likelihood, quadrature


def untrained(vae, shape):
    return guides.MeanField(vae, MLPEncoder(shape, hidden=(5,))).to(next(vae.parameters()))


STARTS = {
    "no guide": lambda linear: None,
    "untrained": lambda linear: guides.MeanField(linear.vae, linear.encoder).double(),
    "optimal": optimal_mean_field,
    "exact": LinearGaussian.exact_guide,
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


def linear_model(prior, likelihood, width=3, seed=0):
    """A model of one latent dimension with a linear decoder."""
    decoder = MLPDecoder(1, (width,), hidden=())
    with torch.no_grad():
        decoder[0].weight.normal_(generator=torch.Generator().manual_seed(seed))
    return VAE(decoder, prior, likelihood).double()


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


def test_digits_equal_the_grid(digits):
    vae, guide, x = digits
    expected = grid_log_likelihood(vae, x)
    for start in (guide, None):
        result = marginal_log_likelihood(vae, x, start, num_samples=2000)
        assert_equals(result, expected, largest=0.04)
        assert result.mean == pytest.approx(expected.mean().item(), abs=0.02)
    bound = log_likelihood(vae, untrained(vae, x.shape[1:]), x, num_samples=4000)
    assert bound.mean < expected.mean() - 0.1, "the guide's own weights would do"


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
