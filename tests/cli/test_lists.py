"""list and runs: what can be named, with its options, and what was trained."""

import json

import pytest
import yaml

from pyro_vaes.cli.catalog import PARTS, catalog
from pyro_vaes.recipes.spec import registry, resolve
from tests.helpers.command_line import SMALL, run


@pytest.mark.parametrize("kind", PARTS)
def test_a_list_has_every_part_with_a_summary_and_described_options(kind):
    package, base, _ = PARTS[kind]
    entries = {entry["name"]: entry for entry in catalog(kind)}
    assert list(entries) == list(registry(package, base))
    for name, entry in entries.items():
        assert entry["summary"].endswith(".")
        assert all(entry["options"].values()), f"{name} has options without a description: {entry['options']}"
        assert not any(mark in text for text in entry["options"].values() for mark in ("`", ":class:"))
        defaults = [option for option in entry["options"] if "=" in option]
        assert resolve(kind, package, base, f"{name}({', '.join(defaults)})")[1].keys() == {
            option.partition("=")[0] for option in defaults
        }


def test_lists(capsys):
    assert run("list", "guides") == run("list", "recipes") == run("list", "datasets") == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.partition(":")[0] for line in lines}
    assert {"laplace", "vae", "full-covariance", "digits", "mnist", "svhn", "FILE.npz"} <= names
    assert "    updates=4                number T of Newton steps; 0 keeps the encoder's mean." in lines
    assert "    --guide recursive-mixture(components=2), recursive-mixture(components=4)" in lines
    assert "Park, Kim, Kim" in next(line for line in lines if line.startswith("laplace: VLAE"))


def test_a_list_for_a_program(capsys):
    assert run("list", "priors", "--json") == 0
    assert json.loads(capsys.readouterr().out) == catalog("priors")


def test_runs(here, capsys):
    assert run("runs", ".") == 0
    assert capsys.readouterr().out == ". holds no runs: pyro-vaes train RECIPE makes one\n"
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--guide", "low-rank", "--out", "all/one") == 0
    config = yaml.safe_load((here / "all" / "one" / "config.yaml").read_text())
    (here / "all" / "report").mkdir()
    (here / "all" / "report" / "config.yaml").write_text("guides: mean-field\nseeds: 0,\n")
    (here / "all" / "two").mkdir()
    (here / "all" / "two" / "config.yaml").write_text("recipe: laplace\ndata: digits\x1b\nepochs: 5\n")
    capsys.readouterr()
    assert run("runs", "all") == 0
    header, one, two = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["run", "recipe", "guide", "data", "epochs", "valid_elbo", "state"]
    assert one[:3] == ["all/one", "vae", "low-rank"]
    assert (one[3], one[4], one[6]) == (config["data"], "1", "finished")
    assert two == ["all/two", "damaged"]
    assert run("runs", "all", "--json") == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)] == ["all/one", "all/two"]
