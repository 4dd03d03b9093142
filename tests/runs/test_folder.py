"""The folder of a run: its files, and what is refused or replaced."""

import json

import pytest
import torch
import yaml

from pyro_vaes.errors import InputError
from pyro_vaes.runs.folder import RunFolder
from tests.helpers.training import FILES, assert_equal, build, train, weights


def test_the_run_folder_holds_the_run(tmp_path):
    pair = build()
    run = train(pair, out=tmp_path / "new" / "run", seed=5)
    assert run.path == tmp_path / "new" / "run"
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoint.1.pt", *FILES]
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history
    assert yaml.safe_load((run.path / "config.yaml").read_text())["seed"] == 5
    state = torch.load(run.path / "checkpoint.pt", weights_only=True)
    saved = {f"{i}.{key}": value for i, name in enumerate(("model", "guide")) for key, value in state[name].items()}
    assert_equal(saved, weights(pair))
    assert state["history"] == run.history


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    train(build(), out=tmp_path, epochs=1)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["format"], state["version"]  # as format 1 had them
    for path in tmp_path.glob("checkpoint*.pt"):
        torch.save(state, path)
    with pytest.raises(
        InputError, match=r"format 1, written by pyro_vaes .*, but this pyro_vaes .* reads format 2"
    ) as told:
        RunFolder(tmp_path).read_checkpoint()
    assert "\n" not in str(told.value)


def test_a_write_that_fails_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    train(build(), out=tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def fails(state, file):
        file.write(before[:100])
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(InputError, match=r"checkpoint\.pt cannot be written \(disk full\)"):
        train(build(), out=tmp_path, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_an_existing_run_is_refused_or_replaced(tmp_path):
    train(build(), out=tmp_path)
    (tmp_path / "evaluation.json").write_text("{}")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match=r"exists already.*resume.*overwrite"):
        train(build(), out=tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    run = train(build(), out=tmp_path, overwrite=True, epochs=1)
    assert len(run.history) == len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES, "figures of the replaced run are still there"


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no checkpoint"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    train(build(), out=tmp_path, epochs=1)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged"):
        train(build(), out=tmp_path, resume=True)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    train(build(), out=tmp_path, epochs=1)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"checkpoint\.pt is no checkpoint"):
        train(build(), out=tmp_path, resume=True)
