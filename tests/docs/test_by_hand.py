"""The steps written by hand, against which speed is measured, do what the library's do."""

import pytest
import torch

import pyro_vaes as pv
from benchmarks.baselines.by_hand import LOSSES, training
from pyro_vaes.param_store import without_registration
from tests.helpers.by_hand import differentiated, pair


def library(vae, guide, x):
    with without_registration():
        return -pv.losses.default_loss(guide).objective(vae, guide, x)[0].mean()


@pytest.mark.parametrize("kind", [kind for kind in LOSSES if kind is not pv.guides.Laplace])
def test_value_and_gradients_equal_the_library(kind):
    vae, guide, x = pair(kind)
    torch.testing.assert_close(
        differentiated(LOSSES[kind], vae, guide, x), differentiated(library, vae, guide, x), rtol=1e-9, atol=1e-10
    )


def test_laplace_equals_the_library_with_one_latent():
    """There both ways to draw turn the same noise into the same z."""
    vae, guide, x = pair(pv.guides.Laplace, latent=1, dtype=torch.float32)
    torch.testing.assert_close(
        differentiated(LOSSES[pv.guides.Laplace], vae, guide, x),
        differentiated(library, vae, guide, x),
        rtol=1e-3,
        atol=1e-4,
    )


def test_laplace_has_the_mean_of_the_library():
    vae, guide, x = pair(pv.guides.Laplace, dtype=torch.float32)
    with torch.no_grad():
        by_hand, ours = (
            torch.stack([loss(vae, guide, x) for _ in range(400)]) for loss in (LOSSES[pv.guides.Laplace], library)
        )
    stderr = ((by_hand.var() + ours.var()) / 400).sqrt()
    assert abs(by_hand.mean() - ours.mean()) < 4 * stderr


@pytest.mark.parametrize("kind", LOSSES)
def test_a_step_moves_every_weight(kind):
    vae, guide, x = pair(kind, dtype=torch.float32)
    named = {**dict(vae.named_parameters(prefix="vae")), **dict(guide.named_parameters(prefix="guide"))}
    before = {name: weight.detach().clone() for name, weight in named.items()}
    training(vae, guide, x)()
    assert not [name for name, weight in named.items() if torch.equal(weight, before[name])]


def test_every_guide_has_a_baseline():
    assert set(LOSSES) == {getattr(pv.guides, name) for name in pv.guides.__all__}
