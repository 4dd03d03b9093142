"""Ascents of log p(x, z)."""

import pytest
import torch

from pyro_vaes.evaluate.marginal import climb
from pyro_vaes.evaluate.marginal.target import ModelTarget


@pytest.mark.parametrize("newton", [True, False], ids=["Newton", "BFGS"])
def test_ascents_arrive_at_the_mode(linear, newton):
    run = ModelTarget(linear.vae, linear.x)
    run.has_precision = newton
    ends = climb.climb(run, 3 * torch.randn(6, 5, 3).double())
    torch.testing.assert_close(ends.z, linear.mean.detach().expand(6, 5, 3), rtol=0, atol=1e-6 if newton else 0.1)
    highest = run.values(linear.mean.detach().unsqueeze(0))[0].expand(6, 5)
    torch.testing.assert_close(ends.log_joint, highest, rtol=0, atol=0.01)
    torch.testing.assert_close(ends.precision, linear.precision.expand(6, 5, 3, 3), rtol=1e-4, atol=1e-4)
