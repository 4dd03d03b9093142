"""Masked, sparse, missing, ragged and other values: refused with what to do, or read as they are."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse
from torch.utils.data import DataLoader, TensorDataset

from pyro_vaes.data import Data, coloured
from pyro_vaes.data.conversion import as_numpy
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import clustering
from tests.helpers.arrays import make, pixels

X = pixels(20, 4)
FLOATS = X / 255
FRAME = pd.DataFrame(FLOATS, columns=list("abcd"))
ROWS = [np.ma.masked_less(row, 9) for row in np.arange(80).reshape(20, 4)]
GRAY = Image.fromarray(np.zeros((8, 8), np.uint8))


def masked_tensor(mask):
    with warnings.catch_warnings(action="ignore"):  # a prototype
        return torch.masked.masked_tensor(torch.from_numpy(FLOATS), mask)


def nested_tensor():
    with warnings.catch_warnings(action="ignore"):  # a prototype
        return torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])


REFUSED = {
    "masked rows": (ROWS, r"x_train\[0\] masks 4 of its 4 values"),
    "masked rows of rows": ([ROWS, ROWS], r"x_train\[0\]\[0\] masks 4"),
    "masked tensor": (lambda: masked_tensor(torch.from_numpy(X > 9)), r"x_train masks .*x_train\.to_tensor\(0\)"),
    "nullable": (FRAME.assign(a=pd.array([1] * 19 + [None], "Int64")), r"x_train\[19, 0\], in the column 'a', is miss"),
    "nullable floats": (FRAME.astype("Float64").mask(FRAME > 0.5), r"is missing: fill .* x_train\.fillna\(0\)"),
    "NaN": (FRAME.mask(FRAME > 0.5), r"x_train\[.*\] is nan: .*missing ones by a mask"),
    "None": ([[1, None]] * 20, r"x_train\[0, 1\] is missing: fill missing values"),
    "sparse rows": ([sparse.csr_array(X)] * 3, r"x_train\[0\]\.toarray\(\)"),
    "sparse tensor": (torch.from_numpy(X).to_sparse(), r"x_train is a sparse tensor: give x_train\.to_dense\(\)"),
    "text": (FRAME.assign(city="Paris"), r"column 'city', is 'Paris', .*x_train\.select_dtypes\('number'\)"),
    "categories": (FRAME.assign(kind=pd.Categorical(["u"] * 20)), "column 'kind', is 'u', which is no number"),
    "dates": (FRAME.assign(day=pd.Timestamp("2020-02-03")), "column 'day', is .*2020-02-03"),
    "list of text": (np.array([["a", 1]] * 20, object), r"x_train\[0, 0\] is 'a'.*numpy\.unique"),
    "records": (FRAME.to_records(index=False), "structured array with the fields a, b, c, d: .*to_unstructured"),
    "two sizes": ([np.zeros((2, 2)), np.zeros((3, 3))], r"x_train\[0\] has shape \(2, 2\) and x_train\[1\] \(3, 3\)"),
    "tensors of two sizes": ([torch.zeros(2), torch.zeros(3)], r"since x_train\[0\] has shape \(2,\)"),
    "lists of two lengths": ([[1, 2], [1, 2, 3]], "not a regular array.*images of several sizes"),
    "pictures of two sizes": ([GRAY, GRAY.resize((9, 9))], "not a regular array.*images of several sizes"),
    "nested tensor": (nested_tensor, "not a regular array.*images of several sizes"),
    "meta tensor": (torch.zeros(20, 4, device="meta"), "x_train is on the device meta"),
    "data set": (TensorDataset(torch.from_numpy(X)), "x_train is a TensorDataset: .*Data.from_dataset"),
    "loader": (DataLoader(X), "x_train is a DataLoader: .*Data.from_dataset"),
    "mapping": ({"x": X}, "x_train is a dict: give a NumPy or torch array"),
    "nothing": (None, "x_train is None: give a NumPy or torch array"),
    "large numbers": ([[2**70, 0]] * 20, r"x_train\[0, 0\] is 1.18\d*e\+21: float pixels must be"),
    "float64 tensor": (torch.full((20, 4), 1e300, dtype=torch.float64), r"x_train\[0, 0\] is 1e\+300"),
    "complex": (torch.zeros(20, 4, dtype=torch.complex64).conj(), "x_train has type complex64"),
}
READ = {
    "csr matrix": (sparse.csr_matrix(X), X),
    "coo array": (sparse.coo_array(X), X),
    "sparse floats": (sparse.csc_array(FLOATS), FLOATS),
    "no mask": (np.ma.array(X), X),
    "a mask of nothing": (np.ma.array(FLOATS, mask=np.zeros(X.shape, bool)), FLOATS),
    "masked tensor": (lambda: masked_tensor(torch.ones(X.shape, dtype=torch.bool)), FLOATS),
    "frame": (FRAME, FLOATS),
    "nullable frame": (FRAME.astype("Float64"), FLOATS),
    "frame of several types": (pd.DataFrame({"a": [0.5] * 20, "b": [True] * 20}), [[0.5, 1]] * 20),
    "objects": (X.astype(object), X),
    "rows": (list(X), X),
    "lists": (X.tolist(), X),
    "tensors with gradient": ([torch.from_numpy(row).requires_grad_() for row in FLOATS], FLOATS),
    "transposed": (torch.from_numpy(X.T.copy()).T, X),
    "reversed": (np.asfortranarray(X)[::-1], X[::-1]),
    "int32": (X.astype(np.int32), X),
    "float16": ((X > 99).astype(np.float16), X > 99),
    "float64": (torch.from_numpy(FLOATS), FLOATS),
    "big-endian": (FLOATS.astype(">f4"), FLOATS),
    "float8": (torch.from_numpy((X > 99) * 0.5).to(torch.float8_e4m3fn), (X > 99) * 0.5),
    "negated view": (torch.complex(torch.zeros(20, 4), -torch.from_numpy(FLOATS).float()).conj().imag, FLOATS),
}


@pytest.mark.parametrize(("values", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        Data.from_arrays(x_train=values() if callable(values) else values)


@pytest.mark.parametrize(("values", "expected"), READ.values(), ids=READ)
def test_what_can_be_read_is_read_as_it_is(values, expected):
    values = values() if callable(values) else values
    found = make(values, x_test=values).test.pixels
    torch.testing.assert_close(found, torch.as_tensor(np.array(expected)).to(found.dtype), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.ma.masked_equal(np.arange(20), 3), r"y_train masks 1 of its 20 values.*y_train\.filled"),
        (pd.Series([1, None] * 10, dtype="Int64"), "y_train has missing values: fill them"),
        (sparse.csr_array(np.eye(20, dtype=int)), r"y_train\.toarray\(\)"),
        (pd.Series(["a"] * 20), r"y_train\[0\] is 'a', .*numpy\.unique"),
        (["a"] * 20, r"y_train has type <U1 .*numpy\.unique\(y_train, return_inverse=True\)\[1\]"),
        (np.zeros(20), r"y_train has type float64 .*y_train\.astype\(int\)"),
        (np.zeros((20, 0), int), "labels are integers"),
        (3, r"y_train has type int64 and shape \(\)"),
        ([1, 2], "y_train has 2 labels for the 20 images of x_train: give one label per image"),
        (np.full(20, 2**64 - 1, np.uint64), "y_train holds 18446744073709551615: labels go up to 9223372036854775807"),
    ],
)
def test_labels_that_cannot_be_read(labels, words):
    with pytest.raises(InputError, match=words):
        make(X, y_train=labels)


@pytest.mark.parametrize("labels", [pd.Series(range(20)), pd.Series(range(20), dtype="Int64"), list(torch.arange(20))])
def test_labels_of_other_libraries(labels):
    data = make(X, y_train=labels, x_valid=X, y_valid=labels)
    assert data.valid.y.tolist() == list(range(20))


def test_masks_are_refused_in_scores_and_colors_too():
    y, masked = np.arange(20) % 2, np.ma.masked_equal(np.arange(20) % 3, 2)
    with pytest.raises(InputError, match="clusters_test masks 6 of its 20 values"):
        clustering(y, y, y, masked)
    with pytest.raises(InputError, match="digits masks 6 of its 20 values"):
        coloured(pixels(20, 8, 8), masked)


def test_a_list_of_many_numbers_is_read_at_once():
    assert as_numpy(X.tolist(), "x_train").tolist() == X.tolist()
