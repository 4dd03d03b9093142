"""MADE, and the autoregressive step of a flow that it gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.nn import functional as F

from pyro_vaes.networks.masked import MaskedLinear
from pyro_vaes.networks.shapes import checked_sizes


class MADE(nn.Module):
    """Masked autoencoder: output i sees the coordinates of its input before i, and a context.

    A hidden unit of degree d sees the first d coordinates in the order; degrees are spread evenly over 0 … Z - 1.

    Args:
        size: number Z of coordinates.
        hidden: sizes of the hidden layers.
        outputs: numbers given for each coordinate.
        context: size of the context; 0 for none.
        reverse: whether the order is Z - 1 … 0 in place of 0 … Z - 1.

    Attributes:
        order: the coordinates in their order.
        context: the layer that the context enters by, once for all inputs at one context; None without one.

    Shapes:
        ``z (..., Z)`` to ``(..., outputs, Z)``; a context ``(..., context)`` goes through ``made.context`` first.

    Raises:
        InputError: where a size is no positive whole number.

    References:
        MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray, Larochelle, 2015).

    Example:
        >>> made = MADE(3, hidden=(16,), outputs=2, context=5)
        >>> made(torch.zeros(4, 3), made.context(torch.zeros(4, 5))).shape
        torch.Size([4, 2, 3])
    """

    context: nn.Linear

    def __init__(
        self, size: int, hidden: Sequence[int] = (128,), outputs: int = 1, context: int = 0, reverse: bool = False
    ) -> None:
        (size,), hidden, (outputs,) = checked_sizes(size=(size,), hidden=hidden, outputs=(outputs,))
        super().__init__()
        self.size, self.width = size, outputs
        self.order = range(size)[::-1] if reverse else range(size)
        position = torch.tensor(self.order)
        degrees = [torch.linspace(0, size - 1, units).round() for units in hidden]
        masks = [degrees[0].unsqueeze(-1) > position]
        masks += [above.unsqueeze(-1) >= below for below, above in itertools.pairwise(degrees)]
        masks += [position.repeat(outputs).unsqueeze(-1) >= degrees[-1]]
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self.register_module("context", nn.Linear(context, hidden[0], bias=False) if context else None)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """All outputs at z; ``context`` is what the layer of that name made of it."""
        first, *others = self.layers
        value = first(z) if context is None else first(z) + context
        for layer in others:
            value = layer(F.elu(value))
        return value.unflatten(-1, (self.width, self.size))

    def outputs(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """The outputs one by one, each ``(..., Z)``."""
        return self(z, context).unbind(-2)


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


class AutoregressiveStep(Transform):
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
        >>> step = AutoregressiveStep(MADE(3, outputs=2), affine)
        >>> (step.inv(step(torch.ones(3))) - 1).abs().max() < 1e-6
        tensor(True)
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, network: MADE, rule: Rule, context: Tensor | None = None) -> None:
        super().__init__()  # torch's own cache would lose the gradient of the density of what `sample` drew
        self.network, self.rule, self.context = network, rule, context
        self.last: _Pass | None = None

    def _call(self, x: Tensor) -> Tensor:
        return self._pass(x).y

    def _inverse(self, y: Tensor) -> Tensor:
        if (last := self._recall()) is not None and last.y is y:
            return last.x
        if self.context is not None:
            y = y.expand(torch.broadcast_shapes(y.shape[:-1], self.context.shape[:-1]) + y.shape[-1:])
        columns = [torch.zeros_like(y[..., 0])] * y.shape[-1]
        for i in self.network.order:
            outputs = self.network.outputs(torch.stack(columns, -1), self.context)
            log_slope, shift = self.rule(*(output[..., i] for output in outputs))
            columns[i] = (y[..., i] - shift) * (-log_slope).exp()
        return torch.stack(columns, -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Σ log aᵢ, in nats."""
        last = self._recall()
        return (last if last is not None and last.x is x else self._pass(x)).log_determinant

    def _pass(self, x: Tensor) -> _Pass:
        log_slope, shift = self.rule(*self.network.outputs(x, self.context))
        y = log_slope.exp() * x + shift
        self.last = _Pass(x, y, log_slope.sum(-1), torch.is_grad_enabled())
        return self.last

    def _recall(self) -> _Pass | None:
        usable = self.last is not None and (self.last.recorded or not torch.is_grad_enabled())
        return self.last if usable else None
