"""Autoregressive bijections parameterized by a masked network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.nn import functional as F

from pyro_vaes.networks.made import MADE, ConvolutionalMADE

OPEN_GATE = 1 / (1 + math.exp(-2))  # slope of a gated transform at s = 0

Rule = Callable[..., tuple[Tensor, Tensor]]


def shifted(shift: Tensor) -> tuple[Tensor, Tensor]:
    """Log-slope 0 and shift m: a volume-preserving transform."""
    return torch.zeros_like(shift), shift


def affine(shift: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
    """Log-slope s and shift m."""
    return log_slope, shift


def gated(mean: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Slope g = sigmoid(s + 2) and shift (1 - g) m, close to the identity at initialization."""
    return F.logsigmoid(gate + 2), (-gate - 2).sigmoid() * mean


class _Pass(NamedTuple):
    x: Tensor
    y: Tensor
    log_slope: Tensor
    has_grad: bool


class AutoregressiveTransform(Transform):
    """The bijection yᵢ = aᵢ xᵢ + bᵢ, where log aᵢ and bᵢ depend on the coordinates of x before i.

    The map from x to y takes one pass of the network, its inverse one pass per coordinate. The inverse of the last
    pass is cached.

    Args:
        network: autoregressive network.
        rule: map from the network's outputs to log a and b: :func:`shifted`, :func:`affine` or :func:`gated`.
        context: output of the network's layer ``context``, if it has one.

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
        super().__init__()  # torch's own cache would drop the gradient of the density of draws from `sample`
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
        return self.log_slopes(x).sum(-1)

    def log_slopes(self, x: Tensor) -> Tensor:
        """log aᵢ at x, of the shape of x, in nats."""
        last = self._recall()
        return (last if last is not None and last.x is x else self._pass(x)).log_slope

    def _contexts(self) -> tuple[Tensor, ...]:
        return () if self.context is None else (self.context,)

    def _pass(self, x: Tensor) -> _Pass:
        log_slope, shift = self.rule(*self.network.outputs(x, *self._contexts()))
        y = log_slope.exp() * x + shift
        self.last = _Pass(x, y, log_slope.expand_as(y), torch.is_grad_enabled())
        return self.last

    def _recall(self) -> _Pass | None:
        usable = self.last is not None and (self.last.has_grad or not torch.is_grad_enabled())
        return self.last if usable else None
