"""A network of one batch dimension, applied under any number of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from pyro_vaes.validation import check_whole

Tensors = Tensor | list[Tensor]


class BatchApply(nn.Module):
    """A network that takes one batch dimension, made to take any number of leading dimensions.

    Leading dimensions are merged into one for the network and split again in its output. Models decode ``(S, B, Z)``,
    S samples of each datum, while layers such as ``nn.Conv2d``, and code such as ``x.view(len(x), -1)``, take a single
    batch dimension.

    Args:
        module: the network; it may take or return a list of tensors, with the same batch dimension each.
        event_dim: number of dimensions of one input: 1 for a decoder of latents ``(..., Z)``, 3 for an encoder of
            images ``(..., C, H, W)``.

    Shapes:
        ``(..., *input_shape)`` to ``(..., *output_shape)``.

    Raises:
        InputError: If ``event_dim`` is not a positive integer.

    Example:
        >>> decoder = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (4, 2, 2)), nn.ConvTranspose2d(4, 1, 2, 2))
        >>> BatchApply(decoder)(torch.zeros(5, 3, 2)).shape
        torch.Size([5, 3, 1, 4, 4])
    """

    def __init__(self, module: nn.Module, event_dim: int = 1) -> None:
        super().__init__()
        check_whole("event_dim", event_dim)
        self.module, self.event_dim = module, event_dim
        if hasattr(module, "out_features"):
            self.out_features = module.out_features

    def forward(self, inputs: Tensor | Sequence[Tensor]) -> Tensors:
        """The network's outputs with the leading dimensions of the inputs."""
        if isinstance(inputs, Tensor):
            batch = inputs.shape[: -self.event_dim]
            outputs = self.module(_merged(inputs, len(batch)))
        else:
            batch = inputs[0].shape[: -self.event_dim]
            outputs = self.module([_merged(each, len(batch)) for each in inputs])
        if isinstance(outputs, Tensor):
            return outputs.reshape(*batch, *outputs.shape[1:])
        return [each.reshape(*batch, *each.shape[1:]) for each in outputs]


def _merged(value: Tensor, batch_dim: int) -> Tensor:
    """The value with its first ``batch_dim`` dimensions merged into one."""
    return value.reshape(math.prod(value.shape[:batch_dim]), *value.shape[batch_dim:])
