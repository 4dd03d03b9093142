"""The precision of a step's layers, all else in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

LAYERS = (F.linear, F.conv1d, F.conv2d, F.conv_transpose2d)


class BFloat16Layers(TorchFunctionMode):
    """Context manager in which linear layers and convolutions compute in bfloat16, forward and backward.

    Their results are float32. So are densities, divergences, factorizations and sums, as without it, and products of
    matrices that are no layers, such as Jacobians in a precision matrix; float64 layers stay as they are. It holds for
    the layers of any network, wherever it is called.

    References:
        A Study of BFLOAT16 for Deep Learning Training (Kalamkar et al., 2019).

    Example:
        >>> with BFloat16Layers():
        ...     nn.Linear(1, 1, bias=False).requires_grad_(False)(torch.ones(1, 1)).dtype
        torch.float32
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        kwargs = kwargs or {}
        if func not in LAYERS:
            return func(*args, **kwargs)
        result = func(*map(_rounded, args), **{name: _rounded(value) for name, value in kwargs.items()})
        return result.float() if result.dtype == torch.bfloat16 else result


def _rounded(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


#: The context in which a step computes its loss, by name.
PRECISIONS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "float32": contextlib.nullcontext,
    "bfloat16": BFloat16Layers,
}
