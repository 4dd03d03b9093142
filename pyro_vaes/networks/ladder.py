"""Networks of ladders: a deterministic spine with a latent at every level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.networks.conv import stage_sizes
from pyro_vaes.networks.ladder_decoder import Images, LadderDecoder, merge_of, widening
from pyro_vaes.networks.mlp import MLPDecoder, MLPEncoder
from pyro_vaes.validation import checked_sizes


class LadderMLPEncoder(nn.Module):
    """Fully connected bottom-up spine, h_l = g_l(h_{l-1}) with h_0 = x, returning all h_l, the lowest first.

    Args:
        event_shape: shape of one datum.
        hidden: hidden sizes of each level's g_l, from the data upward; an integer stands for two layers of that size.
        activation: nonlinearity after each layer.

    Shapes:
        ``x (..., *event_shape)`` to a list of ``(..., out_features[l])``, with ``out_features[l] = hidden[l][-1]``.

    Example:
        >>> [h.shape[-1] for h in LadderMLPEncoder((1, 8, 8), hidden=((32,), (16, 8)))(torch.zeros(3, 1, 8, 8))]
        [32, 8]
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        hidden: Sequence[int | Sequence[int]] = ((256,), (256,), (256,)),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        levels = _checked_levels(hidden)
        inputs = [tuple(event_shape), *((sizes[-1],) for sizes in levels[:-1])]
        self.levels = nn.ModuleList(
            MLPEncoder(shape, sizes, activation) for shape, sizes in zip(inputs, levels, strict=True)
        )
        self.out_features = tuple(sizes[-1] for sizes in levels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of every level."""
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


class LadderConvEncoder(nn.Module):
    """Bottom-up spine of stride-2 convolutions, one per level, each followed by a fully connected side branch.

    Args:
        event_shape: shape ``(C, H, W)`` of one image.
        channels: channels of each level, from the image upward.
        hidden: size of the fully connected layer from a level of the spine to its features.
        activation: nonlinearity after each layer.

    Shapes:
        ``x (..., C, H, W)`` to a list of ``(..., hidden)``, one per level.

    Raises:
        InputError: If the image is too small for the number of levels; names the largest number.

    Example:
        >>> [h.shape for h in LadderConvEncoder((1, 8, 8), channels=(4, 8), hidden=16)(torch.zeros(3, 1, 8, 8))]
        [torch.Size([3, 16]), torch.Size([3, 16])]
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: Sequence[int] = (32, 64, 128),
        hidden: int = 256,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        event_shape, channels, _ = checked_sizes(event_shape=event_shape, channels=channels, hidden=(hidden,))
        self.spine, self.sides = nn.ModuleList(), nn.ModuleList()
        fans = zip((event_shape[0], *channels[:-1]), channels, stage_sizes(event_shape, len(channels))[1:], strict=True)
        for fan_in, fan_out, (height, width) in fans:
            self.spine.append(nn.Sequential(nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1), activation()))
            self.sides.append(nn.Sequential(nn.Flatten(), nn.Linear(fan_out * height * width, hidden), activation()))
        self.out_features = (hidden,) * len(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of every level."""
        lead, h, features = x.shape[:-3], x.reshape(-1, *x.shape[-3:]), []
        for level, side in zip(self.spine, self.sides, strict=True):
            h = level(h)
            features.append(side(h).reshape(*lead, -1))
        return features


class LadderMLPDecoder(LadderDecoder):
    """Fully connected top-down spine; mirrors :class:`LadderMLPEncoder` of the same ``hidden``.

    Args:
        latent_dims: sizes of the latents, the lowest level's first.
        event_shape: shape of the features of one datum.
        hidden: hidden sizes of each level, from the data upward; an integer stands for two layers of that size.
        merge: ``"gate"``, t + gate · v with a learned gate per unit, initially 0.1; or ``"concatenate"``.
        activation: nonlinearity after each layer but the last.

    Shapes:
        z_1 to z_L, each ``(..., Z_l)`` with leading dimensions that broadcast, to ``(..., *event_shape)``.

    Raises:
        InputError: If a size or the merge is invalid, or the numbers of levels differ.

    Example:
        >>> decoder = LadderMLPDecoder((2, 3), (1, 8, 8), hidden=((16,), (8,)))
        >>> decoder([torch.zeros(5, 4, 2), torch.zeros(4, 3)]).shape
        torch.Size([5, 4, 1, 8, 8])
    """

    def __init__(
        self,
        latent_dims: Sequence[int],
        event_shape: Sequence[int],
        hidden: Sequence[int | Sequence[int]] = ((256,), (256,), (256,)),
        merge: str = "gate",
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        levels = _checked_levels(hidden)
        latent_dims = _checked_latents(latent_dims, len(levels))
        widths, wider = [sizes[-1] for sizes in levels], widening(merge)
        merges = [merge_of(merge, (width,)) for width in widths[:-1]]
        inputs = [width * wider for width in widths[:-1]] + [widths[-1]]
        inner = [tuple(reversed(sizes[:-1])) for sizes in levels]
        outer = zip(inputs[1:], inner[1:], widths[:-1], strict=True)
        super().__init__(
            [MLPEncoder((size,), (width,), activation) for size, width in zip(latent_dims, widths, strict=True)],
            merges,
            [
                MLPDecoder(inputs[0], event_shape, inner[0], activation),
                *(MLPEncoder((fan_in,), (*sizes, below), activation) for fan_in, sizes, below in outer),
            ],
        )


class LadderConvDecoder(LadderDecoder):
    """Top-down spine of stride-2 transposed convolutions; mirrors :class:`LadderConvEncoder`.

    Args:
        latent_dims: sizes of the latents, the lowest level's first.
        event_shape: shape ``(C, H, W)`` of the features of one image.
        channels: channels of each level, from the image upward.
        hidden: size of the fully connected layer from a latent to its level of the spine.
        merge: ``"gate"``, t + gate · v with a learned gate per channel, initially 0.1; or ``"concatenate"``.
        activation: nonlinearity after each layer but the last.

    Shapes:
        z_1 to z_L, each ``(..., Z_l)`` with leading dimensions that broadcast, to ``(..., *event_shape)``.

    Raises:
        InputError: If a size or the merge is invalid, the numbers of levels differ, or the image is too small for
            them.

    Example:
        >>> decoder = LadderConvDecoder((2, 3), (3, 9, 7), channels=(4, 8), hidden=16, merge="concatenate")
        >>> decoder([torch.zeros(5, 4, 2), torch.zeros(4, 3)]).shape
        torch.Size([5, 4, 3, 9, 7])
    """

    def __init__(
        self,
        latent_dims: Sequence[int],
        event_shape: Sequence[int],
        channels: Sequence[int] = (32, 64, 128),
        hidden: int = 256,
        merge: str = "gate",
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        event_shape, channels, _ = checked_sizes(event_shape=event_shape, channels=channels, hidden=(hidden,))
        latent_dims = _checked_latents(latent_dims, len(channels))
        sizes, wider = stage_sizes(event_shape, len(channels)), widening(merge)
        laterals = [
            nn.Sequential(
                MLPEncoder((latent_dim,), (hidden,), activation),
                MLPDecoder(hidden, (width, *size), (), activation),
                activation(),
            )
            for latent_dim, width, size in zip(latent_dims, channels, sizes[1:], strict=True)
        ]
        merges = [merge_of(merge, (width, 1, 1)) for width in channels[:-1]]
        inputs = [width * wider for width in channels[:-1]] + [channels[-1]]
        outputs = [event_shape[0], *channels[:-1]]
        blocks: list[nn.Module] = []
        for fan_in, fan_out, large, small in zip(inputs, outputs, sizes[:-1], sizes[1:], strict=True):
            # both 2n - 1 and 2n were halved to n; the output padding restores the right one
            padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
            layer = nn.ConvTranspose2d(fan_in, fan_out, 3, 2, padding=1, output_padding=padding)
            blocks.append(Images(layer if not blocks else nn.Sequential(layer, activation())))
        super().__init__(laterals, merges, blocks)


def _checked_levels(hidden: Sequence[int | Sequence[int]]) -> list[tuple[int, ...]]:
    """Hidden sizes of each level."""
    if not hidden:
        raise InputError(f"hidden is {hidden!r}: expected the sizes of each level, for example ((256,), (256, 128))")
    levels = [(sizes, sizes) if isinstance(sizes, int) else sizes for sizes in hidden]
    return checked_sizes(**{f"hidden of level {level}": sizes for level, sizes in enumerate(levels, 1)})


def _checked_latents(latent_dims: Sequence[int], levels: int) -> tuple[int, ...]:
    (latent_dims,) = checked_sizes(latent_dims=latent_dims)
    if len(latent_dims) != levels:
        raise InputError(
            f"there are {len(latent_dims)} latent_dims {latent_dims}, but the networks have {levels} levels: "
            "give a latent size for each level"
        )
    return latent_dims
