"""Hostile input: files that were changed at random or on purpose, which have to be refused in words or to be harmless.

Every example runs with a limit of time and of memory, and under a hook that sees what Python writes, starts or
connects to.
"""

import contextlib
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import pyro_vaes as pv
from pyro_vaes.cli.app import main
from pyro_vaes.errors import InputError, NonFiniteError
from pyro_vaes.losses import ELBO
from pyro_vaes.recipes.spec import parse
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training import fit as training
from tests.helpers.training import STEPS, at_step, build, interrupt, train

pytestmark = pytest.mark.filterwarnings("ignore")  # NumPy's of old headers, Python's of names that repeat in an archive
SECONDS, SPARE = 60, 2**31  # that an example may take, and bytes beyond what the process has
FEW, MANY = 300, 10_000  # examples in all, ordinarily and with `make slow`
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
ESCAPES = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo"}


# --- the guard ---------------------------------------------------------------------------------------------


class Hang(BaseException):
    """An example took too long; no `except Exception` takes it for bad input."""


class Guard:
    """Watches one example."""

    folder = None  # where writing is allowed
    seen = ()

    def __call__(self, event, args):
        if self.folder is None:
            return
        if event in ESCAPES:
            self.seen.append((event, args))
        elif event == "open" and args[2] & WRITING:
            self.look(event, args[0])
        elif event in CHANGES:
            self.look(event, args[0])
            if event == "os.rename":
                self.look(event, args[1])

    def look(self, event, path):
        if isinstance(path, int) or os.fspath(path) == os.devnull:
            return
        parent, name = os.path.split(os.fsdecode(path))
        place = os.path.join(os.path.realpath(parent), name)  # a link itself may be moved or removed
        if event == "open":
            place = os.path.realpath(place)
        inside = os.path.commonpath([place, self.folder]) == self.folder
        if not inside and "__pycache__" not in os.fsdecode(path):
            self.seen.append((event, path))


GUARD = Guard()


@cache
def hooked():
    sys.addaudithook(GUARD)  # which cannot be taken off: without a folder it lets everything pass


@contextlib.contextmanager
def guarded(folder):
    """Within it a hang, a bomb, and a change outside of a folder are failures."""

    def hang(*_):
        raise Hang

    hooked()
    before = signal.signal(signal.SIGALRM, hang)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    GUARD.folder, GUARD.seen = os.path.realpath(folder), []
    try:
        yield
    finally:
        GUARD.folder = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert not GUARD.seen


def outcome(call, *arguments):
    """What became of a call: its result was used, or refused in words."""
    try:
        call(*arguments)
    except (InputError, NonFiniteError) as error:
        words = str(error)
    else:
        return "used"
    assert 10 < len(words) < 3000
    return "refused"


def commanded(*tokens):
    """The same of a command."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(token) for token in tokens])
    if not end.value.code:
        return "used"
    said = err.getvalue()
    assert end.value.code == 2, said
    assert "pyro-vaes: " in said
    assert "Traceback" not in said
    assert len(said) < 3000
    return "refused"


# --- what is changed ---------------------------------------------------------------------------------------


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


# --- .npz --------------------------------------------------------------------------------------------------

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


# --- idx ---------------------------------------------------------------------------------------------------


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


# --- run folders -------------------------------------------------------------------------------------------


@cache
def whole_run():
    """The files of a run of the command line."""
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data.npz"
        data.write_bytes(npz())
        flags = ["--hidden", "4", "--latent-dim", "2", "--epochs", "2", "--batch-size", "4", "--device", "cpu"]
        assert commanded("train", "vae", "--data", data, *flags, "--out", f"{place}/run") == "used"
        return {path.name: path.read_bytes() for path in (Path(place) / "run").iterdir() if path.is_file()}


@cache
def fitted():
    """A checkpoint of ``fit`` in the middle of its second epoch."""
    with tempfile.TemporaryDirectory() as place:
        loss = at_step(STEPS + 1, ELBO(), interrupt)
        train(build(), loss=loss, out=place, epochs=2, ema=0.9, checkpoint_minutes=1e-9)
        return (Path(place) / "checkpoint.pt").read_bytes()


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
TENSORS = st.sampled_from(
    [
        torch.tensor(torch.nan),
        torch.zeros(0),
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(1).expand(10**9, 10**6),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.full((2, 2), torch.inf, dtype=torch.float64),
        torch.zeros(2, 2, dtype=torch.complex64),
    ]
)


@st.composite
def replaced(draw, tree):
    """A nested state with one of its parts exchanged, missing or renamed."""
    if isinstance(tree, (dict, list)) and tree and draw(st.integers(0, 5)):
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key, copy = draw(st.sampled_from(keys)), tree.copy()
        if not draw(st.integers(0, 5)):
            del copy[key]
        else:
            copy[key] = draw(replaced(tree[key]))
        return copy
    if isinstance(tree, torch.Tensor) and draw(st.booleans()):
        kind = draw(st.sampled_from(["nan", "inf", "shape", "double", "long"]))
        if kind in ("nan", "inf") and tree.is_floating_point():
            return torch.full_like(tree, float(kind))
        return {"double": tree.double(), "long": tree.long()}.get(kind, tree[..., None])
    return draw(TENSORS | NESTED)


@st.composite
def hostile_checkpoint(draw, content):
    kind = draw(st.sampled_from(["bytes", "member", "state", "state"]))
    if kind == "bytes":
        return draw(mutated(content))
    if kind == "member":
        return draw(rezipped(content))
    file = io.BytesIO()
    torch.save(draw(replaced(torch.load(io.BytesIO(content), weights_only=True))), file)
    return file.getvalue()


def quietly(call, *arguments):
    with contextlib.redirect_stderr(io.StringIO()):
        return outcome(call, *arguments)


def written(folder, files):
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    for name, content in files.items():
        (run / name).write_bytes(content)
    return run


def read_checkpoint(folder, draw):
    run = written(folder, {"checkpoint.pt": draw(hostile_checkpoint(fitted()))})
    with guarded(folder / "nowhere"):
        return quietly(RunFolder(run).read_checkpoint)


def resume(folder, draw):
    run = written(folder, {"checkpoint.pt": draw(hostile_checkpoint(fitted()))})
    with guarded(run):
        return quietly(lambda: train(build(), out=run, epochs=2, ema=0.9, resume=True))


def load_run(folder, draw):
    files = whole_run()
    (folder / "data.npz").write_bytes(npz())
    config = yaml.safe_load(files["config.yaml"]) | {"data": str(folder / "data.npz")}
    changed = {"checkpoint.pt": draw(hostile_checkpoint(files["checkpoint.pt"]))} if draw(st.booleans()) else {}
    text = draw(hostile_config(config)) if not changed else yaml.safe_dump(config).encode()
    run = written(folder, {**files, "config.yaml": text, **changed})
    with guarded(folder / "nowhere"):
        return quietly(pv.load_run, run, "cpu")


# --- configurations ----------------------------------------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)
SNIPPETS = [
    "!!python/object/apply:os.system ['touch pwned']",
    "!!python/name:os.system",
    "!!python/tuple [1, 2]",
    "!!binary aGVsbG8=",
    "!!timestamp x",
    "!!int ''",
    "!!bool perhaps",
    "!!float x",
    "!!set {a, b}",
    "2001-99-99",
    "0x" + "f" * 9000,
    "9" * 9000,
    "1:" * 3000 + "1",
    "[" * 3000,
    "{a: " * 2000,
    "&x [*x]",
    "*nothing",
    "'\\0'",
    "<<: {epochs: 3}",
    "|\n  text",
]
NAMES = {
    "recipe": ["vae", "laplace", "ladder", "ladder-mixture", "mixture", "hierarchical", "af-prior", "mae"],
    "guide": [
        "laplace(updates='a')",
        "laplace(updates=-1)",
        "householder(flows=[1])",
        "recursive-mixture(components=1e9)",
    ],
    "likelihood": [
        "gaussian(scale='x')",
        "gaussian(scale=nan)",
        "poisson(grey={})",
        "pixelcnn(layers=10**9)",
        "bernoulli",
    ],
    "prior": ["gaussian-mixture(components=1000000000000)", "gaussian-mixture(components='a')", "vamp-prior(1)"],
    "loss": ["iwae(num_particles=0)", "free-bits(total=None)", "free-bits(total=[])", "elbo(num_particles='x')"],
    "network": ["conv(x=1)", "conv", "resnet", "mlp(activation='x')", "../mlp"],
    "hidden": ["4,4", "-1", "1000000000000", "0", "4;4", ",", "²"],
    "latent_dim": ["2,2", "1000000000000", "0", ","],
    "data": [
        "digits",
        "/etc/passwd",
        "../data.npz",
        "data.npz\0",
        "/dev/zero",
        "x.npz",
        "//x/y.npz",
        "~nobody-here/x.npz",
    ],
    "data_root": ["..", "/", "\0", "~nobody-here", "/proc"],
    "device": ["meta", "cuda:99", "cpu:1", "mps", "xla", "privateuseone"],
    "out": ["../elsewhere", "\0", "~nobody-here/out", "x/" * 300, "", ".", "data.npz", "a\nb", "\ud800"],
    "step": ["graph", "eager", "x"],
    "optimizer": ["adamax", "sgd"],
    "binarize": ["dynamic", "otsu"],
    "train_size": [2, 1, 10**9, "4"],
    "epochs": [1, 0, "3", 1.5, True],
    "seed": [-1, 2**32, "0", True],
    "config": ["x.yaml"],
    "help": [True],
    "nonsense": [1],
}


@st.composite
def hostile_config(draw, config):
    """A configuration with wrong values, keys, tags or bytes."""
    config = dict(config)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(list(NAMES)))
        kind = draw(st.sampled_from(["known", "known", "any", "drop", "snippet", "bytes", "bomb"]))
        if kind == "known":
            config[name] = draw(st.sampled_from(NAMES[name]))
        elif kind == "any":
            config[name] = draw(NESTED)
        elif kind == "drop":
            config.pop(name, None)
        else:
            plain = yaml.safe_dump({key: value for key, value in config.items() if key != name}, sort_keys=False)
            if kind == "bytes":
                return draw(mutated(plain.encode())) + b"\nout: run\n"  # anywhere else is a user's own choice
            return (plain + (BOMB if kind == "bomb" else f"{name}: {draw(st.sampled_from(SNIPPETS))}\n")).encode()
    return yaml.safe_dump(config, sort_keys=False).encode()


def configure(folder, draw):
    config = {"recipe": "vae", "data": "data.npz", "hidden": "4", "latent_dim": 2, "epochs": 1}
    config |= {"batch_size": 4, "device": "cpu", "out": "run", "overwrite": True}
    (folder / "data.npz").write_bytes(npz())
    (folder / "given.yaml").write_bytes(draw(hostile_config(config)))
    with guarded(folder.parent):
        return commanded("train", "--config", folder / "given.yaml")


def name_options(folder, draw):
    inner = st.sampled_from(
        ["updates=1", "a='x'", "**{}", "f()", "[" * 300, "-" * 9000 + "1", "{[]: 1}", "1+1j", "\0", "x"]
    )
    text = (
        "laplace("
        + ",".join(draw(st.lists(inner | st.text(max_size=5), max_size=3)))
        + draw(st.sampled_from([")", ""]))
    )
    with guarded(folder / "nowhere"):
        return outcome(parse, text)


# --- the tests ---------------------------------------------------------------------------------------------

try:
    import torchvision.datasets  # noqa: F401
except Exception as error:
    missing = f"torchvision cannot be imported: {error}"
else:
    missing = ""

# what is fuzzed, with its share of the examples
TARGETS = {
    load_npz: 0.35,
    read_checkpoint: 0.25,
    load_run: 0.15,
    resume: 0.05,
    configure: 0.05,
    name_options: 0.05,
    load_idx: 0.1,
}
EACH = [
    pytest.param(
        target, marks=[pytest.mark.skipif(bool(missing) and target is load_idx, reason=missing)], id=target.__name__
    )
    for target in TARGETS
]


def fuzz(folder, target, examples):
    """Run a target on so many examples; gives what became of them."""
    counts = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data):
        counts[target(folder, data.draw)] += 1

    run()
    return counts


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A home and working folder of one's own, and trainings of one epoch."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    fit = training.fit

    def short(*args, epochs, **options):
        return fit(*args, epochs=min(epochs, 1) if type(epochs) is int else epochs, **options)

    whole_run()
    fitted()
    monkeypatch.setattr(training, "fit", short)
    return here


@pytest.mark.parametrize("target", EACH)
def test_hostile_input_is_refused_in_words(here, target):
    counts = fuzz(here, target, int(FEW * TARGETS[target]))
    assert counts["refused"] > 0
    assert not (here / "pwned").exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", EACH)
def test_much_hostile_input_is_refused_in_words(here, target):
    counts = fuzz(here, target, int(MANY * TARGETS[target]))
    print(target.__name__, dict(counts))
    assert counts["refused"] > 0
    assert not (here / "pwned").exists()
