"""The top-down spine of a ladder, and its merges with the latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError, look_up

MERGES = {"gate": 1, "concatenate": 2}


GATE = 0.1  # initial gate of the lateral inputs, so that at first the image depends mostly on the top level


class LadderDecoder(nn.Module):
    """Top-down spine, t_l = f_l(merge(t_{l+1}, v_l(z_l))); t_1 are the features of the likelihood.

    Args:
        laterals: v_l, the lowest level's first.
        merges: merges of t_{l+1} and v_l(z_l), for all levels but the highest.
        blocks: f_l.

    Attributes:
        presence: factor of each v_l(z_l), 1 unless a loss fades levels in; saved with the weights.

    Shapes:
        A list of ``z_l (..., Z_l)`` to ``(..., *features_shape)``; the leading dimensions broadcast.
    """

    presence: Tensor

    def __init__(self, laterals: Sequence[nn.Module], merges: Sequence[nn.Module], blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.laterals, self.merges, self.blocks = map(nn.ModuleList, (laterals, merges, blocks))
        self.register_buffer("presence", torch.ones(len(laterals)))

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Features of the likelihood."""
        if len(latents) != len(self.blocks):
            raise InputError(f"the decoder has {len(self.blocks)} levels, but was given {len(latents)} latents")
        laterals = [p * v(z) for p, v, z in zip(self.presence, self.laterals, latents, strict=True)]
        state = self.blocks[-1](laterals[-1])
        for level in reversed(range(len(self.merges))):
            state = self.blocks[level](self.merges[level](state, laterals[level]))
        return state


class Gate(nn.Module):
    """t + gate · v."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.full(tuple(shape), GATE))

    def forward(self, state: Tensor, lateral: Tensor) -> Tensor:
        """t + gate · v."""
        return state + self.gate * lateral


class Concatenate(nn.Module):
    """Concatenation of t and v along the dimension of units or channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, state: Tensor, lateral: Tensor) -> Tensor:
        """Both states, concatenated."""
        return torch.cat(torch.broadcast_tensors(state, lateral), self.dim)


class Images(nn.Module):
    """A network of images, extended to any leading dimensions."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """The network's output for each image."""
        result = self.net(images.reshape(-1, *images.shape[-3:]))
        return result.reshape(*images.shape[:-3], *result.shape[1:])


def merge_of(name: str, shape: tuple[int, ...]) -> nn.Module:
    """The merge of this name, for units ``(W,)`` or channels ``(C, 1, 1)``."""
    return Gate(shape) if name == "gate" else Concatenate(-len(shape))


def widening(merge: str) -> int:
    """Factor by which a merge widens the spine.

    Raises:
        InputError: If the merge is unknown.
    """
    return look_up("merge", merge, MERGES)
