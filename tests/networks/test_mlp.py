"""Initial weights of fully connected networks and of the heads on them."""

import pytest
import torch

from pyro_vaes import VAE, guides
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import KaimingHeadMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal

LATENT = 50
KAIMING = 2 ** (1 / 3)  # slope of the nonlinearity in Park, Kim and Kim's code


def bound(outputs):
    """Half the width of Kaiming's uniform distribution, by its definition, for a number of outputs."""
    return (2 / (1 + KAIMING**2)) ** 0.5 * (3 / outputs) ** 0.5


def head(encoder, guide=guides.MeanField):
    vae = VAE(MLPDecoder(LATENT, (20,), hidden=(30,)), StandardNormal(LATENT), Gaussian())
    return guide(vae, encoder((20,), hidden=(30, 400))).head


@pytest.mark.parametrize(
    ("guide", "outputs"),
    [(guides.MeanField, 2 * LATENT), (guides.SemiAmortized, 2 * LATENT), (guides.Laplace, 2 * LATENT)],
)
def test_head_is_initialized_like_the_other_layers(guide, outputs):
    found = head(KaimingHeadMLPEncoder, guide)
    weight = found.weight.detach()
    assert not found.bias.any()
    assert weight.shape == (outputs, 400)
    largest = weight.abs().max()
    assert 0.999 * bound(outputs) < largest <= bound(outputs)  # 20,000 draws or more: the tail within 1e-3 is certain
    assert weight.std().item() == pytest.approx(bound(outputs) / 3**0.5, rel=0.02)


def test_layers_below_are_the_same_for_the_same_seed():
    encoders = []
    for kind in (MLPEncoder, KaimingHeadMLPEncoder):
        torch.manual_seed(0)
        encoders.append(kind((20,), hidden=(30, 40)))
    for first, second in zip(*(encoder.parameters() for encoder in encoders), strict=True):
        assert torch.equal(first, second)


def test_by_default_the_head_is_as_torch_initializes_it():
    assert head(MLPEncoder).weight.abs().max() <= 400**-0.5
