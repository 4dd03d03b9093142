"""Damaged checkpoints: the one before is used, and no change goes unseen."""

import errno
import os

import numpy as np
import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.runs.folder import RunFolder
from tests.helpers.command_line import SIZES, run
from tests.helpers.training import assert_equal, assert_same, build, timeless, train, weights


def flipped(content, position, bits=0xFF):
    return content[:position] + bytes([content[position] ^ bits]) + content[position + 1 :]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    train(build(), out=out, epochs=2)
    return {name: (out / name).read_bytes() for name in ("checkpoint.pt", "checkpoint.1.pt")}


def written(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return RunFolder(folder)


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit of a weight": lambda content: flipped(content, content.index(b"FB") + 2000),
    "something else": lambda content: b"no checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path, trained, capsys, damage):
    whole, pair = build(), build(seed=1)
    expected = train(whole, epochs=3)
    written(tmp_path, {**trained, "checkpoint.pt": DAMAGES[damage](trained["checkpoint.pt"])})
    capsys.readouterr()
    run = train(pair, out=tmp_path, epochs=3, resume=True)
    said = capsys.readouterr().err
    assert f"{tmp_path / 'checkpoint.pt'} is damaged" in said
    assert "taking checkpoint.1.pt, the one before it" in said
    assert_equal(weights(pair), weights(whole))
    assert timeless(run.history) == timeless(expected.history)
    for name, epochs in (("checkpoint.pt", 3), ("checkpoint.1.pt", 2)):
        assert len(torch.load(tmp_path / name, weights_only=True)["history"]) == epochs
    assert not capsys.readouterr().err


def test_a_damaged_checkpoint_does_not_push_out_the_whole_one(tmp_path, trained, monkeypatch):
    """A second failure, of the first write after the damage."""
    folder = written(tmp_path, {**trained, "checkpoint.pt": b""})

    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(InputError, match="No space left on device"):
        folder.write_checkpoint(folder.read_checkpoint())
    assert len(folder.read_checkpoint()["history"]) == 1


def test_evaluation_takes_the_checkpoint_before_too(here, capsys):
    assert run("train", "vae", "--data", "tiny.npz", *SIZES, "--epochs", "2", "--out", "run") == 0
    (here / "run" / "checkpoint.pt").write_bytes(b"")
    capsys.readouterr()
    assert run("evaluate", "run", "--num-samples", "5", "--device", "cpu") == 0
    assert capsys.readouterr().err == (
        "run/checkpoint.pt is damaged (BadZipFile); taking checkpoint.1.pt, the one before it\n"
    )


def test_two_damaged_checkpoints_are_both_named(tmp_path, trained):
    folder = written(tmp_path, {name: content[:-100] for name, content in trained.items()})
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged .*checkpoint\.1\.pt is damaged .*train this one"):
        folder.read_checkpoint()


def test_every_changed_bit_is_seen_or_without_effect(tmp_path, trained):
    whole = trained["checkpoint.pt"]
    expected = written(tmp_path, {"checkpoint.pt": whole}).read_checkpoint()
    rng, refused = np.random.default_rng(0), 0
    ends = range(len(whole) - 200, len(whole))  # of the archive's table, which a reader starts from
    for position in (*range(200), *rng.integers(0, len(whole), 400), *ends):
        folder = written(tmp_path, {"checkpoint.pt": flipped(whole, position, 1 << rng.integers(8))})
        try:
            assert_same(folder.read_checkpoint(), expected)
        except InputError:
            refused += 1
    assert refused > 400


def test_files_without_links_are_kept_too(tmp_path, trained, monkeypatch):
    """As on a FAT disk."""

    def fails(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fails)
    train(build(), out=tmp_path, epochs=3)
    for name, epochs in (("checkpoint.pt", 3), ("checkpoint.1.pt", 2)):
        assert len(torch.load(tmp_path / name, weights_only=True)["history"]) == epochs


def test_a_record_marked_as_a_folder_is_seen(tmp_path, trained):
    """Torch reads such a record as empty, and gives a tensor of whatever the memory held."""
    content = trained["checkpoint.pt"]
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"/data/1"))
    folder = written(tmp_path, {"checkpoint.pt": flipped(content, entry + 38, 0x10)})
    with pytest.raises(InputError, match="a record is marked as a folder"):
        folder.read_checkpoint()
