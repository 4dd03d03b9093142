"""One gradient step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vaes.losses.base import Loss


class EagerStep:
    """Forward, backward and Adam, operation by operation; the host never waits for the device.

    Args:
        model: the Pyro model.
        guide: its guide.
        loss: the objective.
        lr: Adam's learning rate.
    """

    def __init__(self, model: nn.Module, guide: nn.Module, loss: Loss, lr: float) -> None:
        self.model, self.guide, self.loss = model, guide, loss
        parameters = {id(p): p for module in (model, guide) for p in module.parameters() if p.requires_grad}
        self.optimizer = torch.optim.Adam(list(parameters.values()), lr=lr, fused=True)
        self.names: list[str] = []

    def __call__(self, x: Tensor) -> Tensor:
        """Take one step on a batch; gives the sums over it of objective and terms, in the order of ``names``."""
        self.optimizer.zero_grad(set_to_none=True)
        objective, terms = self.loss.objective(self.model, self.guide, x)
        (-objective.mean()).backward()
        self.optimizer.step()
        self.loss.step += 1
        self.names = ["objective", *terms]
        return torch.stack([value.detach().sum() for value in (objective, *terms.values())])
