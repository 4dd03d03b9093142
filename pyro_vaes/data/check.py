"""The check that data are a data set of three splits."""

from __future__ import annotations

from torch.utils.data import DataLoader, Dataset

from pyro_vaes.data.dataset import Data
from pyro_vaes.data.split import Split
from pyro_vaes.errors import InputError


def check_data(data: object) -> None:
    """Refuse what is no :class:`pyro_vaes.data.Data`.

    Raises:
        InputError: If it is something else; says how to make one of it.

    Example:
        >>> check_data(torch.zeros(5, 1, 8, 8))
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: data is a Tensor: give a pyro_vaes.data.Data, which has a training, a validation
        and a test split, here Data.from_arrays(x_train=data)
    """
    if isinstance(data, Data):
        return
    if isinstance(data, DataLoader):
        advice = "Data.from_dataset(data.dataset, x_valid=..., x_test=...), with batch_size given to fit"
    elif isinstance(data, Split):
        advice = "the Data that this split is of, or Data.from_arrays(x_train=data.x)"
    elif isinstance(data, Dataset):
        advice = "Data.from_dataset(data, x_valid=..., x_test=...)"
    elif isinstance(data, str):
        advice = f"data.load({data!r})"
    else:
        advice = "Data.from_arrays(x_train=data)"
    raise InputError(
        f"data is a {type(data).__name__}: give a pyro_vaes.data.Data, which has a training, a validation and a test "
        f"split, here {advice}"
    )
