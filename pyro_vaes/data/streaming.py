"""Training data that stay outside the device's memory, or outside the host's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyro_vaes.errors import InputError


class StreamedPixels:
    """The pixels of a torch ``Dataset``, read when they are asked for, in the place of a tensor ``(N, *event_shape)``.

    Args:
        dataset: with a length; each item is an image or vector, or a tuple that begins with one, as a tensor or array.

    Raises:
        InputError: where its items are something else.

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
                "whose items are tensors, or tuples that begin with one"
            ) from error
        self.shape, self.dtype = torch.Size([size, *first.shape]), first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The pixels of some data, on the host."""
        places = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        return torch.stack([self._read(place) for place in places])

    def is_floating_point(self) -> bool:
        """Whether the pixels are floats."""
        return self.dtype.is_floating_point

    def to(self, device: torch.device | str) -> StreamedPixels:
        """They stay where they are, whatever the device."""
        return self

    def _read(self, place: int) -> Tensor:
        item = self.dataset[place]
        return torch.as_tensor(item[0] if isinstance(item, (tuple, list)) else item)


def batches(pixels: Tensor | StreamedPixels, indices: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Batches of pixels on a device; from the host the next one is sent while this one is used.

    Args:
        pixels: ``(N, *event_shape)``, on the device or on the host.
        indices: of each batch's data.
        device: where the batches have to be.
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
    """Whether pixels fit into a device's memory beside what a training takes: into half of what is free.

    Example:
        >>> room_for(torch.zeros(2, 2), torch.device("cpu"))
        True
    """
    if device.type != "cuda" or isinstance(pixels, StreamedPixels):
        return True
    return 2 * pixels.numel() * pixels.element_size() <= torch.cuda.mem_get_info(device)[0]
