"""Hostile files: refused in words, before they take memory, time or a command."""

import io
import os
import zipfile

import numpy as np
import pytest

from pyro_vaes.data import load
from pyro_vaes.errors import InputError
from pyro_vaes.recipes.spec import parse
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.runs.safe_yaml import MOST_BYTES, read_settings


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
    monkeypatch.setattr("pyro_vaes.data.memory._memory", lambda: 2**20)
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


def test_a_checkpoint_that_unpacks_to_more_than_it_has(tmp_path):
    with zipfile.ZipFile(tmp_path / "checkpoint.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(2**20))
    with pytest.raises(InputError, match="unpacks to more than it has"):
        RunFolder(tmp_path).read_checkpoint()
