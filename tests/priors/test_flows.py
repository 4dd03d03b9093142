"""The flow priors: exact densities, exact draws, and their equivalence to a flow posterior."""

import math

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from pyro_vaes import VAE, priors
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import log_weights
from pyro_vaes.guides import InverseAutoregressiveFlow, Laplace, MeanField, inverse_autoregressive_flow
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.made import ConvolutionalMADE
from pyro_vaes.priors import AutoregressiveFlow, ConvolutionalFlow, Prior, StandardNormal
from pyro_vaes.recipes.spec import instantiate
from pyro_vaes.testing import PRIOR_CHECKS, pair
from pyro_vaes.testing.models import PAIR_CHECKS
from pyro_vaes.testing.training import gradients_are_finite
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive

SHAPE, BATCH, SIZE = (6,), 5, 4
STEPS = ["mean", "affine", "gated"]
MAPS = [(3, 4, 3), (1, 3, 4), (4, 1, 3), (2, 3, 1)]
every_step = pytest.mark.parametrize("transform", STEPS)
every_shape = pytest.mark.parametrize("shape", MAPS, ids=str)


def of_vectors(size, **options):
    return AutoregressiveFlow(size, **{"flows": 2, "hidden": (8,), **options})


def of_maps(size, **options):
    """Under a latent size alone, on a map of one row."""
    return ConvolutionalFlow(size, **{"event_shape": (1, 1, size), "flows": 2, "channels": (8,), **options})


every_flow = pytest.mark.parametrize("flow", [of_vectors, of_maps], ids=["vectors", "maps"])


def scattered(module):
    """In float64, far from its first weights."""
    with torch.no_grad():
        for p in module.double().parameters():
            p.copy_(0.5 * torch.randn_like(p) / p.shape[1:].numel() ** 0.5)
    return module


def to_noise(prior, z):
    for step in prior.transforms():
        z = step(z)
    return z


def from_noise(prior, eps):
    for step in reversed(prior.transforms()):
        eps = step.inv(eps)
    return eps


@every_flow
@every_step
def test_density_equals_autograd(transform, flow):
    prior = scattered(flow(SIZE, flows=3, transform=transform))
    z = 2 * torch.randn(BATCH, SIZE).double()
    log_determinant = torch.stack(
        [torch.linalg.slogdet(jacobian(lambda row: to_noise(prior, row), row)).logabsdet for row in z]
    )
    normal = StandardNormal(SIZE).double()()
    expected = normal.log_prob(to_noise(prior, z)) + log_determinant
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=0, atol=1e-8)
    if transform == "mean":
        assert log_determinant.abs().max() < 1e-10


@every_flow
@every_step
def test_a_sampled_flow_inverts(transform, flow):
    prior = flow(SIZE, flows=4, transform=transform)
    torch.manual_seed(3)
    z = prior().sample((50,))
    torch.manual_seed(3)
    eps = torch.randn(50, SIZE)
    torch.testing.assert_close(to_noise(prior, z), eps, rtol=0, atol=1e-5)
    torch.testing.assert_close(from_noise(prior, eps), z, rtol=0, atol=1e-5)


# --- feature maps --------------------------------------------------------------------------------------------


def seen_by(network):
    """Which coordinates each output sees, both in the network's order."""
    z = torch.randn(len(network.order)).double()
    seen = jacobian(network, z).ne(0).any(0)
    return seen[network.order][:, network.order]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("channels", [(1,), (12,), (9, 7)])
@every_shape
def test_convolutions_see_coordinates_before_alone(shape, channels, reverse):
    seen = seen_by(scattered(ConvolutionalMADE(shape, channels, outputs=2, reverse=reverse)))
    assert not seen.triu().any()
    if channels[0] > 1:
        assert seen[1:].any(1).all(), "a coordinate sees none"
        channel = torch.arange(shape[0])
        assert torch.equal(seen[: shape[0], : shape[0]], channel[:, None] > channel), "of its own pixel"


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_convolutions_reach_as_far_as_they_have_layers(layers, reverse):
    network = scattered(ConvolutionalMADE((1, 7, 9), layers * (8,), reverse=reverse))
    seen = seen_by(network)[4 * 9 + 4].unflatten(0, (7, 9))  # by the pixel in the middle of row 4
    wanted = torch.zeros(7, 9).bool()
    for up in range(layers + 2):
        wanted[4 - up, 4 - layers - 1 : 4 + up + 1] = True
    wanted[4, 4] = False
    assert torch.equal(seen, wanted)


@pytest.mark.parametrize("reverse", [False, True])
@every_shape
def test_one_output_is_that_of_all(shape, reverse):
    network = scattered(ConvolutionalMADE(shape, (9,), outputs=2, reverse=reverse))
    z = torch.randn(2, 5, math.prod(shape)).double()
    single = [torch.stack(network.outputs_at(i, z)) for i in range(z.shape[-1])]
    torch.testing.assert_close(torch.cat(single, -1), torch.stack(network.outputs(z)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-8)], ids=str)
@every_step
@every_shape
def test_steps_of_maps_are_triangular_and_invert(shape, transform, dtype, tolerance):
    size = math.prod(shape)
    prior = ConvolutionalFlow(size, shape, flows=2, channels=(9,), transform=transform).to(dtype)
    z = torch.randn(BATCH, size, dtype=dtype)
    orders = [each.network.order for each in prior.transforms()]
    assert sorted(orders[0]) == list(range(size))
    assert orders[1] == orders[0][::-1]
    for each in prior.transforms():
        eps = each(z)
        torch.testing.assert_close(each.inv(eps.clone()), z, rtol=0, atol=tolerance)  # not the one it remembers
        whole = torch.stack([jacobian(each, row) for row in z])
        order = each.network.order
        assert not whole[:, order][:, :, order].triu(1).any()
        found = each.log_abs_det_jacobian(z, eps)
        torch.testing.assert_close(found, torch.linalg.slogdet(whole).logabsdet, rtol=0, atol=1e-5)


@torch.no_grad()
@every_step
def test_draws_of_maps_have_their_density(transform):
    """The density of a draw is that of the noise it was made of, over the volume's change."""
    prior = ConvolutionalFlow(12, (2, 3, 2), flows=3, channels=(9,), transform=transform).double()
    torch.manual_seed(3)
    z = prior().sample((50,))
    torch.manual_seed(3)
    eps = torch.randn(50, 12, dtype=torch.float64)
    torch.testing.assert_close(to_noise(prior, z), eps, rtol=0, atol=1e-8)
    whole = torch.stack([jacobian(lambda row: from_noise(prior, row), row) for row in eps[:BATCH]])
    expected = StandardNormal(12).double()().log_prob(eps[:BATCH]) - torch.linalg.slogdet(whole).logabsdet
    torch.testing.assert_close(prior().log_prob(z[:BATCH]), expected, rtol=0, atol=1e-8)


@torch.no_grad()
@every_step
@pytest.mark.parametrize("maps", [(2, 1, 1), (1, 2, 1), (1, 1, 2)])
def test_the_density_of_two_maps_integrates_to_one(maps, transform):
    prior = scattered(ConvolutionalFlow(2, maps, flows=2, channels=(8,), transform=transform))
    line = torch.linspace(-10, 10, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    total = prior().log_prob(grid).exp().sum() * (line[1] - line[0]) ** 2
    torch.testing.assert_close(total, torch.ones(()).double(), rtol=0, atol=1e-6)


def test_a_flow_of_maps_without_weights_is_the_standard_normal():
    prior = of_maps(5)
    with torch.no_grad():
        for p in prior.parameters():
            p.zero_()
    z = torch.randn(2, 7, 5)
    torch.testing.assert_close(prior().log_prob(z), StandardNormal(5)().log_prob(z))
    assert prior().sample((0,)).shape == (0, 5)


def test_the_command_line_builds_a_flow_of_maps():
    prior = instantiate("prior", priors, Prior, "convolutional-flow(event_shape=(2,3,3), flows=1, channels=[4])", 18)
    assert prior().sample((2,)).shape == (2, 18)


# --- a flow prior is a flow posterior ------------------------------------------------------------------------


class Deeper(nn.Module):
    """The decoder of a model whose latent is the noise of a flow prior."""

    def __init__(self, prior, decoder):
        super().__init__()
        self.prior, self.decoder = prior, decoder

    def forward(self, eps):
        return self.decoder(from_noise(self.prior, eps))


def test_flow_prior_and_flow_posterior_give_one_elbo(monkeypatch):
    monkeypatch.setattr(inverse_autoregressive_flow, "OPEN_GATE", 1.0)  # its base is then the mean-field posterior
    prior = scattered(AutoregressiveFlow(SIZE, flows=3, hidden=(9,), transform="gated"))
    decoder, encoder = MLPDecoder(SIZE, SHAPE, hidden=(8,)).double(), MLPEncoder(SHAPE, hidden=(8,)).double()
    plain = VAE(decoder, prior, Gaussian(0.5).double())
    deeper = VAE(Deeper(prior, decoder), StandardNormal(SIZE).double(), plain.likelihood)
    mean_field = MeanField(plain, encoder).double()
    flow = InverseAutoregressiveFlow(deeper, encoder, flows=3, hidden=(9,)).double()
    flow.head.load_state_dict(mean_field.head.state_dict())
    for copy, network in zip(flow.flows, prior.flows, strict=True):
        copy.load_state_dict(network.state_dict() | {"context.weight": torch.zeros_like(copy.context.weight)})
    x, values = torch.randn(BATCH, *SHAPE).double(), []
    for each in ((plain, mean_field), (deeper, flow)):
        torch.manual_seed(7)
        values.append(ELBO(num_particles=3).objective(*each, x)[0])
    assert values[0].abs().min() > 1  # something is compared
    torch.testing.assert_close(*values, rtol=0, atol=1e-5)


def test_flow_without_weights_is_the_standard_normal():
    exact = LinearGaussian()
    prior = AutoregressiveFlow(exact.latent_dim, flows=2, transform="affine").double()
    with torch.no_grad():
        for p in prior.parameters():
            p.zero_()
    z = torch.randn(7, exact.latent_dim).double()
    torch.testing.assert_close(prior().log_prob(z), exact.vae.prior().log_prob(z))
    torch.testing.assert_close(prior.score(z), -z)
    torch.testing.assert_close(prior.precision(z), torch.eye(exact.latent_dim).double().expand(7, -1, -1))
    vae = VAE(exact.vae.decoder, prior, Gaussian(0.5, learn=False).double())
    guide = exact.set_optimal(MeanField(vae, exact.encoder), inverse_positive(exact.mean_field_scale))
    draws = log_weights(vae, guide, exact.x, 5000).detach()
    error = (draws.mean(0) - (exact.log_evidence - exact.mean_field_gap)).abs()
    assert (error < 5 * draws.std(0) / 5000**0.5).all()


@pytest.mark.parametrize("check", [*PRIOR_CHECKS, *PAIR_CHECKS], ids=lambda check: check.__name__)
@every_flow
@every_step
def test_contract(check, transform, flow):
    check(lambda: pair(prior=lambda size: flow(size, transform=transform)))


@every_flow
@every_step
def test_laplace_fits(transform, flow):
    gradients_are_finite(
        lambda: pair(lambda *parts: Laplace(*parts, updates=1), prior=lambda size: flow(size, transform=transform))
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 1}, "latent_dim is 1.*latent_dim=2 or more, or the GaussianMixture prior"),
        ({"latent_dim": 3, "flows": 0}, "flows is 0"),
        ({"latent_dim": 3, "hidden": ()}, "hidden is"),
        ({"latent_dim": 3, "transform": "afine"}, "did you mean 'affine'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        AutoregressiveFlow(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 1, "event_shape": (1, 1, 1)}, "latent_dim is 1.*or the GaussianMixture prior"),
        ({"event_shape": (3, 2, 3)}, r"has 18 coordinates, but latent_dim is 12: take latent_dim=18, or a shape"),
        ({"event_shape": (3, 4)}, r"event_shape is \(3, 4\): expected .* \(C, H, W\)"),
        ({"event_shape": (3, 2, -2)}, r"event_shape is \(3, 2, -2\)"),
        ({"flows": 0}, "flows is 0"),
        ({"channels": ()}, "channels is"),
        ({"transform": "afine"}, "did you mean 'affine'"),
    ],
)
def test_bad_arguments_for_maps_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ConvolutionalFlow(**({"latent_dim": 12, "event_shape": (3, 2, 2)} | arguments))
