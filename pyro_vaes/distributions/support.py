"""The support of a distribution: whether it is all of R^n, and its name in a message."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

FAR = 1e3  # a value outside bounded supports


def is_unbounded(support: constraints.Constraint, like: Tensor) -> bool:
    """Whether a support is all of R^n, which is found out on points far from 0.

    Args:
        support: the support.
        like: any value of the distribution, for its shape, dtype and device.

    Example:
        >>> is_unbounded(constraints.real, torch.zeros(2)), is_unbounded(constraints.positive, torch.zeros(2))
        (True, False)
    """
    far = torch.linspace(-FAR, FAR, like.numel(), dtype=like.dtype, device=like.device).reshape(like.shape)
    return not support.is_discrete and bool(support.check(far).all() and support.check(-far).all())


def support_name(support: Any) -> str:
    """Name of a support with its smallest and largest bound.

    Example:
        >>> support_name(torch.distributions.Uniform(torch.zeros(2), torch.ones(2)).support)
        'interval(lower_bound=0, upper_bound=1)'
    """
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    bounds = {name: value for name, value in vars(support).items() if name.endswith("_bound")}
    shown = ", ".join(f"{name}={torch.as_tensor(value).flatten()[0].item():g}" for name, value in bounds.items())
    name = type(support).__name__.strip("_").lower()
    return f"{name}({shown})" if shown else name
