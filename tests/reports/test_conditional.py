"""Conditional models in reports: every figure of a test datum is given its own label."""

import json

import numpy as np
import pytest
import torch

from pyro_vaes.data import Data
from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.evaluate.inputs import of_split
from pyro_vaes.given import given_of
from pyro_vaes.recipes import Settings, build_seeded, conditional
from pyro_vaes.reports.compare import compare
from pyro_vaes.reports.diagnose import diagnose
from pyro_vaes.reports.diagnosis import NamedPair
from pyro_vaes.reports.evaluate_run import evaluate_run
from pyro_vaes.reports.measurement import measured_rows
from tests.helpers.arrays import images
from tests.helpers.command_line import refused, run

DATA = Data.from_arrays(
    x_train=images(60, 4, 4),
    y_train=np.arange(60) % 3,
    x_test=images(12, 4, 4),
    y_test=np.arange(12) // 4,
    name="tiny",
)
SETTINGS = Settings(latent_dim=2, hidden=(8,), epochs=1, batch_size=32, condition_dim=3, device="cpu")


def measured(count):
    """The test data that a report of so many is on, and their labels."""
    rows = evenly_spaced(len(DATA.test), count)
    return DATA.test.x[rows], DATA.test.y[rows]


@pytest.fixture(scope="module")
def system():
    return build_seeded(conditional, DATA.event_shape, SETTINGS, seed=0)


@pytest.mark.slow
def test_guides_are_compared_on_a_frozen_conditional_model(system, tmp_path):
    options = {"num_samples": 30, "images": 5, "progress": False, "test_size": 6}
    trials = compare(DATA, ["mean-field", "laplace"], SETTINGS, [0], tmp_path / "report", model=system.model, **options)
    x, y = measured(6)
    expected = marginal_log_likelihood(system.model, x, num_samples=1000, y=y).per_datum
    for trial in trials:
        torch.testing.assert_close(trial.measured.marginal.per_datum, expected)
        assert (trial.measured.gap > -0.2).all()
    pictures = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"report.md", "diagnosis.html", "posteriors.png", "samples.png", "reconstructions.png"} <= pictures


def test_data_that_are_sorted_by_class_are_measured_on_all_classes(tmp_path):
    assert DATA.test.y[measured_rows(DATA, 6)].tolist() == [0, 0, 1, 1, 2, 2]
    (trial,) = compare(
        DATA, ["mean-field"], SETTINGS, [0], tmp_path, num_samples=30, images=3, test_size=6, progress=False
    )
    expected = marginal_log_likelihood(trial.system.model, measured(6)[0], trial.system.guide).per_datum.double()
    torch.testing.assert_close(trial.measured.marginal.per_datum.double(), expected, atol=0.1, rtol=0)
    (found,) = json.loads((tmp_path / "diagnosis.json").read_text())["guides"]
    assert found["log_likelihood"]["mean"] == pytest.approx(trial.measured.marginal.per_datum[::2].mean().item())


def test_a_diagnosis_and_an_evaluation_have_the_labels_of_their_data(system, tmp_path):
    (found,) = diagnose(
        [NamedPair("one", *system[:2])], DATA, tmp_path, images=4, num_samples=50, num_steps=2, progress=False
    )
    x, y = measured(4)
    expected = marginal_log_likelihood(system.model, x, system.guide, y=y)
    torch.testing.assert_close(found.gaps.log_likelihood, expected.per_datum.double(), atol=0.2, rtol=0)
    evaluate_run(system.model, system.guide, DATA, tmp_path, num_samples=20, test_size=4)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["log_likelihood"] == pytest.approx(expected.mean, abs=0.2)


def test_a_split_gives_the_labels_of_its_first_data(system):
    model, guide = of_split(DATA.test, slice(5), *system[:2])
    assert given_of(model)["y"].tolist() == given_of(guide)["y"].tolist() == [0, 0, 0, 0, 1]


def test_samples_take_the_conditions_of_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = {f"x_{part}": images(n, 8, 8) for part, n in (("train", 30), ("test", 9))}
    np.savez("tiny.npz", **pixels, y_train=np.arange(30) % 3, y_test=np.arange(9) % 3)
    flags = ["--data", "tiny.npz", "--condition-dim", "3", "--latent-dim", "2", "--hidden", "8", "--epochs", "1"]
    assert run("train", "conditional", *flags, "--device", "cpu", "--out", "run") == 0
    assert run("sample", "run", "--n", "4", "--condition", "2,1", "--device", "cpu") == 0
    assert (tmp_path / "run" / "samples.png").stat().st_size > 500
    refused(["sample", "run", "--condition", "2,3", "--device", "cpu"], capsys, r"y\[1\] is 3: labels of this model")
    refused(["export", "run"], capsys, "cannot be exported")
