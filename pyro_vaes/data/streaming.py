"""Streaming of training data that do not fit into the memory of the device or the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyro_vaes.errors import InputError


class StreamedPixels:
    """The pixels of a torch ``Dataset``, read on demand, in place of a tensor ``(N, *event_shape)``.

    Args:
        dataset: map-style, with a length; each item is an image or vector as a tensor or array, or a tuple whose first
            element is one.

    Raises:
        InputError: If the items are something else.

    Example:
        >>> pixels = StreamedPixels(torch.utils.data.TensorDataset(torch.arange(6).view(3, 2)))
        >>> pixels.shape, pixels[torch.tensor([2, 0])].tolist()
        (torch.Size([3, 2]), [[4, 5], [0, 1]])
    """

    device = torch.device("cpu")

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset
        try:
            size, first = len(dataset), self._read(0)  # type: ignore[arg-type]
        except (TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"the {type(dataset).__name__} cannot be read as images ({error}): give a torch Dataset with a length, "
                "whose items are tensors, or tuples whose first element is one"
            ) from error
        self.shape, self.dtype = torch.Size([size, *first.shape]), first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The pixels at these indices, on the host."""
        indices = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        return torch.stack([self._read(each) for each in indices])

    def is_floating_point(self) -> bool:
        """Whether the pixels are floats."""
        return self.dtype.is_floating_point

    def to(self, device: torch.device | str) -> StreamedPixels:
        """These pixels themselves, which remain in their ``Dataset``."""
        return self

    def _read(self, index: int) -> Tensor:
        item = self.dataset[index]
        return torch.as_tensor(item[0] if isinstance(item, (tuple, list)) else item)


def batches(pixels: Tensor | StreamedPixels, indices: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Batches of pixels on a device; one in the host's memory is copied while the one before it is used.

    Args:
        pixels: ``(N, *event_shape)``, on the device or on the host.
        indices: indices of the examples of each batch.
        device: device of the batches.
    """
    if pixels.device == device:
        yield from (pixels[index] for index in indices)
        return
    sent: list[Tensor] = []
    for index in indices:
        batch = pixels[index.to(pixels.device)]
        sent.append((batch.pin_memory() if device.type == "cuda" else batch).to(device, non_blocking=True))
        if len(sent) > 1:
            yield sent.pop(0)
    yield from sent


def room_for(pixels: Tensor | StreamedPixels, device: torch.device) -> bool:
    """Whether pixels fit into half of a device's free memory, the other half being left for training.

    Example:
        >>> room_for(torch.zeros(2, 2), torch.device("cpu"))
        True
    """
    if device.type != "cuda" or isinstance(pixels, StreamedPixels):
        return True
    return 2 * pixels.numel() * pixels.element_size() <= torch.cuda.mem_get_info(device)[0]
