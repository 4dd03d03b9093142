"""Hostile run folders: checkpoints, configurations, links and trials that lie."""

import pytest
import torch
import yaml

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from tests.helpers.command_line import SMALL, run
from tests.helpers.training import build, train


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
        (entry("last", "optimizer", "param_groups", 0, "params", value=[0, 1]), "another number of parameters"),
        (entry("last", "optimizer", "param_groups", value="fast"), "cannot be resumed"),
        (entry("last", "optimizer", "param_groups", 0, value={}), "cannot be resumed"),
        (entry("unfinished", value=3), "cannot be resumed"),
        (entry("unfinished", value={"seen": -1, "of": {}}), "has seen is -1"),
    ],
)
def test_checkpoints_that_are_whole_but_wrong(tmp_path, change, words):
    changed(tmp_path, change)
    with pytest.raises(InputError, match=words):
        train(build(), out=tmp_path, epochs=3, resume=True)


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
        pv.load_run(trained, device="cpu")


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
        pv.load_run(trained, device="cpu")
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
    assert "trial.json or per_datum.csv beside it is damaged" in capsys.readouterr().err
