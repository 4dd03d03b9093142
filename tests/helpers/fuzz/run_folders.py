"""Run folders at random: checkpoints, and configurations beside them."""

import io
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch
import yaml
from hypothesis import strategies as st

import pyro_vaes as pv
from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from tests.helpers.fuzz.arrays import npz
from tests.helpers.fuzz.guard import commanded, guarded, quietly
from tests.helpers.fuzz.mutations import NESTED, mutated, rezipped
from tests.helpers.fuzz.settings import hostile_config
from tests.helpers.training import STEPS, at_step, build, interrupt, train


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
