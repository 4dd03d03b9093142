"""The reference posterior and the comparison with it: exact on the linear-Gaussian model."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.stats import effective_sample_size

import pyro_vaes as pv
from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import nuts_reference as module
from pyro_vaes.evaluate import sliced_wasserstein
from pyro_vaes.evaluate.nuts_reference import ReferencePosterior, reference_posterior
from pyro_vaes.evaluate.reference import compare_with_reference
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import Prior, StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive

DATA = 3


@pytest.fixture(scope="module")
def linear():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LinearGaussian(batch=DATA)


@pytest.fixture(scope="module")
def reference(linear):
    return reference_posterior(linear.vae, linear.x, num_samples=300, warmup_steps=200)


@pytest.fixture
def exact(linear):
    return linear.exact_guide()


def mean_field(linear, factor):
    scale = factor * linear.covariance.diagonal().sqrt()
    return linear.set_optimal(MeanField(linear.vae, linear.encoder), inverse_positive(scale))


def within_four_errors(draws, expected):
    """Whether the mean of draws (chains, S, ...) is what is expected, within 4 Monte Carlo standard errors."""
    error = draws.std((0, 1)) / effective_sample_size(draws).sqrt()
    return bool(((draws.mean((0, 1)) - expected).abs() < 4 * error).all())


def independent_reference(linear, num_samples=500):
    """Four chains of independent draws from the exact posterior."""
    posterior = dist.MultivariateNormal(linear.mean, linear.covariance)
    draws = posterior.sample((4, num_samples))
    worth = torch.full(draws.shape[2:], 4.0 * num_samples)
    return ReferencePosterior(draws, torch.ones_like(worth), worth, {"z": linear.latent_dim})


def test_moments_are_those_of_the_closed_form(linear, reference):
    assert reference.draws.shape == (4, 300, DATA, 3)
    assert within_four_errors(reference.draws, linear.mean)
    deviation = reference.draws - linear.mean
    assert within_four_errors(deviation.square(), linear.covariance.diagonal())
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert within_four_errors(deviation[..., i] * deviation[..., j], linear.covariance[i, j])


def test_the_chains_agree(reference):
    assert reference.reliable == 1
    assert reference.r_hat.max() < 1.01
    assert reference.effective_sample_size.min() > 400
    assert list(pyro.get_param_store()) == []


def test_the_exact_posterior_lies_within_the_null(linear, exact):
    torch.manual_seed(0)
    references = [independent_reference(linear, num_samples=50) for _ in range(30)]
    beyond = [(compare_with_reference(exact, linear.x, each).excess > 0).sum().item() for each in references]
    assert 0 < sum(beyond) <= 4.5 + 4 * (90 * 0.05 * 0.95) ** 0.5  # 5 % of 90 expected


def test_comparison_with_the_chains(linear, reference, exact):
    comparison = compare_with_reference(exact, linear.x, reference)
    assert (comparison.excess < 0).sum() >= DATA - 1
    assert comparison.guide_draws.shape == comparison.reference_draws.shape == (1200, DATA, 3)
    torch.testing.assert_close(comparison.reference_mean, reference.draws.mean((0, 1)))
    deviation = linear.covariance.diagonal().sqrt()
    for scale in (comparison.guide_scale, comparison.reference_scale):
        assert ((scale / deviation - 1).abs() < 0.15).all()
    assert ((comparison.guide_mean - linear.mean).abs() < 4 * deviation / 1200**0.5).all()


@pytest.mark.parametrize("factor", [0.5, 1.0], ids=["half the scale", "no correlation"])
def test_what_is_not_the_posterior_lies_outside_the_null(linear, factor):
    """By independent draws: of the few effective ones of the chains, some hide that correlations are missing."""
    reference = independent_reference(linear)
    assert (compare_with_reference(mean_field(linear, factor), linear.x, reference).excess > 0).all()


def test_sliced_wasserstein_of_a_shift_and_a_scale_is_its_closed_form():
    torch.manual_seed(0)
    angles = torch.nn.functional.normalize(torch.randn(100, 3), dim=1)
    draws = torch.randn(20000, 3)
    shift = torch.tensor([0.3, 0.0, -0.4])
    first, second = ((angles @ each.T).sort(1).values for each in (draws, 1.5 * draws + shift))
    expected = ((angles @ shift).square().mean() + 0.5**2).sqrt().item()  # projections are normal: W² = Δμ² + Δσ²
    assert sliced_wasserstein._sliced_wasserstein(first, second).item() == pytest.approx(expected, rel=0.03)


def test_halves_are_disjoint_sorted_and_random():
    draws = torch.randn(3, 10)
    first, rest = sliced_wasserstein._halves(*draws.sort(1))
    torch.testing.assert_close(torch.cat([first, rest], 1).sort(1).values, draws.sort(1).values)
    for half in (first, rest):
        assert half.shape == (3, 5)
        assert (half.diff() > 0).all()
    assert not first.equal(sliced_wasserstein._halves(*draws.sort(1))[0])


def test_too_few_effective_draws_give_no_distance(linear, exact):
    reference = independent_reference(linear)
    reference.effective_sample_size[0] = 19
    reference.effective_sample_size[1] = torch.nan
    comparison = compare_with_reference(exact, linear.x, reference)
    assert comparison.distance.isnan().tolist() == comparison.null.isnan().tolist() == [True, True, False]


def test_figures_repeat_with_the_seed_and_leave_the_generator_alone(linear, exact):
    before = torch.get_rng_state()
    short = {"num_samples": 10, "warmup_steps": 10, "num_chains": 1}
    first, again, other = (reference_posterior(linear.vae, linear.x, **short, seed=seed) for seed in (1, 1, 2))
    assert first.draws.equal(again.draws)
    assert not first.draws.equal(other.draws)
    distances = [compare_with_reference(exact, linear.x, independent_reference(linear)) for _ in range(2)]
    assert distances[0].guide_draws.equal(distances[1].guide_draws)
    torch.set_rng_state(before)
    reference_posterior(linear.vae, linear.x, **short)
    assert torch.get_rng_state().equal(before)


class LogNormal(Prior):
    """A prior on positive latents."""

    def forward(self):
        return dist.LogNormal(torch.zeros(self.latent_dim), 1.0).to_event(1)


@pytest.mark.parametrize("prior", [StandardNormal, LogNormal])
def test_the_short_way_to_the_potential_is_pyros(prior):
    vae, x = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Gaussian(0.5)), torch.randn(6, 4)
    vae.prior = prior(2)  # a VAE is built with unbounded latents only
    start, expected, transforms, _ = module.initialize_model(vae, (x,), init_strategy=module.init_to_sample)
    potential = module._potential(vae, x, transforms)
    torch.testing.assert_close(potential(start), expected(start))


def test_a_users_own_functions_with_two_latents():
    pyro.param("scale", torch.tensor(2.0))

    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            mean = torch.cat([a.unsqueeze(-1), b], -1)
            pyro.sample("pixels", dist.Normal(mean, pyro.param("scale")).to_event(1), obs=x)

    def guide(x, spread=0.8**0.5):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(x[:, 0] / 5, spread))  # exact: precision 1 + 1 / 4
            pyro.sample("b", dist.Normal(x[:, 1:] / 5, spread).to_event(1))

    x = torch.tensor([[1.0, 2.0, 3.0]])
    reference = reference_posterior(model, x, num_samples=200, warmup_steps=100, num_chains=2)
    assert reference.sites == {"b": 2, "a": 1}
    assert within_four_errors(reference.draws, x[:, [1, 2, 0]] / 5)
    assert compare_with_reference(guide, x, reference).excess < 0
    assert compare_with_reference(lambda x: guide(x, 0.4), x, reference).excess > 0
    assert list(pyro.get_param_store()) == ["scale"]


def discrete(x):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(y.unsqueeze(-1), 1.0).to_event(1), obs=x)


def without_plate(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(z, 1.0).expand(x.shape).to_event(2), obs=x)


BINARY = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Bernoulli())


@pytest.mark.parametrize(
    ("model", "x", "options", "words"),
    [
        (BINARY, torch.ones(33, 4), {}, "33 observations: expected 1 to 32"),
        (BINARY, torch.ones(0, 4), {}, "x holds no data"),
        (BINARY, torch.full((3, 4), 0.5), {}, "Bernoulli needs binary data, but x holds 0.5"),
        (BINARY, torch.ones(3, 4), {"num_samples": 3}, "num_samples is 3: expected a whole number, 4 or more"),
        (BINARY, torch.ones(3, 4), {"num_chains": 0}, "num_chains is 0"),
        (discrete, torch.ones(3, 4), {}, "latent 'y' is discrete"),
        (without_plate, torch.ones(3, 4), {}, r"site 'z' has values of shape \(\), expected \(3,\) first"),
    ],
)
def test_what_cannot_be_sampled_is_refused(model, x, options, words):
    with pytest.raises(InputError, match=words):
        reference_posterior(model, x, **options)


def test_a_reference_of_other_data_or_another_model_is_refused(linear, exact):
    reference = independent_reference(linear)
    with pytest.raises(InputError, match="x holds 2 observations, but the reference 3"):
        compare_with_reference(exact, linear.x[:2], reference)
    with pytest.raises(InputError, match=r"are {'z': 3}, but the guide samples {'z': 2}"):
        compare_with_reference(MeanField(BINARY, MLPEncoder((4,), hidden=(3,))), torch.ones(3, 4), reference)


@pytest.mark.slow
def test_chains_agree_on_a_trained_digits_model_and_training_brings_the_guide_nearer():
    data = pv.data.load("digits")
    vae = VAE(MLPDecoder(16, data.event_shape, hidden=(256,)), StandardNormal(16), Gaussian())
    guide = MeanField(vae, MLPEncoder(data.event_shape, hidden=(256,)))
    pv.fit(vae, guide, data, epochs=50, progress=False)
    x = data.test.x[:3]
    reference = reference_posterior(vae, x)
    assert reference.reliable == 1
    untrained = MeanField(vae, MLPEncoder(data.event_shape, hidden=(256,)))
    near, far = (compare_with_reference(each, x, reference).distance for each in (guide, untrained))
    assert (near < far).all()
