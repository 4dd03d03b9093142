"""Parts of one's own on the command line, by ``module:Class``; a file that names one never has it imported."""

import json
import sys

import pytest
import yaml

import pyro_vaes as pv
from tests.helpers.command_line import SMALL, run

PARTS = """
from pathlib import Path

import pyro.distributions as dist

from pyro_vaes.guides import MeanField
from pyro_vaes.losses import ELBO
from pyro_vaes.priors import StandardNormal

Path("imported").touch()


class Narrow(MeanField):
    def __init__(self, vae, encoder, factor=1.0):
        super().__init__(vae, encoder)
        self.factor = factor


class Wide(StandardNormal):
    def forward(self):
        return dist.Normal(self.loc, 2.0).to_event(1)


class Own(ELBO):
    pass
"""


@pytest.fixture
def own(here):
    """A run of one's own parts, whose module this process does not have; a file tells when it is imported."""
    sys.modules.pop("own_parts", None)
    (here / "own_parts.py").write_text(PARTS)
    flags = ["--guide", "own_parts:Narrow(factor=2)", "--prior", "own_parts:Wide", "--loss", "own_parts:Own"]
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, *flags, "--out", "run") == 0
    (here / "imported").unlink()
    sys.modules.pop("own_parts")
    return here, flags


def test_parts_of_ones_own_are_trained(own):
    here, flags = own
    config = yaml.safe_load((here / "run" / "config.yaml").read_text())
    assert (config["guide"], config["prior"]) == ("own_parts:Narrow(factor=2)", "own_parts:Wide")
    loaded = pv.load_run("run", device="cpu", parts=dict(zip(("guide", "prior", "loss"), flags[1::2], strict=True)))
    assert (type(loaded.system.guide).__name__, loaded.system.guide.factor) == ("Narrow", 2)
    assert run("evaluate", "run", *flags, "--num-samples", "5") == 0
    assert json.loads((here / "run" / "evaluation.json").read_text())["split"] == "test"


@pytest.mark.parametrize(
    "words", ["evaluate run", "sample run", "export run", "train --config run/config.yaml --resume"]
)
def test_a_module_that_a_file_names_is_not_imported(own, capsys, words):
    here, _ = own
    before = sorted(path for path in here.rglob("*"))
    assert run(*words.split()) == 2
    message = capsys.readouterr().err
    assert "own_parts:" in message
    assert "name it again, --guide" in " ".join(message.split())
    assert len(message.splitlines()) <= 2
    assert sorted(path for path in here.rglob("*")) == before, "a file was written, or the module imported"


@pytest.mark.parametrize("part", ["guide", "prior"])
def test_a_module_that_a_file_names_after_another_part_is_not_imported_either(own, capsys, part):
    here, _ = own
    name = {"guide": "own_parts:Narrow", "prior": "own_parts:Wide"}[part]
    (here / "list.yaml").write_text(f"recipe: vae\n{part}: gaussian-mixture(components=(2)), {name}\n")
    assert run("train", "--config", "list.yaml") == 2
    assert f"name it again, --{part}" in " ".join(capsys.readouterr().err.split())
    assert not (here / "imported").exists()


def test_a_saved_pair_never_has_a_module_imported(own):
    here, flags = own
    system = pv.load_run(
        "run", device="cpu", parts=dict(zip(("guide", "prior", "loss"), flags[1::2], strict=True))
    ).system
    pv.save("pair.safetensors", *system[:2])
    (here / "imported").unlink()
    sys.modules.pop("own_parts")
    with pytest.raises(pv.InputError, match=r"never has a module imported: .*load\(path, model, guide\)"):
        pv.load("pair.safetensors")
    assert not (here / "imported").exists()


@pytest.mark.parametrize(
    ("guide", "words"),
    [
        ("no_such_module:Guide", "no_such_module cannot be imported"),
        ("own_parts:Missing", "expected a class that derives from Guide"),
        ("own_parts:Wide", "expected a class that derives from Guide"),
        ("own_parts:Narrow(fctor=2)", "fctor"),
    ],
)
def test_a_part_that_does_not_exist_is_refused(own, capsys, guide, words):
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--guide", guide, "--out", "other") == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (own[0] / "other").exists()
