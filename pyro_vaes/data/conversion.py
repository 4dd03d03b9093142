"""Conversion of arrays, tensors, data frames and lists to NumPy arrays, without the loss of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyro_vaes.errors import InputError, shown


def as_numpy(values: Any, name: str) -> np.ndarray:
    """The values as a NumPy array of numbers or text, in the host's memory.

    Args:
        values: NumPy or torch array, data frame, or a list of these or of numbers.
        name: name of the values in errors.

    Raises:
        InputError: If a value is masked or missing, the array is sparse, has several shapes, or is something else;
            says what to do.

    Example:
        >>> as_numpy([torch.zeros(2, requires_grad=True), torch.ones(2)], "x_train")
        array([[0., 0.],
               [1., 1.]], dtype=float32)
        >>> as_numpy(np.ma.masked_equal([1, 2, 2], 2), "x_train")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: x_train masks 2 of its 3 values, and masks are not supported here: fill them, such
        as x_train.filled(0), or leave those examples out
    """
    if isinstance(values, (Dataset, DataLoader)):
        raise InputError(f"{name} is a {type(values).__name__}: give arrays, or a torch Dataset to Data.from_dataset")
    values = as_dense(values, name)
    if isinstance(values, Tensor):
        if values.is_floating_point() and values.element_size() < 4:
            values = values.float()  # NumPy has no bfloat16
        return values.numpy(force=True)
    if _holds_arrays(values):
        return _stacked([as_numpy(each, f"{name}[{place}]") for place, each in enumerate(values)], name)
    try:
        array = np.asarray(values)
    except Exception as error:  # NumPy refuses lists of several shapes, and other libraries whatever they like
        if isinstance(values, (list, tuple)):
            raise _irregular(name) from error
        raise InputError(f"{name} is a {type(values).__name__}, which is no array ({error})") from error
    if array.dtype.names:
        raise InputError(
            f"{name} is a structured array with the fields {', '.join(array.dtype.names)}: give "
            f"numpy.lib.recfunctions.structured_to_unstructured({name})"
        )
    return _of_objects(array, values, name) if array.dtype.hasobject and array.dtype.kind == "O" else array


def as_dense(values: Any, name: str) -> Any:
    """A tensor or array without a mask that masks nothing, and other values as they are.

    Args:
        values: tensor, NumPy array or anything else.
        name: name of the values in errors.

    Raises:
        InputError: If a value is masked, or the tensor or array is sparse, nested or without values.

    Example:
        >>> as_dense(np.ma.array([1, 2, 2]), "x")
        array([1, 2, 2])
        >>> as_dense(torch.eye(2).to_sparse(), "x")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: x is a sparse tensor: give x.to_dense()
    """
    if isinstance(values, Tensor):
        return _dense_tensor(values, name)
    if isinstance(values, np.ma.MaskedArray):
        _refuse_mask(np.ma.getmaskarray(values), f"{name}.filled(0)", name)
        return np.asarray(values)
    if hasattr(values, "toarray"):
        raise InputError(f"{name} is a sparse array: give {name}.toarray()")
    return values


def _dense_tensor(tensor: Any, name: str) -> Tensor:
    if hasattr(tensor, "get_mask"):  # a MaskedTensor
        _refuse_mask(~tensor.get_mask().numpy(force=True), f"{name}.to_tensor(0)", name)
        tensor = tensor.get_data()
    if tensor.is_nested:
        raise _irregular(name)
    if tensor.layout is not torch.strided:
        raise InputError(f"{name} is a sparse tensor: give {name}.to_dense()")
    if tensor.is_meta:
        raise InputError(f"{name} is on the device meta, where tensors have no values: give a tensor with values")
    return tensor.dequantize() if tensor.is_quantized else tensor


def _holds_arrays(values: Any) -> bool:
    """Whether the values are a list of arrays, at any depth, which NumPy would read without their masks."""
    if not isinstance(values, (list, tuple)) or not len(values):
        return False
    return _holds_arrays(values[0]) or any(getattr(each, "ndim", 0) for each in values)


def _refuse_mask(mask: np.ndarray, filled: str, name: str) -> None:
    if mask.any():
        raise InputError(
            f"{name} masks {mask.sum()} of its {mask.size} values, and masks are not supported here: fill them, such "
            f"as {filled}, or leave those examples out"
        )


def _stacked(arrays: Sequence[np.ndarray], name: str) -> np.ndarray:
    for place, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise _irregular(name, f", since {name}[0] has shape {arrays[0].shape} and {name}[{place}] {array.shape}")
    return np.stack(arrays)


def _irregular(name: str, why: str = "") -> InputError:
    return InputError(
        f"{name} is not a regular array of numbers{why}: if it holds images of several sizes, resize them to one"
    )


def _of_objects(array: np.ndarray, values: Any, name: str) -> np.ndarray:
    """Objects as numbers, such as those of a data frame whose columns have several types."""
    if array.ndim == 0:
        kind = None if values is None else f"a {type(values).__name__}"
        raise InputError(f"{name} is {kind}: give a NumPy or torch array, or a list of equal rows")
    for index, value in np.ndenumerate(array):
        if not isinstance(value, (Real, np.bool_)):
            raise _no_number(value, index, values, name)
    found = np.array(array.tolist())
    return found.astype(np.float64) if found.dtype.hasobject else found  # such as whole numbers of over 64 bits


def _no_number(value: Any, index: Sequence[int], values: Any, name: str) -> InputError:
    """The error for the first value that is no number."""
    if hasattr(value, "__len__") and not isinstance(value, (str, bytes)):
        return _irregular(name)
    is_frame = hasattr(values, "columns") and len(index) == 2
    where = f"{name}[{', '.join(map(str, index))}]"
    where += f", in the column {shown(values.columns[index[1]])}," if is_frame else ""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        fill = f"{name}.fillna(0)" if hasattr(values, "fillna") else "with 0"
        return InputError(f"{where} is missing: fill missing values, such as {fill}, or leave those examples out")
    numeric = f"keep the numeric columns, {name}.select_dtypes('number'), or " if is_frame else ""
    encode = "encode text as numbers, for example by numpy.unique(text, return_inverse=True)[1]"
    return InputError(f"{where} is {shown(value)}, which is no number: {numeric}{encode}")
