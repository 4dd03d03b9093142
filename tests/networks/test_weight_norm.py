"""Weight normalization: the same function, normalized outputs at the first look at data, and once only."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from pyro_vaes import VAE, data, fit, recipes
from pyro_vaes.guides import FullCovariance, MeanField
from pyro_vaes.likelihoods import PixelCNN, PixelCNNPP
from pyro_vaes.losses import ELBO
from pyro_vaes.networks import (
    MADE,
    ResNetDecoder,
    ResNetEncoder,
    initialize_weight_norm,
    weight_normalize,
)
from pyro_vaes.networks.copy_weights import copy_rows
from pyro_vaes.networks.weight_norm import set_init_scale
from pyro_vaes.priors import AutoregressiveFlow

MAPS = 2


def parts(shape=(1, 8, 8)):
    decoder = ResNetDecoder(3, (MAPS, *shape[1:]), channels=(8, 6), hidden=16)
    likelihood = PixelCNN(shape, MAPS, window=(5, 2), layers=2, channels=6)
    model = VAE(decoder, AutoregressiveFlow(3, 2, (8,)), likelihood)
    return model, MeanField(model, ResNetEncoder(shape, channels=(6, 8), hidden=16))


def outputs_of(layers, run):
    """The first output of each layer, channels last, flattened."""
    found = {}

    def keep(layer, inputs, output):
        channel = -1 if isinstance(layer, nn.Linear) else 1
        found.setdefault(layer, output.movedim(channel, -1).flatten(0, -2))

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    run()
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    "layer", [nn.Linear(3, 4), nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(3, 4, (2, 3), 2, output_padding=1)]
)
def test_the_weights_stay_until_data_set_them(layer):
    x = torch.randn(50, 3) if isinstance(layer, nn.Linear) else torch.randn(50, 3, 5, 5)
    before = layer(x)
    weight_normalize(layer)
    torch.testing.assert_close(layer(x), before)
    initialize_weight_norm(lambda: layer(x), layer)
    channels_last = layer(x).movedim(-1 if isinstance(layer, nn.Linear) else 1, -1).flatten(0, -2)
    torch.testing.assert_close(channels_last.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(channels_last.std(0), torch.ones(4))
    gain, direction = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    dims = [each for each in range(direction.dim()) if gain.shape[each] == 1]
    torch.testing.assert_close(layer.weight, gain * direction / direction.square().sum(dims, keepdim=True).sqrt())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)])
def test_every_layer_of_a_pair_is_normalized(shape):
    """Outputs have mean 0 and standard deviation 1, or a tenth in the flow, at the draws of the first look."""
    model, guide = parts(shape)
    weight_normalize(model, guide)
    x = (torch.rand(60, *shape) < 0.4).float()

    def run():
        torch.manual_seed(3)
        ELBO().objective(model, guide, x)

    initialize_weight_norm(run, model, guide)
    layers = [each for part in (model, guide) for each in part.modules() if hasattr(each, "parametrizations")]
    found, flow = outputs_of(layers, run), set(model.prior.modules())
    assert len(found) == len(layers) > 20
    for layer, values in found.items():
        varies = values.std(0) > 1e-4
        expected = torch.full_like(values[0], 0.1 if layer in flow else 1.0)
        if layer.bias is not None:
            torch.testing.assert_close(values.mean(0), torch.zeros_like(expected), rtol=0, atol=1e-3)
        torch.testing.assert_close(values.std(0)[varies], expected[varies], rtol=1e-2, atol=0)
    assert guide.encoder(torch.zeros(5, 2, *shape)).shape == (5, 2, 16)


def test_fit_initializes_and_trains_every_parameter():
    model, guide = parts()
    weight_normalize(model, guide)
    x = (torch.rand(60, 1, 8, 8) < 0.4).float()
    images = data.Data.from_arrays(x_train=x, x_valid=x, x_test=x)
    fit(model, guide, images, epochs=1, batch_size=60, progress=False, step="eager")
    layers = [each for part in (model, guide) for each in part.modules() if hasattr(each, "parametrizations")]
    assert all(each.initialized for each in layers)
    ELBO().loss_and_grads(model, guide, x)
    for module in (model, guide):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name


def test_layers_are_initialized_once():
    network, x = nn.Sequential(nn.Linear(3, 4), nn.ELU(), nn.Linear(4, 2, bias=False)), torch.randn(40, 3)
    weight_normalize(network)
    weight_normalize(network)
    initialize_weight_norm(lambda: network(x), network)
    values = network(x)
    initialize_weight_norm(lambda: network(x + 3), network)
    assert torch.equal(network(x), values)
    other = nn.Sequential(nn.Linear(3, 4), nn.ELU(), nn.Linear(4, 2, bias=False))
    weight_normalize(other)
    other.load_state_dict(network.state_dict())
    initialize_weight_norm(lambda: other(x + 3), other)
    assert torch.equal(other(x), values)
    torch.testing.assert_close(copy.deepcopy(network)(x), values)


def test_frozen_layers_stay_as_they_are():
    frozen, x = nn.Linear(3, 4).requires_grad_(False), torch.randn(40, 3)
    weight_normalize(frozen)
    before = frozen(x)
    initialize_weight_norm(lambda: frozen(x), frozen)
    assert torch.equal(frozen(x), before)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_masked_weights_are_no_part_of_the_norm():
    made, z = MADE(4, (9,), outputs=2).double(), torch.randn(60, 4).double()
    set_init_scale(made, 0.5)
    weight_normalize(made)
    initialize_weight_norm(lambda: made(z), made)
    found = torch.autograd.functional.jacobian(made, z[0]).ne(0).any(0)
    assert not (found & ~torch.ones(4, 4).tril(-1).bool()).any()
    torch.testing.assert_close(made(z).std(0)[:, 1:], torch.full((2, 3), 0.5).double())
    made(z).square().sum().backward()
    layer = made.layers[0]
    direction = layer.parametrizations.weight.original1
    connected = layer.mask.any(1)
    assert not (direction * (1 - layer.mask))[connected].any()
    assert not (direction.grad * (1 - layer.mask))[connected].any()


def test_rows_of_a_head_are_copied_with_their_gains():
    model, guide = parts()
    larger = FullCovariance(model, ResNetEncoder((1, 8, 8), channels=(6, 8), hidden=16))
    weight_normalize(guide, larger)
    x = torch.rand(6, 1, 8, 8)
    initialize_weight_norm(lambda: guide.posterior(x), guide)
    larger.start_from(guide)
    copy_rows(guide.head, larger.head)
    torch.testing.assert_close(larger.head(guide.encode(x))[:, :6], guide.head(guide.encode(x)))
    assert not larger.head(guide.encode(x))[:, 6:].any()
    assert larger.head.initialized


def test_a_setting_normalizes_a_recipe_and_a_run_goes_on():
    settings = dataclasses.replace(recipes.mae.small, weight_norm=True, likelihood="pixelcnn(layers=2, channels=4)")
    model, guide, loss = recipes.mae((1, 8, 8), settings)
    images = data.load("digits", binarize="dynamic", train_size=100)
    fit(model, guide, images, loss, epochs=1, progress=False)
    values = {name: p.clone() for name, p in model.named_parameters()}
    fit(model, guide, images, loss, epochs=1, lr=1e-9, progress=False)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, values[name], rtol=0, atol=1e-5)
    assert model.sample(2).shape == (2, 1, 8, 8)


def test_blocks_of_a_pixelcnnpp_are_small_at_first():
    likelihood, maps = (
        PixelCNNPP((3, 8, 8), MAPS, num_bins=4, components=2, blocks=1, channels=6),
        torch.randn(30, 2, 8, 8),
    )
    weight_normalize(likelihood)
    x = torch.randint(4, (30, 3, 8, 8)) / 3
    initialize_weight_norm(lambda: likelihood(maps).log_prob(x), likelihood)
    stream = next(iter(next(iter(likelihood.network.first_half)))).down
    found = outputs_of([stream.first, stream.second], lambda: likelihood(maps).log_prob(x))
    torch.testing.assert_close(found[stream.first].std(0), torch.ones(6), rtol=1e-3, atol=0)
    torch.testing.assert_close(found[stream.second].std(0), torch.full((12,), 0.1), rtol=1e-3, atol=0)
