"""Sparse matrices and annotated ones, which hold most sets of counts."""

from __future__ import annotations

import math
from typing import Any

from pyro_vaes.data.memory import check_memory
from pyro_vaes.errors import InputError


def as_dense_matrix(values: Any, name: str) -> Any:
    """A SciPy sparse matrix or the matrix ``X`` of an AnnData object as a dense array; other values as they are.

    Args:
        values: a matrix of SciPy, an AnnData object or anything else.
        name: name of the values in errors.

    Raises:
        InputError: If indices are out of range, or the dense array does not fit into memory.

    Example:
        >>> from scipy.sparse import csr_array
        >>> as_dense_matrix(csr_array([[0, 3]]), "x_train")
        array([[0, 3]])
    """
    if hasattr(values, "obs_names") and hasattr(values, "var_names"):  # an AnnData object, which may not be installed
        values = values.X
    if not hasattr(values, "toarray"):
        return values
    _check_indices(values, name)
    check_memory(
        math.prod(values.shape) * values.dtype.itemsize,
        f"{name} takes, as a dense array,",
        "give fewer examples, or the most variable features alone",
    )
    return values.toarray()


def _check_indices(matrix: Any, name: str) -> None:
    """Refuse indices out of range, for which SciPy would write past the dense array."""
    try:
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)
    except ValueError as error:
        raise InputError(f"{name} is a damaged sparse matrix ({error}): build it again") from error
