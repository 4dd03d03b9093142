"""The tutorials run from the first cell to the last, with the small budgets of smoke tests, and hold no failures.

The runs are slow tests; `make tutorials` runs them in full.
"""

import itertools
import json

import matplotlib
import matplotlib.pyplot as plt
import pytest

from tests.helpers import ROOT

TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))
MOST_BYTES = 250_000
CLOSING = "## What to take away, and how far to trust it"

pytestmark = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code_cells(path):
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def python(cell):
    """The cell's code without the lines that are Jupyter's own, such as `%matplotlib inline`."""
    return "".join(line for line in cell["source"] if not line.startswith("%"))


@pytest.fixture
def drawn_unseen():
    """Figures go to no screen, and neither they nor their settings outlive the notebook."""
    with matplotlib.rc_context():
        plt.switch_backend("Agg")
        yield
        plt.close("all")


@pytest.mark.slow
def test_runs(path, tmp_path, monkeypatch, drawn_unseen):
    monkeypatch.setenv("CI", "1")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(path), 1):
        exec(compile(python(cell), f"{path.name}, code cell {number}", "exec"), namespace)


def test_text_stands_before_each_code_cell(path):
    kinds = ["code"] + [cell["cell_type"] for cell in cells(path)]  # so that the first must be text
    assert ("code", "code") not in itertools.pairwise(kinds)


def test_says_what_to_take_away_and_how_far_to_trust_it(path):
    text = ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown"]
    (closing,) = [each.partition(CLOSING)[2] for each in text if CLOSING in each]
    assert len(closing.partition("\n## ")[0].split()) > 50


def test_outputs_are_kept_and_hold_no_error(path):
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    assert outputs, f"run `python tutorials/run.py {path.name}`"
    assert all(cell["execution_count"] for cell in code_cells(path))
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]


def test_is_small(path):
    assert path.stat().st_size < MOST_BYTES
