"""Networks of one batch dimension under several, and what such a decoder is told."""

import contextlib

import pytest
import torch
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.networks import BatchApply, LadderMLPDecoder, LadderMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.networks.evaluation_mode import evaluation_mode
from pyro_vaes.priors import StandardNormal

SHAPE = (1, 4, 4)


def convolutional():
    layers = (nn.Linear(2, 16), nn.Unflatten(1, (4, 2, 2)), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, 2))
    return nn.Sequential(*layers)


class View(nn.Module):
    """Gives all samples of a datum side by side."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 16)

    def forward(self, z):
        return self.linear(z).view(len(z), -1)


class Reshape(View):
    """Takes (S, B, Z), but reads the samples as if they were data, in another order."""

    def forward(self, z):
        return self.linear(z.transpose(0, -2).reshape(*z.shape)).reshape(*z.shape[:-1], *SHAPE)


class Centered(View):
    """Takes (S, B, Z), but centers over the first dimension."""

    def forward(self, z):
        return self.linear(z - z.mean(0)).reshape(*z.shape[:-1], *SHAPE)


class Noisy(View):
    """Takes (S, B, Z), and draws noise."""

    def forward(self, z):
        return self.linear(z + torch.randn_like(z)).reshape(*z.shape[:-1], *SHAPE)


def build(decoder):
    return VAE(decoder, StandardNormal(2), Gaussian(0.5))


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        (convolutional, "raises RuntimeError"),
        (lambda: nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, SHAPE)), "raises RuntimeError"),
        (View, r"shape \(2, 48\), expected \(2, 3, 16\)"),
        (lambda: nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16)), "raises"),
        (Reshape, "since it mixes examples"),
        (Centered, "since it mixes examples"),
    ],
    ids=["convolutions", "unflatten", "view", "batch norm", "order", "centered"],
)
def test_a_decoder_of_one_batch_dimension_is_told_of_the_wrapper(decoder, words):
    with pytest.raises(InputError, match=rf"(?s){words}.*decoder = pyro_vaes.networks.BatchApply\(decoder\)"):
        build(decoder())


@pytest.mark.parametrize("decoder", [convolutional, View], ids=["convolutions", "view"])
def test_wrapped_it_decodes_every_sample_as_alone(decoder):
    vae, z = build(BatchApply(decoder())), torch.randn(5, 3, 2)
    assert vae.decode(z).shape == (5, 3, *vae.event_shape)
    torch.testing.assert_close(vae.decode(z)[4], vae.decoder.module(z[4]))
    torch.testing.assert_close(vae.decode(z[0, 0]), vae.decoder.module(z[0, :1])[0])


def test_a_decoder_with_noise_of_its_own_is_taken():
    decoder, before = Noisy(), torch.get_rng_state()
    assert build(decoder).event_shape == SHAPE
    assert torch.equal(torch.get_rng_state(), before)


def test_laplace_differentiates_a_wrapped_decoder():
    vae = build(BatchApply(convolutional()))
    guide = Laplace(vae, BatchApply(nn.Sequential(nn.Flatten(), nn.Linear(16, 7)), event_dim=3))
    plain = build(MLPDecoder(2, SHAPE, hidden=()))
    assert guide.posterior(torch.zeros(3, *SHAPE)).event_shape == (2,)
    wrapped = build(BatchApply(plain.decoder))
    other = Laplace(wrapped, guide.encoder)
    other.load_state_dict(guide.state_dict())
    x = torch.randn(3, *SHAPE)
    own = Laplace(plain, guide.encoder)
    own.load_state_dict(guide.state_dict())
    torch.testing.assert_close(own.posterior(x).mean, other.posterior(x).mean)


def test_lists_of_latents_and_of_features():
    decoder = LadderMLPDecoder((2, 3), SHAPE, hidden=((8,), (8,)))
    z = [torch.randn(5, 4, 2), torch.randn(5, 4, 3)]
    torch.testing.assert_close(BatchApply(decoder)(z), decoder(z))
    encoder, x = LadderMLPEncoder(SHAPE, hidden=((8,), (6,))), torch.randn(5, 4, *SHAPE)
    wrapped = BatchApply(encoder, event_dim=3)
    assert wrapped.out_features == encoder.out_features
    for own, other in zip(encoder(x), wrapped(x), strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (lambda: MLPEncoder((1, 5, 4), hidden=(8,)), r"does not take data \(B, 1, 4, 4\)"),
        (lambda: nn.Linear(4, 8), r"features of shape \(3, 1, 4, 8\).*expected \(3, 8\)"),
        (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(48, 8)), r"features of shape \(8,\).*expected \(3, 8\)"),
    ],
    ids=["another size", "pixels left", "no batch"],
)
def test_an_encoder_that_does_not_take_the_models_data_is_refused(encoder, words):
    with pytest.raises(InputError, match=words):
        MeanField(VAE(MLPDecoder(2, SHAPE), StandardNormal(2), Bernoulli()), encoder())


def test_what_is_tried_keeps_its_statistics_and_modes():
    norm = nn.BatchNorm2d(4)
    decoder = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (4, 2, 2)), norm, nn.ConvTranspose2d(4, 1, 2, 2))
    norm.eval()
    decoder[0].train()
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6))
    MeanField(build(BatchApply(decoder)), encoder)
    assert (norm.training, decoder[0].training, encoder[2].training) == (False, True, True)
    assert norm.num_batches_tracked == encoder[2].num_batches_tracked == 0


def test_lazy_layers_get_their_sizes():
    vae = build(nn.Sequential(nn.LazyLinear(16), nn.Unflatten(-1, SHAPE)))
    guide = MeanField(vae, nn.Sequential(nn.Flatten(), nn.LazyLinear(7)))
    assert guide.posterior(torch.zeros(3, *SHAPE)).event_shape == (2,)


def test_on_the_meta_device_shapes_are_known():
    with torch.device("meta"):
        vae = build(MLPDecoder(2, SHAPE))
        guide = MeanField(vae, MLPEncoder(SHAPE))
    assert vae.event_shape == SHAPE
    assert guide.head.weight.is_meta


def test_every_part_gets_its_own_mode_back():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Dropout()))
    model[1].eval()
    model[1][0].train()
    before = [part.training for part in model.modules()]
    with contextlib.suppress(ZeroDivisionError), evaluation_mode(model, len, None):
        assert not any(part.training for part in model.modules())
        raise ZeroDivisionError
    assert [part.training for part in model.modules()] == before
