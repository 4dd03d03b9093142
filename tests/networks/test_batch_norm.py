"""Batch normalization: against torch's own, under leading dimensions, and which layers have it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pyro_vaes.networks import (
    ConvDecoder,
    ConvEncoder,
    FeatureBatchNorm,
    KaimingHeadMLPEncoder,
    LadderConvDecoder,
    LadderConvEncoder,
    LadderMLPDecoder,
    LadderMLPEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetEncoder,
    batch_normalize,
    linear_head,
)

SHAPE = (1, 8, 8)
NETWORKS = {
    "mlp-encoder": (lambda: MLPEncoder(SHAPE, (6, 4)), 2),
    "kaiming-head": (lambda: KaimingHeadMLPEncoder(SHAPE, (6, 4)), 2),
    "mlp-decoder": (lambda: MLPDecoder(2, SHAPE, (4, 6)), 2),
    "conv-encoder": (lambda: ConvEncoder(SHAPE, (3, 5), hidden=4), 3),
    "conv-decoder": (lambda: ConvDecoder(2, SHAPE, (5, 3), hidden=4), 2),
    "resnet-encoder": (lambda: ResNetEncoder(SHAPE, (3, 4), hidden=4), 3),
    "ladder-mlp-encoder": (lambda: LadderMLPEncoder(SHAPE, ((6,), (4, 3))), 3),
    "ladder-mlp-decoder": (lambda: LadderMLPDecoder((2, 2), SHAPE, ((6,), (4, 3))), 4),
    "ladder-conv-encoder": (lambda: LadderConvEncoder(SHAPE, (3, 5), hidden=4), 4),
    "ladder-conv-decoder": (lambda: LadderConvDecoder((2, 2), SHAPE, (3, 5), hidden=4), 3),
}


def norms(network):
    return [each for each in network.modules() if isinstance(each, FeatureBatchNorm | nn.BatchNorm2d)]


def inputs(name):
    if "encoder" in name or "head" in name:
        return torch.randn(6, *SHAPE)
    return [torch.randn(6, 2), torch.randn(6, 2)] if "ladder" in name else torch.randn(6, 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_before_a_nonlinearity_is_normalized(name):
    make, number = NETWORKS[name]
    network = make()
    before = sum(p.numel() for p in network.parameters())
    batch_normalize(network)
    found = norms(network)
    assert len(found) == number
    assert sum(p.numel() for p in network.parameters()) == before + sum(each.num_features for each in found)
    seen = []
    for each in found:
        each.register_forward_hook(lambda layer, given, output: seen.append(output))
    network.train()(inputs(name))
    assert len(seen) == number
    for output in seen:  # every channel has mean 0 and variance 1 over batch and pixels
        channels = output.movedim(1 if output.dim() == 4 else -1, -1).flatten(0, -2)
        assert channels.mean(0).abs().max() < 1e-5
        variance = channels.var(0, correction=0)
        assert ((variance - 1).abs() < 0.05).logical_or(variance < 1e-3).all()  # where inputs vary


def test_features_are_normalized_over_all_leading_dimensions():
    own, plain, h = FeatureBatchNorm(3), nn.BatchNorm1d(3), torch.randn(5, 4, 3)
    assert torch.equal(own(h), plain(h.flatten(0, 1)).view_as(h))
    assert torch.equal(own.running_mean, plain.running_mean)
    assert torch.allclose(own.eval()(h[0, 0]), F.batch_norm(h[0, :1], own.running_mean, own.running_var)[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_in_evaluation_an_example_depends_on_no_other(name):
    network = NETWORKS[name][0]()
    batch_normalize(network)
    network(inputs(name))
    network.eval()
    x = inputs(name)
    whole, first = network(x), network([each[:1] for each in x] if isinstance(x, list) else x[:1])
    pairs = zip(whole, first, strict=True) if isinstance(whole, list) else [(whole, first)]
    for all_of_them, alone in pairs:
        assert torch.allclose(all_of_them[:1], alone, atol=1e-6)


def test_the_last_layer_stays_as_it_is():
    decoder = MLPDecoder(2, SHAPE, (4, 6))
    last = linear_head(decoder)
    batch_normalize(decoder)
    assert decoder[-2] is last
