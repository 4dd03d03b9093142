"""Faults that hostile input found, one by one; memory that does not suffice; values that are not finite; links."""

import io
import os
import zipfile

import numpy as np
import pytest
import torch
import yaml

import pyro_vaes as pv
from pyro_vaes.data import load
from pyro_vaes.errors import InputError, NonFiniteError
from pyro_vaes.losses import ELBO
from pyro_vaes.recipes.spec import parse
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.runs.safe_yaml import MOST_BYTES, read_settings
from pyro_vaes.training.out_of_memory import suggest_batch_size
from pyro_vaes.validation import as_path, choose_device
from tests.helpers.command_line import SMALL, run
from tests.helpers.training import BATCH, DATA, STEPS, build, train

# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "~nobody-of-this-name/x", 3, None])
def test_what_is_no_path(value):
    with pytest.raises(InputError, match=r"out is .*, which is not a path \(.*\): give another"):
        as_path(value, "out")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("!!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        ("a: &a [x]\nb: [*a, *a]", "it has an alias"),
        ("a: 0x" + "f" * 99, "more than 64 bits"),
        ("a: " + "9" * 5000, "4300"),
        ("a: " + "[" * 3000, "recursion"),
        ("a: !!bool perhaps", "perhaps"),
        ("a: !!timestamp x", "groupdict"),
        ("a: 2001-99-99", "month"),
        ("1: 2", "begins as"),
        ("[a]", "begins as"),
        ("a: " + "x" * MOST_BYTES, "too long"),
    ],
)
def test_what_is_no_mapping_of_settings(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"(?s)is no YAML mapping of settings .*{words}.*: look"):
        read_settings(tmp_path / "config.yaml", "look")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_pipes_are_not_waited_for(tmp_path):
    for name in ("config.yaml", "checkpoint.pt"):
        os.mkfifo(tmp_path / name)
    for read in (RunFolder(tmp_path).read_config, RunFolder(tmp_path).read_checkpoint):
        with pytest.raises(InputError, match="no file"):
            read()


@pytest.mark.parametrize(
    "text", ["f(a={[]: 1})", "f(a=" + "-" * 9000 + "1)", "f(a=__import__('os'))", "f(*[1])", "f(**{})"]
)
def test_names_are_never_evaluated(text):
    with pytest.raises(InputError, match="is no name with options"):
        parse(text)


def test_an_archive_larger_than_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_vaes.data.sources._memory", lambda: 2**20)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(2**21))
    with pytest.raises(InputError, match=r"bomb\.npz' unpacks to 0\.0 GiB, but this machine has 0\.0 GiB of memory"):
        load(tmp_path / "bomb.npz")


def test_a_header_larger_than_its_archive(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("x_train.npy", head.getvalue() + bytes(100))
    with pytest.raises(InputError, match="is damaged"):
        load(tmp_path / "bomb.npz")


# --- run folders -------------------------------------------------------------------------------------------


def changed(path, change):
    """A checkpoint of two epochs, to which something was done."""
    train(build(), out=path)
    (path / "checkpoint.1.pt").unlink()
    state = torch.load(path / "checkpoint.pt", weights_only=True)
    change(state)
    torch.save(state, path / "checkpoint.pt")


def spoil(state):
    for each in (state, state["last"]):
        each["model"]["decoder.0.bias"][0] = torch.nan


def entry(*path, value):
    def put(state):
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return put


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil, r"model is a VAE with values in decoder\.0\.bias that are not finite: give another"),
        (entry("history", value="many"), "is no checkpoint of fit"),
        (entry("history", 0, value={}), "is no checkpoint of fit"),
        (entry("last", value=None), "is no checkpoint of fit"),
        (entry("model", "decoder.0.bias", value=torch.zeros(16).to_sparse()), "is no checkpoint of fit"),
        (
            entry("last", "model", "decoder.0.bias", value=torch.zeros(16, dtype=torch.long)),
            r"torch\.int64, here it is",
        ),
        (entry("last", "step", value="x"), "the checkpoint's step is 'x'"),
        (entry("last", "optimizer", value=[]), "cannot be resumed"),
        (entry("last", "optimizer", "state", 0, value={}), "other moments"),
        (entry("last", "optimizer", "state", 0, "exp_avg", value=torch.zeros(3)), "other moments"),
        (entry("last", "optimizer", "param_groups", 0, "lr", value="fast"), "other options"),
        (entry("unfinished", value=3), "cannot be resumed"),
        (entry("unfinished", value={"seen": -1, "of": {}}), "has seen is -1"),
    ],
)
def test_checkpoints_that_are_whole_but_wrong(tmp_path, change, words):
    changed(tmp_path, change)
    with pytest.raises(InputError, match=words):
        train(build(), out=tmp_path, epochs=3, resume=True)


def test_a_checkpoint_that_unpacks_to_more_than_it_has(tmp_path):
    with zipfile.ZipFile(tmp_path / "checkpoint.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(2**20))
    with pytest.raises(InputError, match="unpacks to more than it has"):
        RunFolder(tmp_path).read_checkpoint()


@pytest.fixture
def trained(here):
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--out", "run") == 0
    return here / "run"


def reconfigured(folder, **changes):
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": ["vae"]}, "recipe is .*: expected str"),
        ({"guide": 3}, "guide is 3: expected str"),
        ({"seed": "0"}, "seed is '0': expected int"),
        ({"data": {"a": 1}}, "data is .*: expected str"),
        ({"prior": "gaussian-mixture(components=1000000000000)"}, "prior 'gaussian-mixture.*allocate"),
        ({"data_root": "/nowhere", "data": "mnist"}, "not a folder"),
    ],
)
def test_configurations_of_wrong_types(trained, changes, words):
    reconfigured(trained, **changes)
    with pytest.raises(InputError, match=words):
        pv.load_run(trained, "cpu")


def test_a_run_folder_does_not_say_where_to_download_to(trained, tmp_path_factory, monkeypatch):
    class Absent:
        def __init__(self, root, train, download):
            assert not download
            raise RuntimeError("Dataset not found.")

    root = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(
        "pyro_vaes.data.sources._import_torchvision", lambda name: type("Vision", (), {"MNIST": Absent})
    )
    reconfigured(trained, data="mnist", data_root=str(root))
    with pytest.raises(InputError, match="load it with download=True"):
        pv.load_run(trained, "cpu")
    assert not list(root.iterdir())


def test_commands_on_a_run_write_into_it_alone(trained):
    """Neither where its configuration says, nor where links in it lead."""
    parent = trained.parent
    precious = parent / "precious"
    precious.write_text("mine")
    for name in ("evaluation.json", "samples.png", "traversals.png", "levels.json", "levels.md"):
        (trained / name).symlink_to(precious)
    reconfigured(trained, out="../elsewhere")
    for command in ("evaluate run --num-samples 5", "sample run --n 4", "traverse run --points 2"):
        assert run(*command.split(), "--device", "cpu") == 0
    assert precious.read_text() == "mine"
    assert sorted(path.name for path in parent.iterdir()) == ["precious", "run", "tiny.npz"]
    assert not (trained / "evaluation.json").is_symlink()


@pytest.mark.parametrize("text", ["{", "[]", "[" * 9000, '{"guide": "laplace", "seed": 0}'])
def test_a_damaged_trial_is_refused(here, capsys, text):
    command = ["compare", "--data", "tiny.npz", "--guides", "mean-field", "--seeds", "1", "--num-samples", "5"]
    command += ["--diagnose", "0", *SMALL, "--out", "report"]
    assert run(*command) == 0
    (here / "report" / "runs" / "mean-field-seed0" / "trial.json").write_text(text)
    capsys.readouterr()
    assert run(*command, "--resume") == 2
    assert "trial.json is damaged" in capsys.readouterr().err


# --- memory ------------------------------------------------------------------------------------------------


class Large(ELBO):
    """An ELBO whose gradients a GPU holds for so many data."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def objective(self, model, guide, x, *args):
        if torch.is_grad_enabled() and len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore on that.")
        return super().objective(model, guide, x, *args)


@pytest.mark.parametrize(
    ("most", "words"), [(20, "batch_size 16 fits"), (31, "batch_size 16 fits"), (0, "No batch_size")]
)
def test_the_batch_size_that_fits_is_named(tmp_path, most, words):
    pair = build()
    with pytest.raises(InputError, match=rf"batch_size {BATCH} takes more .*2\.00 GiB\.\); no epoch .*\. {words}"):
        train(pair, loss=Large(most), out=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_memory_that_ends_in_the_second_epoch_leaves_the_first(tmp_path):
    loss = Large(10**9)
    objective = loss.objective

    def shrinking(*args):
        loss.most = 8 if loss.num_steps == STEPS + 1 else 10**9
        return objective(*args)

    loss.objective = shrinking
    pair = build()
    with pytest.raises(InputError, match=rf"checkpoint of epoch 1 in {tmp_path} is kept\. batch_size 8 fits"):
        train(pair, loss=loss, out=tmp_path)
    assert len(RunFolder(tmp_path).read_checkpoint()["history"]) == 1
    assert all(weight.grad is None for module in pair for weight in module.parameters())


def test_other_errors_pass():
    def work(x):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        suggest_batch_size(work, torch.zeros(4), 4, "")


def test_a_device_without_data_is_refused():
    with pytest.raises(InputError, match="'meta' is not available"):
        choose_device("meta")


# --- not finite --------------------------------------------------------------------------------------------


def test_gradients_that_are_not_finite_spoil_no_checkpoint(tmp_path):
    """At the last step of an epoch: the loss was finite with the weights before."""
    pair, calls = build(), []

    def hook(gradient):
        calls.append(gradient)
        return gradient * torch.nan if len(calls) == 2 * STEPS else gradient

    pair[0].decoder[0].bias.register_hook(hook)
    with pytest.raises(
        NonFiniteError, match=r"epoch 2: not finite: decoder\.0\.bias; the checkpoint of epoch 1 in .* kept"
    ):
        train(pair, out=tmp_path, epochs=3)
    state = RunFolder(tmp_path).read_checkpoint()
    assert len(state["history"]) == 1
    assert all(value.isfinite().all() for value in state["last"]["model"].values())


def test_weights_that_no_loss_sees_are_looked_at_too(tmp_path):
    pair = build()
    pair[1].unused = torch.nn.Parameter(torch.tensor(torch.nan))
    with pytest.raises(NonFiniteError, match="epoch 1: not finite: unused"):
        train(pair, out=tmp_path)
    assert not RunFolder(tmp_path).resumable


def test_data_that_are_not_finite():
    x = np.random.default_rng(0).random((20, 4, 4), np.float32)
    for value in (np.nan, np.inf):
        x[3, 1, 2] = value
        with pytest.raises(InputError, match=r"x_train\[3, 1, 2\] is (nan|inf)"):
            type(DATA).from_arrays(x_train=x)
