"""The file of a saved pair: formats, damage and weights that are refused, and nothing that is executed."""

import os

import pytest
import torch
from safetensors.torch import save_file

import pyro_vaes as pv
from pyro_vaes.runs.pair_file import KIND, checksum
from tests.helpers.saved_pairs import build, by_hand, content


def rewritten(file, change=lambda tensors: tensors, **metadata):
    """Change a file on purpose: its checksum is right."""
    tensors, before = content(file)
    tensors, metadata = change({name: value.clone() for name, value in tensors.items()}), before | metadata
    save_file(tensors, file, metadata | {"sha256": checksum(tensors, metadata)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"format": "3", "versions": "pyro_vaes: '9.1'"},
            "has the format '3', written by pyro_vaes '9.1', but this pyro_vaes .* reads format 2: take that version",
        ),
        ({"kind": "else"}, "no file that save wrote"),
        ({"description": "- a list"}, "lacks a part that save writes"),
        ({"description": "a: &a [x]\nclasses: *a"}, "lacks a part that save writes"),
        ({"description": "{classes: {model: VAE}, built: null}"}, "lacks a part that save writes"),
        ({"change": lambda tensors: tensors | {"other.bias": torch.zeros(1)}}, "lacks a part that save writes"),
        (
            {"description": "{classes: {model: VAE, guide: MeanField}, built: {recipe: gone}}"},
            r"of pyro_vaes .* built, which .* cannot \(KeyError: .*\): take that version",
        ),
    ],
)
def test_another_format_is_refused(tmp_path, change, words):
    file = tmp_path / "pair.safetensors"
    pv.save(file, *build(latent_dim=2, hidden=(8,))[:2])
    rewritten(file, **change)
    with pytest.raises(pv.InputError, match=words) as caught:
        pv.load(file)
    assert "\n" not in str(caught.value)


def entry(value):
    return lambda tensors: tensors | {"model.decoder.0.bias": value}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: {}, r"model in .* is a VAE that does not fit this VAE: it lacks decoder\.0\.weight"),
        (lambda tensors: tensors | {"guide.x" * 999: torch.zeros(1)}, r"MeanField: it has '.{,100}' too"),
        (entry(torch.zeros(10**5)), r"its decoder\.0\.bias has the shape \(100000,\), here it is \(8,\)"),
        (entry(torch.zeros(8, 0, 10**9)), r"has the shape \(8, 0, 1000000000\), here it is \(8,\)"),
        (entry(torch.zeros(8, dtype=torch.int64)), r"its decoder\.0\.bias is torch\.int64, here it is torch\.float32"),
        (entry(torch.zeros(8, dtype=torch.complex64)), r"is torch\.complex64, here it is torch\.float32"),
        (entry(torch.full((8,), torch.nan)), r"values in decoder\.0\.bias that are not finite"),
        (entry(torch.full((8,), torch.nan).to(torch.float8_e5m2)), r"values in decoder\.0\.bias that are not finite"),
        (entry(torch.full((8,), 1e300, dtype=torch.float64)), r"values in decoder\.0\.bias that are not finite"),
    ],
)
def test_weights_of_anyone_are_checked(tmp_path, change, words):
    file = tmp_path / "pair.safetensors"
    pv.save(file, *build(latent_dim=2, hidden=(8,))[:2])
    rewritten(file, change)
    with pytest.raises(pv.InputError, match=words):
        pv.load(file)


def test_damage_is_noticed_wherever_it_is(tmp_path):
    file = tmp_path / "pair.safetensors"
    pv.save(file, *build(latent_dim=2, hidden=(8,))[:2])
    whole = file.read_bytes()
    for place in (*range(1200), *range(1200, len(whole), 97)):  # of the header every byte
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(pv.InputError, match="pair"):
            pv.load(file)
    for damaged in (whole[: len(whole) // 2], b"", b"no pair"):
        file.write_bytes(damaged)
        with pytest.raises(pv.InputError, match=r"is damaged .*, or no file that save wrote: give a whole copy"):
            pv.load(file)


def test_a_file_of_the_format_before_is_refused(tmp_path):
    """Format 1 was torch's archive."""
    model, guide = (module.state_dict() for module in by_hand())
    file = tmp_path / "pair.pt"
    torch.save(
        {
            "kind": KIND,
            "format": 1,
            "versions": {"pyro_vaes": "0.1.0"},
            "description": "",
            "model": model,
            "guide": guide,
        },
        file,
    )
    words = r"format 1, written by pyro_vaes '0\.1\.0', but this pyro_vaes .* reads format 2: take that version"
    with pytest.raises(pv.InputError, match=words) as caught:
        pv.load(file)
    assert "\n" not in str(caught.value)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"kind": KIND, "format": 1, "model": Malicious()}, "pair.safetensors")
    with pytest.raises(pv.InputError, match="is damaged"):
        pv.load("pair.safetensors")
    assert not (tmp_path / "executed").exists()
