"""The eager step: clipped gradients."""

import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from pyro_vaes.losses import ELBO
from pyro_vaes.training.step import EagerStep
from tests.helpers.training import SHAPE, build, train, weights


def gradients(step):
    return [weight.grad.clone() for weight in step.weights]


@pytest.mark.parametrize("norm", [1e-3, 1.0, 1e6])
def test_clipped_gradients_are_those_of_torch(norm):
    step = EagerStep(*build(), ELBO(), lr=1e-3, clip_norm=norm)
    step.differentiate(torch.rand(5, *SHAPE))
    before = gradients(step)
    step.clip()
    found = gradients(step)
    for weight, gradient in zip(step.weights, before, strict=True):
        weight.grad = gradient.clone()
    whole = clip_grad_norm_(step.weights, norm)
    torch.testing.assert_close(found, gradients(step), rtol=0, atol=0)
    clipped = torch.stack([each.norm() for each in found]).norm()
    assert clipped.item() == pytest.approx(min(norm, whole.item()), rel=1e-5)


def test_steps_are_those_of_a_loop_by_hand():
    """SGD of gradients that are all longer than the norm moves by the norm times the learning rate."""
    pair, by_hand = build(), build()
    step = EagerStep(*pair, ELBO(), 0.01, "sgd", clip_norm=0.5)
    reference = EagerStep(*by_hand, ELBO(), lr=1)
    x = torch.rand(20, *SHAPE)
    for _ in range(5):
        before, state = [weight.detach().clone() for weight in step.weights], torch.get_rng_state()
        step(x)
        torch.set_rng_state(state)
        reference.differentiate(x)
        assert clip_grad_norm_(reference.weights, 0.5) > 0.5
        with torch.no_grad():
            for weight in reference.weights:
                weight.sub_(0.01 * weight.grad)
        moved = torch.stack([(a - b).norm() for a, b in zip(step.weights, before, strict=True)]).norm()
        assert moved.item() == pytest.approx(0.005, rel=1e-4)
    torch.testing.assert_close(weights(pair), weights(by_hand))


def test_fit_clips():
    plain, clipped, by_far = build(), build(), build()
    train(plain, optimizer="sgd")
    train(clipped, optimizer="sgd", clip_norm=0.1)
    train(by_far, optimizer="sgd", clip_norm=1e9)
    torch.testing.assert_close(weights(by_far), weights(plain), rtol=0, atol=0)
    far, near = (
        sum((one - other).norm() for one, other in zip(pair[1].parameters(), build()[1].parameters(), strict=True))
        for pair in (plain, clipped)
    )
    assert near < 0.5 * far
