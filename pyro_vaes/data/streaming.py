"""Streaming of training data that do not fit into the memory of the device or the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyro_vaes.data.arrays import CHANNEL_COUNTS
from pyro_vaes.data.conversion import as_numpy
from pyro_vaes.errors import InputError
from pyro_vaes.validation import check_whole


class StreamedPixels:
    """The pixels of a torch ``Dataset``, read on demand, in place of a tensor ``(N, *event_shape)``.

    Args:
        dataset: map-style, with a length; each item is an image or vector, see :func:`as_image`, or a tuple whose first
            element is one.
        num_bins: number of gray levels of integer pixels; floats lie in [0, 1].
        item: function of an item of the ``Dataset`` that returns such an image or tuple; by default the item itself.
        num_workers: number of processes that read batches ahead; none by default.

    Raises:
        InputError: If the items are something else, or a number is negative; when they are read, if one is unlike the
            first or out of range.

    Example:
        >>> pixels = StreamedPixels(torch.utils.data.TensorDataset(torch.arange(6).view(3, 2)))
        >>> pixels.shape, pixels[torch.tensor([2, 0])].tolist()
        (torch.Size([3, 2]), [[4, 5], [0, 1]])
        >>> scaled = StreamedPixels(torch.utils.data.TensorDataset(torch.tensor([[0.5], [-1.0]])))
        >>> scaled[:2]
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: item 1 of the TensorDataset holds -1: float pixels must be finite and in [0, 1],
        like those of x_valid: give its transform the same range
    """

    device = torch.device("cpu")

    def __init__(
        self,
        dataset: Dataset[Any],
        num_bins: int = 256,
        item: Callable[[Any], Any] | None = None,
        num_workers: int = 0,
    ) -> None:
        self.dataset, self.num_bins, self.item = dataset, num_bins, item
        self.num_workers = check_whole("num_workers", num_workers, least=0)
        try:
            size, first = len(dataset), self._read(0)  # type: ignore[arg-type]
        except (TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"the {type(dataset).__name__} cannot be read as images ({error}): give a torch Dataset with a length, "
                "whose items are tensors, or tuples that begin with one, for example (image, label), or a function "
                'item that makes such of an item, for example item=lambda each: each["image"]'
            ) from error
        self.shape, self.dtype = torch.Size([size, *first.shape]), first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The pixels at these indices, on the host."""
        indices = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        items = [self._read(each) for each in indices]
        for place, item in zip(indices, items, strict=True):
            if (item.shape, item.dtype) != (self.shape[1:], self.dtype):
                raise self._error(
                    place,
                    f"is {_form(item.shape, item.dtype)}, the first {_form(self.shape[1:], self.dtype)}: give one kind",
                )
        batch = torch.stack(items)
        self._check_range(batch, indices)
        return batch

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """The pixels at each of some indices, on the host, read ahead by the workers if there are any.

        The workers are those of one pass. The seed that they give to random transforms follows torch's random state,
        which is left as it was, so that batches depend on the number of workers in nothing else.
        """
        if not self.num_workers:
            yield from (self[index] for index in indices)
            return
        loader = DataLoader(_Reader(self), batch_size=None, sampler=list(indices), num_workers=self.num_workers)
        with torch.random.fork_rng([]):
            coming = iter(loader)
        for batch in coming:
            if isinstance(batch, InputError):
                raise batch
            yield batch

    def is_floating_point(self) -> bool:
        """Whether the pixels are floats."""
        return self.dtype.is_floating_point

    def to(self, device: torch.device | str) -> StreamedPixels:
        """These pixels themselves, which remain in their ``Dataset``."""
        return self

    def _read(self, index: int) -> Tensor:
        value = self.dataset[index]
        if self.item is not None:
            try:
                value = self.item(value)
            except Exception as error:  # of the user's function
                raise self._error(
                    index, f"makes the function item raise {type(error).__name__} ({error}): it takes an item"
                ) from error
        return as_image(value[0] if isinstance(value, (tuple, list)) else value)

    def _check_range(self, batch: Tensor, indices: Sequence[int]) -> None:
        top = 1 if self.is_floating_point() else self.num_bins - 1
        low, high = batch.aminmax()
        if low >= 0 and high <= top:  # neither holds of NaN
            return
        good = ((batch >= 0) & (batch <= top)).flatten(1)
        row = int(good.all(1).int().argmin())
        value = batch[row].flatten()[~good[row]][0].item()
        kind = "float pixels must be finite and" if self.is_floating_point() else "integer pixels must be"
        raise self._error(
            indices[row],
            f"holds {value:g}: {kind} in [0, {top}], like those of x_valid: give its transform the same range",
        )

    def _error(self, index: int, words: str) -> InputError:
        return InputError(f"item {index} of the {type(self.dataset).__name__} {words}")


class _Reader(Dataset[Any]):
    """Batches by their indices, for workers, whose errors are returned, since torch would make tracebacks of them."""

    def __init__(self, pixels: StreamedPixels) -> None:
        self.pixels = pixels

    def __getitem__(self, index: Tensor) -> Tensor | InputError:
        try:
            return self.pixels[index]
        except InputError as error:
            return error


def as_image(value: object) -> Tensor:
    """An image, channels first, or a vector, from a tensor, an array or a PIL image.

    An image whose last axis alone has 1 to 4 entries has its channels there; one of two axes has one channel.
    Floats become float32, and so do booleans; 16-bit integers become int32.

    Raises:
        TypeError: If it is a mapping or text.
        InputError: If it is no array, or is masked or sparse.

    Example:
        >>> as_image(np.zeros((28, 32, 3), dtype=np.uint8)).shape, as_image(np.zeros((28, 32))).shape
        (torch.Size([3, 28, 32]), torch.Size([1, 28, 32]))
    """
    if isinstance(value, Mapping):
        raise TypeError(f"an item is a {type(value).__name__}")
    image = torch.from_numpy(np.array(as_numpy(value, "an item")))
    if image.dim() == 2:
        image = image[None]
    elif image.dim() == 3 and image.shape[-1] in CHANNEL_COUNTS and image.shape[0] not in CHANNEL_COUNTS:
        image = image.movedim(-1, 0)
    if image.dtype == torch.uint16:
        return image.int()  # as arrays of 16-bit pixels are stored
    return image.float() if image.is_floating_point() or image.dtype == torch.bool else image


def _form(shape: torch.Size, dtype: torch.dtype) -> str:
    return f"{'x'.join(map(str, shape))} of {str(dtype).removeprefix('torch.')}"


def batches(pixels: Tensor | StreamedPixels, indices: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Batches of pixels on a device; one in the host's memory is copied while the one before it is used.

    Args:
        pixels: ``(N, *event_shape)``, on the device or on the host.
        indices: indices of the examples of each batch.
        device: device of the batches.
    """
    if isinstance(pixels, StreamedPixels):
        read = pixels.batches(indices)
    else:
        read = (pixels[index.to(pixels.device)] for index in indices)
    if pixels.device == device:
        yield from read
        return
    sent: list[Tensor] = []
    for batch in read:
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
