"""Bytes, archives and values that are changed at random."""

import io
import zipfile

from hypothesis import strategies as st


@st.composite
def mutated(draw, content):
    """Bytes with a few bits, blocks or ends changed."""
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, max(len(out) - 1, 0))), draw(st.sampled_from([1, 2, 4, 16, 200]))
        kind = draw(st.sampled_from(["flip", "byte", "cut", "drop", "zero", "ones", "repeat", "move", "insert"]))
        block = bytes(out[at : at + length])
        if kind == "flip" and out:
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte" and out:
            out[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del out[at:]
        elif kind == "drop":
            del out[at : at + length]
        elif kind in ("zero", "ones"):
            out[at : at + length] = (b"\0" if kind == "zero" else b"\xff") * len(block)
        elif kind == "repeat":
            out[at:at] = block * draw(st.integers(1, 3))
        elif kind == "move":
            to = draw(st.integers(0, len(out)))
            out[to : to + length] = block
        else:
            out[at:at] = draw(st.binary(max_size=8))
    return bytes(out)


def unzipped(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members, packed=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


@st.composite
def rezipped(draw, content):
    """An archive with right checksums of members that are changed, missing, named otherwise, or there twice."""
    members = list(unzipped(content).items())
    place = draw(st.integers(0, len(members) - 1))
    name, inner = members[place]
    kind = draw(st.sampled_from(["inside", "inside", "inside", "drop", "rename", "twice", "empty"]))
    if kind == "inside":
        members[place] = (name, draw(mutated(inner)))
    elif kind == "drop":
        del members[place]
    elif kind == "rename":
        members[place] = (draw(st.sampled_from(["../x_train.npy", "/tmp/x.npy", "x_train", " ", "a/b", "x\\y"])), inner)
    elif kind == "twice":
        members.append((name, draw(mutated(inner))))
    else:
        members[place] = (name, b"")
    return zipped(members, draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])))


WORDS = [
    "",
    "x",
    "..",
    "\0",
    "\ud800",
    "a" * 5000,
    "~nobody-here/x",
    "/proc/self/mem",
    "vae",
    "__import__('os').system('x')",
]
NUMBERS = [0, -1, 3, 2**31, 2**63, 10**18, 0.5, -0.0, 1e300, float("nan"), float("inf")]
PLAIN = st.one_of(st.none(), st.booleans(), st.sampled_from(WORDS), st.sampled_from(NUMBERS), st.text(max_size=8))
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3), max_leaves=5
)
