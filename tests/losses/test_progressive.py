"""The ELBO of a ladder whose levels fade in, and its schedule."""

import math

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO, Warmup
from pyro_vaes.losses.progressive import ProgressiveELBO
from pyro_vaes.losses.schedules import ExponentialWarmup
from pyro_vaes.testing.pairs import Pair
from pyro_vaes.testing.training import assert_trains
from tests.helpers.hierarchies import SIZES, hierarchy, ladder


def test_latents_fade_in_from_the_top():
    model, guide, x, _ = ladder()
    loss = ProgressiveELBO(steps=10, beta=0.5)
    loss.num_steps = 5
    torch.manual_seed(2)
    objective, terms = loss.objective(model, guide, x)
    kl = 0.5 * terms["kl_z2"] + terms["kl_z3"]
    torch.testing.assert_close(objective, terms["reconstruction"] - 0.5 * kl)
    assert model.decoder.presence.tolist() == [0.0, 0.5, 1.0]
    z = [torch.randn(1, size) for size in SIZES]
    torch.testing.assert_close(model.decode(*z), model.decode(torch.zeros(1, 2), *z[1:]))
    assert model.state_dict()["decoder.presence"].tolist() == [0.0, 0.5, 1.0]
    loss.num_steps = 20
    assert_trains(Pair(model, guide, x, loss), loss)


def test_latents_that_are_there_are_the_elbo():
    model, guide, x, _ = ladder()
    values = []
    for loss in (ELBO(), ProgressiveELBO(steps=3)):
        loss.num_steps = 9
        torch.manual_seed(2)
        values.append(loss.objective(model, guide, x)[0])
    assert torch.equal(*values)


def test_warmups():
    assert [ExponentialWarmup(10)(step) for step in (0, 10)] == pytest.approx([0, 1 - math.exp(-1)])
    with pytest.raises(InputError, match="steps is 0"):
        ExponentialWarmup(0)
    with pytest.raises(InputError, match="steps is 0"):
        ProgressiveELBO(0)
    with pytest.raises(InputError, match="MLPDecoder has no latents that fade in"):
        ProgressiveELBO(1, beta=Warmup(3)).terms(*hierarchy()[:3])


def test_the_highest_level_is_alone_at_first():
    loss = ProgressiveELBO(steps=10, alone=5)
    found = []
    for loss.num_steps in (0, 5, 10, 25, 99):
        found.append(loss.presence(levels=3))
    assert found == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.5, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    with pytest.raises(InputError, match="alone is -1"):
        ProgressiveELBO(steps=10, alone=-1)
