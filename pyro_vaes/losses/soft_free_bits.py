"""Soft free bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.losses.base import Pair, Terms
from pyro_vaes.losses.elbo import ELBO


class SoftFreeBits(ELBO):
    """Evidence lower bound with a weight on the KL, at most 1, that keeps the KL near a target.

    After each step the weight grows by a tenth where the batch-mean KL is more than 5 % above the target, and
    shrinks by a tenth where it is below. Unlike :class:`FreeBits` the gradient is smooth at the bound, and the KL is
    not pushed away below it. The terms that are reported never carry the weight.

    Args:
        target: the KL that is to be kept, in nats.
        num_particles: number S of draws a datum.

    Attributes:
        weight: the weight now. It starts at 1 with each training, and finds its value within some tens of steps.

    Shapes:
        ``terms`` gives ``reconstruction`` and ``kl``, each ``(B,)``; a model of several latents adds ``kl_<site>``.

    Raises:
        InputError: If the target is not positive.

    References:
        Variational Lossy Autoencoder (Chen et al., 2017).

    Example:
        >>> loss = SoftFreeBits(target=100.0)
        >>> _ = [loss.loss_and_grads(vae, guide, x) for _ in range(2)]
        >>> loss.weight
        tensor(0.8100)
    """

    traceable, couples_batch = False, True
    rate, margin = 0.1, 0.05

    def __init__(self, target: float, num_particles: int = 1) -> None:
        super().__init__(num_particles)
        if not 0 < target < math.inf:
            raise InputError(f"target is {target}: expected the KL to keep, a positive number of nats")
        self.target = target
        self.weight = torch.ones(())

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """Reconstruction - weight · kl, and the parts."""
        parts = self.parts(model, guide, x, *args)
        kl = parts.kl
        weight = torch.ones_like(kl[0]) if self.num_steps == 0 else self.weight.to(kl)
        if torch.is_grad_enabled():  # what is only evaluated moves nothing
            self.weight = self._adapted(weight, kl.detach().mean())
        return parts.reconstruction - weight * kl, parts.terms()

    def state_dict(self) -> dict[str, Tensor]:
        """The weight."""
        return {"weight": self.weight.cpu()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the weight of a checkpoint that has one."""
        self.weight = state.get("weight", self.weight)

    def _adapted(self, weight: Tensor, kl: Tensor) -> Tensor:
        grown = torch.where(kl > (1 + self.margin) * self.target, (1 + self.rate) * weight, weight)
        return torch.where(kl < self.target, (1 - self.rate) * weight, grown).clamp_max(1).detach()
