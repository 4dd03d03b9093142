"""Arrays at random: .npz archives and idx files."""

import io
import zipfile
from functools import cache

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import pyro_vaes as pv
from tests.helpers.fuzz.guard import guarded, outcome
from tests.helpers.fuzz.mutations import mutated, rezipped, unzipped, zipped

PIXELS = {"x_train": (12, 2, 2), "y_train": (12,), "x_test": (4, 2, 2), "x_valid": (3, 2, 2)}
HUGE = [0, 1, -1, 3, 10**6, 2**31, 2**32, 2**40, 10**12, 2**62, 2**63, 2**64, 10**30]
TYPES = [
    "|u1",
    "<i8",
    ">i2",
    "<f4",
    ">f8",
    "<f2",
    "<c8",
    "|b1",
    "<U3",
    "|S0",
    "|V0",
    "|O",
    "<M8[s]",
    "<m8",
    "|V1000000000",
]
HEADERS = ["[('a', '<f4')]", "('<f4', (1000000, 1000000))", "'|u1' * 10", "[" * 5000, "-" * 9000 + "1", "{}", "None"]


@cache
def npz():
    rng, file = np.random.default_rng(0), io.BytesIO()
    np.savez(file, **{name: rng.integers(0, 3, shape, np.uint8) for name, shape in PIXELS.items()})
    return file.getvalue()


@st.composite
def header(draw):
    """A member of an .npz file with a right magic string and whatever header."""
    shape = tuple(draw(st.lists(st.sampled_from(HUGE), max_size=5)))
    descr = draw(st.sampled_from([repr(each) for each in TYPES] + HEADERS))
    shown = draw(st.sampled_from([repr(shape), "()", "(1e3,)", "(True,)", "'12'", "(" * 300, "__import__('os')"]))
    words = f"{{'descr': {descr}, 'fortran_order': {draw(st.booleans())}, 'shape': {shown}, }}\n".encode()
    content = b"\x93NUMPY" + bytes([draw(st.integers(0, 4)), 0]) + len(words).to_bytes(2, "little") + words
    return content + bytes(draw(st.sampled_from([0, 48, 1000])))


VALUES = st.one_of(
    arrays.arrays(
        st.one_of(
            arrays.integer_dtypes(endianness="?"),
            arrays.unsigned_integer_dtypes(endianness="?"),
            arrays.floating_dtypes(endianness="?"),
            arrays.complex_number_dtypes(),
            arrays.boolean_dtypes(),
            arrays.unicode_string_dtypes(max_len=3),
            arrays.byte_string_dtypes(max_len=3),
            arrays.datetime64_dtypes(max_period="s", min_period="s"),
            arrays.array_dtypes(max_size=2),
        ),
        arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
    ),
    st.sampled_from([np.asfortranarray(np.eye(12)), np.full((12, 2, 2), np.nan), -np.ones((12, 2, 2), int)]),
)


@st.composite
def saved(draw):
    """Arrays of any type and shape."""
    file = io.BytesIO()
    np.savez(file, **draw(st.dictionaries(st.sampled_from([*PIXELS, "y_test", "z"]), VALUES, max_size=4)))
    return file.getvalue()


@st.composite
def hostile_npz(draw):
    kind = draw(st.sampled_from(["bytes", "member", "header", "header", "values", "values"]))
    if kind == "bytes":
        return draw(mutated(npz()))
    if kind == "member":
        return draw(rezipped(npz()))
    if kind == "values":
        return draw(saved())
    members = unzipped(npz()) | {f"{draw(st.sampled_from(list(PIXELS)))}.npy": draw(header())}
    return zipped(members.items(), draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])))


def load_npz(folder, draw):
    path = folder / "data.npz"
    path.write_bytes(draw(hostile_npz()))
    with guarded(folder / "nowhere"):
        return outcome(lambda: pv.data.load(path).test.x)


def idx(*shape):
    head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return head + bytes(i % 7 for i in range(int(np.prod(shape))))


IDX = {
    f"{half}-{kind}-idx{len(shape)}-ubyte": idx(*shape)
    for half in ("train", "t10k")
    for kind, shape in {"images": (12, 4, 4), "labels": (12,)}.items()
}


def load_idx(folder, draw):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, content in IDX.items():
        (raw / name).write_bytes(content)
    name = draw(st.sampled_from(list(IDX)))
    (raw / name).write_bytes(draw(mutated(IDX[name])))
    with guarded(folder / "nowhere"):
        return outcome(lambda: pv.data.load("mnist", root=folder, download=False))
