"""Autoregressive bijections whose parameters a masked network gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.nn import functional as F

from pyro_vaes.networks.made import MADE, ConvolutionalMADE

Rule = Callable[..., tuple[Tensor, Tensor]]


def shifted(shift: Tensor) -> tuple[Tensor, Tensor]:
    """Log-slope 0 and shift m: a step that keeps volume."""
    return torch.zeros_like(shift), shift


def affine(shift: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
    """Log-slope s and shift m."""
    return log_slope, shift


def gated(mean: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Slope g = sigmoid(s + 2) and shift (1 - g) m, near the identity at the start."""
    return F.logsigmoid(gate + 2), (-gate - 2).sigmoid() * mean


class _Pass(NamedTuple):
    x: Tensor
    y: Tensor
    log_determinant: Tensor
    recorded: bool  # with gradients


class AutoregressiveTransform(Transform):
    """The bijection yᵢ = aᵢ xᵢ + bᵢ, where log aᵢ and bᵢ come from the coordinates of x before i.

    From x to y takes one pass through the network, from y to x one a coordinate. Its own last pass is undone from
    memory.

    Args:
        network: what gives the outputs.
        rule: how log a and b are made of them: :func:`shifted`, :func:`affine` or :func:`gated`.
        context: the network's context at hand, as its layer ``context`` gives it.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma, Salimans, Jozefowicz, Chen,
        Sutskever, Welling, 2016).

    Example:
        >>> step = AutoregressiveTransform(MADE(3, outputs=2), affine)
        >>> (step.inv(step(torch.ones(3))) - 1).abs().max() < 1e-6
        tensor(True)
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, network: MADE | ConvolutionalMADE, rule: Rule, context: Tensor | None = None) -> None:
        super().__init__()  # torch's own cache would lose the gradient of the density of what `sample` drew
        self.network, self.rule, self.context = network, rule, context
        self.last: _Pass | None = None

    def _call(self, x: Tensor) -> Tensor:
        return self._pass(x).y

    def _inverse(self, y: Tensor) -> Tensor:
        if (last := self._recall()) is not None and last.y is y:
            return last.x
        batch = (each.shape[:-1] for each in (y, *self._contexts()))
        y = y.expand(torch.broadcast_shapes(*batch) + y.shape[-1:])
        x = torch.zeros_like(y)
        for i in self.network.order:
            log_slope, shift = self.rule(*self.network.outputs_at(i, x, *self._contexts()))
            x = torch.cat([x[..., :i], (y[..., i : i + 1] - shift) * (-log_slope).exp(), x[..., i + 1 :]], -1)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Σ log aᵢ, in nats."""
        last = self._recall()
        return (last if last is not None and last.x is x else self._pass(x)).log_determinant

    def _contexts(self) -> tuple[Tensor, ...]:
        return () if self.context is None else (self.context,)

    def _pass(self, x: Tensor) -> _Pass:
        log_slope, shift = self.rule(*self.network.outputs(x, *self._contexts()))
        y = log_slope.exp() * x + shift
        self.last = _Pass(x, y, log_slope.sum(-1), torch.is_grad_enabled())
        return self.last

    def _recall(self) -> _Pass | None:
        usable = self.last is not None and (self.last.recorded or not torch.is_grad_enabled())
        return self.last if usable else None
