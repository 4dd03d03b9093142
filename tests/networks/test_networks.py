"""Encoders and decoders: shapes for any size of picture, leading dimensions, refusals."""

import pytest
import torch
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, linear_head
from pyro_vaes.networks.shapes import out_features

IMAGES = [(1, 8, 8), (3, 9, 7), (1, 28, 28), (3, 32, 32), (2, 5, 16), (1, 3, 2)]
VECTORS = [(5,), (1,)]
BUILDERS = {
    "mlp": (lambda s: MLPEncoder(s, hidden=(6, 4)), lambda s: MLPDecoder(2, s, hidden=(4, 6))),
    "conv": (
        lambda s: ConvEncoder(s, channels=(3,), hidden=4),
        lambda s: ConvDecoder(2, s, channels=(3,), hidden=4),
    ),
    "deep conv": (
        lambda s: ConvEncoder(s, channels=(3, 2, 4)[: (min(s[1:]) - 1).bit_length()], hidden=4),
        lambda s: ConvDecoder(2, s, channels=(3, 2, 4)[: (min(s[1:]) - 1).bit_length()], hidden=4),
    ),
}
CASES = [
    pytest.param(*BUILDERS[name], shape, id=f"{name}-{shape}")
    for name in BUILDERS
    for shape in IMAGES + (VECTORS if name == "mlp" else [])
]


@pytest.mark.parametrize(("make_encoder", "make_decoder", "shape"), CASES)
def test_leading_dimensions_equal_a_loop(make_encoder, make_decoder, shape):
    encoder, decoder = make_encoder(shape).double(), make_decoder(shape).double()
    x, z = torch.rand(3, 2, *shape).double(), torch.randn(3, 2, 2).double()
    features, hidden = decoder(z), encoder(x)
    assert (features.shape, hidden.shape) == ((3, 2, *shape), (3, 2, out_features(encoder)))
    torch.testing.assert_close(features, torch.stack([decoder(row) for row in z]))
    torch.testing.assert_close(hidden, torch.stack([encoder(row) for row in x]))
    assert (decoder(z[0, 0]).shape, encoder(x[0, 0]).shape) == (shape, (out_features(encoder),))


@pytest.mark.parametrize(("make_encoder", "make_decoder", "shape"), CASES)
def test_every_pixel_and_latent_counts(make_encoder, make_decoder, shape):
    x, z = torch.rand(1, *shape, requires_grad=True), torch.randn(2, requires_grad=True)
    encoder, decoder = make_encoder(shape), make_decoder(shape)
    for module in (*encoder.modules(), *decoder.modules()):  # no dead units: only the wiring is tested
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.constant_(module.weight, 0.1)
            nn.init.constant_(module.bias, 0.1)
    encoder(x).sum().backward()
    decoder(z.abs()).sum().backward()
    assert (x.grad != 0).all()
    assert (z.grad != 0).all()
    assert (decoder(z.abs()) > 0.1).all(), "a pixel sees nothing but its bias"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MLPDecoder(0, (4,)), "latent_dim is 0"),
        (lambda: MLPDecoder(2, (4,), hidden=(0,)), "hidden is 0"),
        (lambda: MLPDecoder(2, ()), r"event_shape is \(\)"),
        (lambda: MLPDecoder(2.0, (4,)), "latent_dim is 2.0"),
        (lambda: MLPEncoder((4,), hidden=()), r"hidden is \(\)"),
        (lambda: MLPEncoder((4,), hidden=(8, -1)), r"hidden is \(8, -1\)"),
        (lambda: MLPEncoder((1, 0, 4)), r"event_shape is \(1, 0, 4\)"),
        (lambda: ConvDecoder(0, (1, 8, 8)), "latent_dim is 0"),
        (lambda: ConvDecoder(2, (1, 8, 8), hidden=0), "hidden is 0"),
        (lambda: ConvEncoder((1, 8, 8), hidden=True), "hidden is True"),
        (lambda: ConvEncoder((1, 8, 8), channels=(4, 0)), r"channels is \(4, 0\)"),
        (lambda: ConvEncoder((64,)), "MLPEncoder"),
        (lambda: ConvDecoder(2, (64,)), "MLPDecoder"),
    ],
)
def test_sizes_are_refused_by_name(build, words):
    with pytest.raises(InputError, match=words):
        build()


@pytest.mark.parametrize("build", [ConvEncoder, lambda *a, **k: ConvDecoder(2, *a, **k)], ids=["encoder", "decoder"])
@pytest.mark.parametrize(("shape", "most"), [((1, 4, 4), 2), ((1, 5, 64), 3), ((3, 2, 9), 1)])
def test_too_many_levels_name_the_most_that_fit(build, shape, most):
    build(shape, channels=(2,) * most)
    with pytest.raises(InputError, match=f"{shape[1]} x {shape[2]}: the most is {most}"):
        build(shape, channels=(2,) * (most + 1))


def test_out_features_of_any_encoder():
    assert out_features(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Tanh())) == 3
    with pytest.raises(InputError, match="Flatten does not say how many features"):
        out_features(nn.Flatten())


@pytest.mark.parametrize(
    "decoder",
    [
        ConvDecoder(2, (1, 8, 8), channels=(2,)),
        nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 3)),  # no elementwise layer
        nn.Sequential(nn.Linear(2, 4), nn.ReLU()),  # does not end in a linear one
        nn.Linear(2, 4),
    ],
)
def test_other_decoders_have_no_linear_head(decoder):
    assert linear_head(decoder) is None
