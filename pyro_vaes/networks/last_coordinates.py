"""A decoder of a part of the latent."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_vaes.validation import checked_sizes


class LastCoordinates(nn.Module):
    """A decoder of the last coordinates of z alone, such as of the lower level of a two-level prior.

    Args:
        decoder: any module ``y (..., size) -> features``.
        size: number of coordinates that the decoder takes.

    Shapes:
        ``z (..., Z)`` to the features of ``z[..., -size:]``.

    Raises:
        InputError: If the size is not a positive integer.

    Example:
        >>> LastCoordinates(nn.Linear(2, 6), size=2)(torch.zeros(5, 3)).shape
        torch.Size([5, 6])
    """

    def __init__(self, decoder: nn.Module, size: int) -> None:
        super().__init__()
        ((self.size,),) = checked_sizes(size=(size,))
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        """Decoder(y)."""
        return self.decoder(z[..., -self.size :])
