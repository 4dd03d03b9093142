"""Files of arrays, sparse matrices, tables and annotated matrices."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix, save_npz

from pyro_vaes.data import Data, load
from pyro_vaes.errors import InputError
from tests.helpers.arrays import pixels

X = np.random.default_rng(0).poisson(1.0, (40, 6))
FRAME = pd.DataFrame(X, columns=list("abcdef"))


class Annotated(SimpleNamespace):
    """An AnnData object, as far as it is read."""

    def __init__(self, x):
        super().__init__(X=x, obs_names=range(len(FRAME)), var_names=FRAME.columns)


def all_rows(data):
    """The rows of all splits, sorted."""
    rows = np.concatenate([split.pixels.numpy() for split in (data.train, data.valid, data.test)])
    return rows[np.lexsort(rows.T)]


SORTED = X[np.lexsort(X.T)]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("cells.npy", lambda path: np.save(path, X.astype(np.uint16))),
        ("cells.npz", lambda path: np.savez(path, x_train=X)),
        ("sparse.npz", lambda path: save_npz(path, csr_matrix(X))),
        ("cells.csv", lambda path: FRAME.to_csv(path, index=False)),
    ],
)
def test_files_of_one_array(tmp_path, name, write):
    write(tmp_path / name)
    data = load(tmp_path / name, kind="counts")
    assert np.array_equal(all_rows(data), SORTED)
    assert data.name == name.partition(".")[0]
    assert data.description.startswith(f"{data.name}: 33 train, 3 valid, 4 test, 6; counts, as given; test split: ")


def test_a_table_of_values(tmp_path):
    (FRAME * 1e3 - 0.5).to_csv(tmp_path / "table.csv", index=False)
    assert np.array_equal(all_rows(load(tmp_path / "table.csv", kind="values")), SORTED * 1e3 - 0.5)


def test_images_in_an_npy_file(tmp_path):
    np.save(tmp_path / "images.npy", pixels(30, 8, 8))
    assert load(tmp_path / "images.npy").event_shape == (1, 8, 8)


def test_sixteen_bits_in_a_file(tmp_path):
    np.save(tmp_path / "deep.npy", pixels(30, 8, 8).astype(np.uint16) * 257)
    data = load(tmp_path / "deep.npy", num_bins=2**16)
    assert data.train.preprocessing.num_bins == 2**16
    with pytest.raises(InputError, match="num_bins is 65536, but digits has gray levels of its own"):
        load("digits", num_bins=2**16)


@pytest.mark.parametrize("x", [X, csr_matrix(X)], ids=["dense", "sparse"])
def test_annotated_matrices(x):
    assert np.array_equal(all_rows(Data.from_arrays(x_train=Annotated(x), kind="counts")), SORTED)


def test_an_annotated_file(tmp_path, monkeypatch):
    (tmp_path / "cells.h5ad").touch()
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(InputError, match=r"cells.h5ad' is read by anndata, .*pip install anndata"):
        load(tmp_path / "cells.h5ad", kind="counts")
    module = ModuleType("anndata")
    module.read_h5ad = lambda path: Annotated(csr_matrix(X))
    monkeypatch.setitem(sys.modules, "anndata", module)
    assert np.array_equal(all_rows(load(tmp_path / "cells.h5ad", kind="counts")), SORTED)


def test_parquet(tmp_path, monkeypatch):
    path = tmp_path / "cells.parquet"
    path.touch()
    monkeypatch.setattr(pd, "read_parquet", lambda path: FRAME)
    assert np.array_equal(all_rows(load(path, kind="counts")), SORTED)

    def missing(path):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(InputError, match=r"cells.parquet' is read by pandas and pyarrow, .*pip install pandas and"):
        load(path)


def test_a_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    FRAME.to_parquet(tmp_path / "cells.parquet")
    assert np.array_equal(all_rows(load(tmp_path / "cells.parquet", kind="counts")), SORTED)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2\n3,4\n5,6\n", "the first line of .*holds the numbers '1, 2': write a line with the names"),
        (FRAME.to_csv(), r"the first column of .* has no name, like an index of rows: .*index=False"),
        ("", "cannot be read as a table .*: write it again, with a header"),
        ('a,b\n"1,2\n', "cannot be read as a table"),
        ("a,b\n1,2\n1,2,3,4\n", "cannot be read as a table"),
        ("a,b\n", "has no rows of values below its header"),
        ("a,city\n" + "1,Paris\n" * 9, r"in the column 'city', is 'Paris', .*select_dtypes\('number'\)"),
        ("a,b\n" + "1,\n" * 9, r"x_train\[:, 1\] is missing in all examples: leave this feature out"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, words):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        load(tmp_path / "table.csv", kind="values")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged"),
        (b"\x93NUMPY\x01\x00", "is damaged"),
        (b"no array at all", "is damaged|pickled objects"),
    ],
)
def test_damaged_npy_files(tmp_path, content, words):
    (tmp_path / "bad.npy").write_bytes(content)
    with pytest.raises(InputError, match=words):
        load(tmp_path / "bad.npy")


def test_pickled_npy_files(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(InputError, match="pickled objects, which are not loaded"):
        load(tmp_path / "bad.npy")


def test_a_damaged_sparse_matrix(tmp_path):
    save_npz(tmp_path / "whole.npz", csr_matrix(X))
    arrays = dict(np.load(tmp_path / "whole.npz"))
    np.savez(tmp_path / "bad.npz", **arrays | {"indices": arrays["indices"] + 1000})
    with pytest.raises(InputError, match=r"x_train is a damaged sparse matrix \(.*\): build it again"):
        load(tmp_path / "bad.npz", kind="counts")


def test_what_does_not_fit_into_memory_is_not_read(tmp_path, monkeypatch):
    np.save(tmp_path / "large.npy", np.zeros((1000, 300)))
    save_npz(tmp_path / "sparse.npz", csr_matrix((1000, 300)))
    pd.concat([FRAME] * 100).to_csv(tmp_path / "table.csv")
    monkeypatch.setattr("pyro_vaes.data.memory._memory", lambda: 2**13)
    for name, words in [("large.npy", "takes 0.0 GiB"), ("sparse.npz", "as a dense"), ("table.csv", "save fewer rows")]:
        with pytest.raises(InputError, match=words):
            load(tmp_path / name, kind="counts")
