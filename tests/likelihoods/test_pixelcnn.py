"""PixelCNN: causality and windows by gradients, normalized probabilities, draws with kept activations."""

import itertools

import pytest
import torch

from pyro_vaes import VAE, networks
from pyro_vaes.distributions.pixel_heads import CategoricalHead, LogisticMixtureHead
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import log_weights
from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.likelihoods import PixelCNN, PixelCNNPP, ResidualPixelCNN, SkipPixelCNN
from pyro_vaes.losses import ELBO, FreeBits, MutualPosteriorDivergence
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import AutoregressiveFlow
from pyro_vaes.testing.guides import GUIDE_CHECKS
from pyro_vaes.testing.pairs import Pair
from tests.helpers.windows import assert_window

SHAPE, MAPS = (1, 7, 8), 2
WINDOWS = [(2, 1), (3, 1), (4, 3), (7, 4), (5, 6), (15, 6)]
MODELS = {
    "binary": lambda shape: PixelCNN(shape, MAPS, window=(5, 2), layers=3, channels=6),
    "tied": lambda shape: PixelCNN(shape, MAPS, window=(7, 3), layers=3, channels=6, tied=True),
    "levels": lambda shape: PixelCNN(shape, MAPS, num_bins=5, layers=2, channels=6),
    "mixture": lambda shape: PixelCNNPP(shape, MAPS, num_bins=5, components=3, blocks=1, channels=6),
    "residual": lambda shape: ResidualPixelCNN(shape, MAPS, layers=3, channels=6, tied=True),
    "skips": lambda shape: SkipPixelCNN(shape, MAPS, num_bins=3, kernel_sizes=(5, 3, 3, 3), channels=6),
    "mixture in a window": lambda shape: PixelCNNPP(
        shape, MAPS, num_bins=5, components=3, window=(5, 2), blocks=1, channels=6
    ),
}
every_model = pytest.mark.parametrize("model", MODELS)
every_colouring = pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 4)])


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
@pytest.mark.parametrize("window", WINDOWS)
def test_the_window_is_exact(window, layers):
    network = networks.GatedPixelCNN(SHAPE, MAPS, window, layers, channels=6)
    assert_window(network, window, SHAPE, MAPS)


@pytest.mark.parametrize(("window", "layers"), [((7, 3), 3), ((13, 6), 6), ((5, 2), 2)])
def test_the_window_of_tied_layers_is_exact(window, layers):
    network = networks.GatedPixelCNN(SHAPE, MAPS, window, layers, channels=6, tied=True)
    assert len(list(network.others)) == 1
    assert_window(network, window, SHAPE, MAPS)


def test_without_a_window_every_pixel_before_is_seen():
    assert networks.GatedPixelCNN(SHAPE, MAPS).window == (15, 6)


@every_colouring
@pytest.mark.parametrize("levels", [2, 4])
def test_colours_see_the_colours_before_alone(shape, levels):
    head = CategoricalHead(6, shape[0], levels).double()
    pixel, hidden = torch.rand(shape[0]).double(), torch.randn(6).double()
    slopes = torch.autograd.functional.jacobian(lambda value: head.made(value, head.made.context(hidden)), pixel)
    assert torch.equal(slopes.ne(0).any(0), torch.ones(shape[0], shape[0]).tril(-1).bool())


@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize("levels", [2, 3, 5])
@pytest.mark.parametrize("kind", [CategoricalHead, lambda *sizes: LogisticMixtureHead(*sizes, components=3)])
def test_probabilities_of_a_pixel_sum_to_one(kind, colors, levels):
    head = kind(6, colors, levels).double()
    values = torch.cartesian_prod(*[torch.arange(levels).double() / (levels - 1)] * colors).reshape(-1, colors)
    log_prob = head.log_prob(3 * torch.randn(4, 1, 6).double(), values)
    torch.testing.assert_close(log_prob.exp().sum(-1), torch.ones(4).double())


@pytest.mark.parametrize("kind", [CategoricalHead, lambda *sizes: LogisticMixtureHead(*sizes, components=10)])
def test_probabilities_of_256_levels_sum_to_one(kind):
    head = kind(6, 1, 256).double()
    log_prob = head.log_prob(3 * torch.randn(4, 1, 6).double(), torch.linspace(0, 1, 256).double().unsqueeze(-1))
    torch.testing.assert_close(log_prob.exp().sum(-1), torch.ones(4).double())


@every_model
def test_probabilities_of_images_sum_to_one(model):
    shape = (1, 2, 2)
    levels = 2 if model in ("binary", "tied", "residual") else 3
    likelihood = type(MODELS[model](SHAPE))(shape, MAPS, num_bins=levels, channels=4)
    images = torch.cartesian_prod(*[torch.linspace(0, 1, levels)] * 4).reshape(-1, *shape)
    total = likelihood(torch.randn(MAPS, 2, 2)).log_prob(images).exp().sum()
    torch.testing.assert_close(total, torch.ones(()))


@every_colouring
@every_model
def test_draws_equal_naive_ones_under_one_seed(model, shape):
    likelihood = MODELS[model](shape).double()
    features = 2 * torch.randn(6, MAPS, *shape[1:]).double()
    torch.manual_seed(1)
    kept = likelihood(features).sample()
    torch.manual_seed(1)
    naive = torch.zeros(6, *shape).double()
    with torch.no_grad():
        for r, c in itertools.product(range(shape[1]), range(shape[2])):
            naive[:, :, r, c] = likelihood.head.draw(likelihood.network(naive, features)[:, r, c])
    assert torch.equal(kept, naive)
    assert kept.unique().numel() > 1
    likelihood.check(kept)


@every_model
def test_kept_activations_equal_the_full_pass(model):
    likelihood = MODELS[model](SHAPE)
    features = torch.randn(3, MAPS, *SHAPE[1:])
    hidden = []

    def draw(units):
        hidden.append(units)
        return likelihood.head.draw(units)

    x = likelihood.network.generate(features, draw)
    found = torch.stack(hidden, 1).unflatten(1, SHAPE[1:])
    torch.testing.assert_close(found, likelihood.network(x, features), rtol=0, atol=1e-5)


@torch.no_grad()
@every_model
def test_draws_have_their_probabilities(model):
    """Frequencies of the first pixel's levels, each within 5 standard errors of its probability."""
    likelihood, draws = MODELS[model]((1, 4, 4)), 2000
    features = torch.randn(MAPS, 4, 4)
    first = likelihood(features).sample((draws,))[:, 0, 0, 0]
    hidden = likelihood.network(torch.zeros(1, 1, 4, 4), features.unsqueeze(0))[0, 0, 0]
    for level in torch.linspace(0, 1, likelihood.num_bins):
        p = likelihood.head.log_prob(hidden, level.reshape(1)).exp()
        frequency = ((first - level).abs() < 1e-3).float().mean()
        assert (frequency - p).abs() < 5 * (p * (1 - p) / draws).sqrt() + 1e-6


def build(model="binary", shape=(1, 4, 4), guide=MeanField):
    likelihood = MODELS[model](shape)
    vae = VAE(MLPDecoder(3, (MAPS, *shape[1:]), hidden=(8,)), AutoregressiveFlow(3, 2, (8,)), likelihood)
    return vae, guide(vae, MLPEncoder(shape, hidden=(8,)))


def make_pair(model, shape=(1, 4, 4)):
    vae, guide = build(model, shape)
    return Pair(vae, guide, vae.sample(4), ELBO())


@pytest.mark.parametrize("check", GUIDE_CHECKS, ids=lambda check: check.__name__)
@every_model
def test_contract(check, model):
    check(lambda: make_pair(model))


@pytest.mark.parametrize("loss", [ELBO(num_particles=2), FreeBits(total=1.0), MutualPosteriorDivergence()])
@pytest.mark.parametrize("model", ["levels", "mixture", "mixture in a window"])
def test_losses_on_colour_images(model, loss):
    vae, guide, x, _ = make_pair(model, (3, 3, 3))
    loss.loss_and_grads(vae, guide, x)
    for module in (vae, guide):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
    assert log_weights(vae, guide, x, 3).shape == (3, 4)
    assert vae.decode(torch.zeros(2, 3, 3)).shape == (2, 3, 3, 3, 3)


def test_the_likelihood_learns_a_pattern_that_its_window_predicts():
    """Stripes by columns are a coin flip in the first row and known after it."""
    likelihood = PixelCNN((1, 6, 6), 1, window=(3, 1), layers=2, channels=8)
    x = torch.randint(2, (32, 1, 1, 6)).float().expand(-1, 1, 6, 6)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.02)
    features = torch.zeros(32, 1, 6, 6)
    for _ in range(200):
        optimizer.zero_grad()
        loss = -likelihood(features).log_prob(x).mean()
        loss.backward()
        optimizer.step()
    assert 3.5 < loss.item() < 7  # 6 log 2 = 4.16 for the first row, 24.95 for an image of coin flips
    drawn = likelihood(features).sample()
    assert (drawn == drawn[:, :, :1]).float().mean() > 0.8  # of independent pixels, a half


def test_many_images_have_the_probabilities_of_each():
    likelihood = MODELS["binary"](SHAPE).double()
    features = torch.randn(2, MAPS, *SHAPE[1:]).double()
    images = torch.rand(400, 2, *SHAPE).round().double()
    many = likelihood(features).log_prob(images)
    each = torch.stack([likelihood(features).log_prob(image) for image in images])
    torch.testing.assert_close(many, each)


def test_laplace_is_refused():
    with pytest.raises(InputError, match=r"PixelCNN has no fisher.*MeanField"):
        build(guide=Laplace)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": (7, 7)}, "7 x 7 is too large.*at most 15 wide.*6 high"),
        ({"window": (17, 2)}, "17 x 2 is too large"),
        ({"window": (1, 2)}, "width is 1"),
        ({"window": (3, 0)}, "height is 0"),
        ({"window": 3 * (2,)}, "expected .width, height."),
        ({"window": (7, 5), "layers": 3, "tied": True}, "divide the window 7 x 5 unevenly.*7 x 3"),
        ({"num_bins": 1}, "num_bins is 1"),
        ({"layers": 0}, "layers is 0"),
        ({"event_shape": (5,)}, "needs images"),
        ({"event_shape": (1, 1, 8)}, "2 rows and 2 columns"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        PixelCNN(**({"event_shape": SHAPE, "features": MAPS} | arguments))


def test_features_and_data_of_another_shape_are_refused():
    likelihood = MODELS["binary"](SHAPE)
    with pytest.raises(InputError, match=r"give the decoder event_shape=\(2, 7, 8\)"):
        likelihood(torch.zeros(4, 1, 7, 8))
    with pytest.raises(InputError, match=r"give it event_shape=\(1, 7, 7\)"):
        likelihood.check(torch.zeros(4, 1, 7, 7))
    with pytest.raises(InputError, match=r"x holds 0.5.*binarize"):
        likelihood.check(torch.full((4, *SHAPE), 0.5))
    with pytest.raises(InputError, match=r"x holds 0.3.*dequantize=False"):
        MODELS["levels"](SHAPE).check(torch.full((4, *SHAPE), 0.3))
