"""The site: its Python blocks run, its commands exist, its links lead somewhere, its tables are the results."""

import importlib.machinery
import os
import re
import shlex
import sys

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.cli import app as cli
from pyro_vaes.runs import load_run
from pyro_vaes.training import stages
from tests.helpers import ROOT
from tests.helpers.markdown_files import PAGES, README, RESULTS, blocks, commands, linked_files, run_python
from tests.helpers.tables import load_tables


def named(path):
    return str(path.relative_to(ROOT))


@pytest.fixture
def tables():
    return load_tables()


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "python")], ids=named)
def test_python_blocks(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python(path)


@pytest.mark.parametrize("path", [README, *PAGES, *RESULTS], ids=named)
def test_relative_links(path):
    dead = [link for link in linked_files(path) if not os.path.exists(path.parent / link)]
    assert not dead


def test_pages_can_be_reached():
    """Every page is in a toctree, so that Sphinx, which checks the rest of the site, does not refuse it."""
    toctrees = "\n".join("\n".join(re.findall(r"```\{toctree\}\n(.*?)```", p.read_text(), re.DOTALL)) for p in PAGES)
    for path in set(PAGES) - {ROOT / "docs" / "index.md"}:
        assert str(path.relative_to(ROOT / "docs").with_suffix("")) in toctrees.splitlines()


COMMANDS = sorted({line for path in (README, *PAGES) for line in commands(path) if " --config " not in line})


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line, monkeypatch, tmp_path):
    """Flags and values are understood, and what is to be trained can be built."""
    words = shlex.split(line)[1:]
    if words[0] != "train":
        cli.app.parse_args(words, exit_on_error=False, print_error=False)
        return
    x = torch.zeros(4, 3 if "coloured" in line else 1, 28, 28)
    data = pv.data.Data.from_arrays(x_train=x, x_valid=x, x_test=x)
    built = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pv.recipes, "load_data", lambda *_: data)
    monkeypatch.setattr(stages, "fit", lambda *system, **_: built.append(system) or trained())
    monkeypatch.setattr(stages, "_keep", lambda *_: None)  # of runs that are not there
    monkeypatch.setattr(load_run, "load_start", lambda *_: None)  # the run of a page is not there
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert built
    assert ended.value.code == 0


@pytest.mark.parametrize("tool", ["sphinx", "pytest", "pdoc"])
def test_usage_is_that_of_the_command_whichever_tool_writes_it(tables, monkeypatch, tool):
    spec = importlib.machinery.ModuleSpec(f"{tool}.__main__", None, origin=f"/site/{tool}/__main__.py")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    monkeypatch.setattr(sys, "argv", [spec.origin, "-b", "html"])
    usage = re.findall("```console\n(.*)\n```", tables.commands())
    assert "pyro-vaes train [OPTIONS] RECIPE" in usage
    assert [line.split()[:2] for line in usage] == [["pyro-vaes", name] for name in cli.app if not name.startswith("-")]
    assert tool not in " ".join(usage)


def test_a_tool_that_imports_every_module_starts_no_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sphinx-build", "-b", "html", "docs", "build"])
    monkeypatch.delitem(sys.modules, "pyro_vaes.__main__", raising=False)
    importlib.import_module("pyro_vaes.__main__")
    assert capsys.readouterr() == ("", "")


def trained():
    return pv.Run([{"train_elbo": 0.0, "valid_elbo": 0.0}], best_epoch=1)


def test_readme_has_the_table_of_the_results(tables):
    assert tables.readme() == README.read_text(encoding="utf-8"), "run `python docs/tables.py`"


def test_published_figures_name_their_source_and_stand_beside_what_was_measured(tables):
    assert {"laplace", "lossy", "mixture"} <= set(tables.generated())
    for name, spread in {
        "laplace": r"-\d+\.\d\d \[-\d+\.\d\d, -\d+\.\d\d\], \[",
        "lossy": " ± ",
        "mixture": " ± ",
    }.items():
        table = tables.generated()[name]
        assert all(part in table for part in ("| published | measured here |", "Published: "))
        assert re.search(spread, table)


def test_a_figure_stands_with_its_error_its_interval_or_its_deviation_over_seeds(tables):
    rows = [{"nll": "1.234", "error": "0.5", "low": "-2", "high": "3.456"}]
    assert tables._with_spread(rows, "nll", ["error"]) == "1.23 ± 0.50"
    assert tables._with_spread(rows, "nll", ["low", "high"]) == "1.23 [-2.00, 3.46]"
    seeds = [{"clusters": [{"majority": share}]} for share in (0.5, 0.7)]
    assert tables._with_spread(seeds, "majority", []) == "60.0 ± 14.1 %"


API = [path for path in PAGES if path.parent.name == "api" and path.stem != "top"]


@pytest.mark.parametrize("path", API, ids=named)
def test_summaries_of_the_api_name_all_that_a_package_exports(path):
    part = getattr(pv, path.stem)
    listed = re.findall(r"^   (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(part.__all__)
    functions = {name for name in part.__all__ if callable(getattr(part, name))} - {"Check"}
    built = set() if path.stem != "recipes" else {name.replace("-", "_") for name in part.RECIPES}
    assert functions - built == set(listed)


def test_names_in_the_table_of_parts_exist():
    for package, names in re.findall(r"\| `pv\.(\w+)` \| (.*) \|", (ROOT / "docs" / "parts.md").read_text()):
        part = getattr(pv, package)
        for name in re.findall(r"`(\w+)`", names):
            assert callable(part) or hasattr(part, name), f"the table names pv.{package}.{name}"
