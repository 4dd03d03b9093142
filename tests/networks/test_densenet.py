"""Fully convolutional networks: maps from the image to the latent and back, without a fully connected layer."""

import pytest
import torch
from torch import nn

from pyro_vaes import VAE, recipes
from pyro_vaes.errors import InputError
from pyro_vaes.guides import FullCovariance, MeanField
from pyro_vaes.likelihoods import PixelCNNPP
from pyro_vaes.losses import ELBO
from pyro_vaes.networks import DenseNetDecoder, DenseNetEncoder
from pyro_vaes.priors import ConvolutionalFlow

CHANNELS = (4, 6, 8)


def build(shape=(3, 8, 8), maps=(2, 2, 2)):
    size = torch.Size(maps).numel()
    decoder = DenseNetDecoder(size, (2, *shape[1:]), channels=CHANNELS[::-1])
    likelihood = PixelCNNPP(shape, 2, num_bins=4, components=2, blocks=1, channels=4)
    model = VAE(decoder, ConvolutionalFlow(size, maps, flows=2, channels=(6, 6)), likelihood)
    return model, MeanField(model, DenseNetEncoder(shape, channels=CHANNELS))


def test_no_layer_between_image_and_maps_is_fully_connected():
    model, guide = build()
    layers = [*guide.modules(), *model.decoder.modules(), *model.prior.modules()]
    assert not any(isinstance(each, nn.Linear) for each in layers)
    x = torch.randint(4, (5, 3, 8, 8)) / 3
    ELBO().loss_and_grads(model, guide, x)
    for module in (model, guide):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name


def test_a_latent_belongs_to_its_place():
    """μ and σ at one corner depend on the image there and not at the opposite corner, and so do the features on z."""
    shape, maps = (3, 32, 32), (2, 8, 8)
    encoder = DenseNetEncoder(shape, channels=CHANNELS)
    head = encoder.make_head(2 * 2 * 8 * 8)
    x = torch.rand(1, *shape, requires_grad=True)
    outputs = head(encoder(x)).chunk(2, -1)
    for each in outputs:
        (slope,) = torch.autograd.grad(each.reshape(maps)[:, 0, 0].sum(), x, retain_graph=True)
        assert slope[..., 0, 0].any()
        assert not slope[..., 16:, 16:].any()
    z = torch.randn(1, 128, requires_grad=True)
    features = DenseNetDecoder(128, (4, 32, 32), channels=CHANNELS[::-1])(z)
    (slope,) = torch.autograd.grad(features[..., :2, :2].sum(), z)
    assert slope.reshape(maps)[:, 0, 0].all()
    assert not slope.reshape(maps)[:, 4:, 4:].any()


@pytest.mark.parametrize(("shape", "maps"), [((3, 8, 8), (2, 2, 2)), ((3, 9, 7), (1, 3, 2))])
def test_leading_dimensions_equal_a_loop(shape, maps):
    model, guide = build(shape, maps)
    model.double(), guide.double()
    x, z = torch.rand(3, 2, *shape).double(), torch.randn(3, 2, model.latent_dim).double()
    found = guide.posterior(x)
    assert found.batch_shape == (3, 2)
    torch.testing.assert_close(found.mean, torch.stack([guide.posterior(row).mean for row in x]))
    torch.testing.assert_close(model.features(z), torch.stack([model.features(row) for row in z]))


def test_channels_grow_by_at_most_sixteen_per_dense_block():
    encoder = DenseNetEncoder((3, 32, 32))
    blocks = [each for each in encoder.net if hasattr(each, "net")]
    assert [each.net[2].out_channels for each in blocks] == [15] * 3 + [16] * 9
    assert (encoder.map_size, encoder.channels, encoder.out_features) == ((8, 8), 96, 96 * 64)


def test_another_guide_starts_from_a_mean_field_one_on_maps():
    model, guide = build()
    other = MeanField(model, DenseNetEncoder((3, 8, 8), channels=CHANNELS))
    other.start_from(guide)
    x = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(other.posterior(x).mean, guide.posterior(x).mean)


def test_the_setting_builds_maps():
    settings = recipes.Settings(
        network="densenet", hidden=CHANNELS, latent_dim=8, prior="convolutional-flow(event_shape=(2, 2, 2), flows=1)"
    )
    model, guide, _ = recipes.lossy((3, 8, 8), settings)
    assert guide.posterior(torch.rand(4, 3, 8, 8)).event_shape == (8,)
    assert model.sample(2).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DenseNetEncoder((3, 8, 8), channels=(8, 8)), "expected each larger than the one before"),
        (lambda: DenseNetEncoder((3, 8, 8), channels=(2, 8)), "images of 3 channels"),
        (lambda: DenseNetEncoder((3, 4, 4), channels=(4, 6, 8, 10)), "the most is 2"),
        (lambda: DenseNetDecoder(6, (2, 8, 8), channels=(8, 6, 4)), "no maps of 2 x 2: take a multiple of 4"),
        (lambda: FullCovariance(build()[0], DenseNetEncoder((3, 8, 8), channels=CHANNELS)), "this one needs 44: take"),
        (lambda: DenseNetEncoder((3, 8, 8), channels=CHANNELS).make_head(6), "no maps of 2 x 2: take a latent_dim"),
    ],
)
def test_sizes_that_are_no_maps_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
