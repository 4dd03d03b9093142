"""One interface and one form of results for all benchmarks."""

import importlib
import json

import pytest
import torch

from benchmarks import binarized_mnist, inference, levels, rivals, study
from benchmarks.__main__ import NAMES, main, title
from benchmarks.helpers import results, systems

STORED = sorted(path.parent.name for path in results.RESULTS.glob("*/results.json"))


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_the_same_functions(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.run)
    assert callable(module.page)
    assert title(name).endswith(".")


def test_without_a_name_they_are_listed(capsys):
    main([])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES


def test_every_folder_of_results_is_that_of_a_benchmark():
    assert sorted(path.name for path in results.RESULTS.iterdir() if path.is_dir()) == STORED
    assert set(STORED) <= set(NAMES)


@pytest.mark.parametrize("name", STORED)
def test_page_is_that_of_the_stored_results(name):
    text = (results.RESULTS / name / results.PAGE).read_text(encoding="utf-8")
    assert text == results.page(name), f"run `python -m benchmarks {name} --page`"


@pytest.mark.parametrize("name", STORED)
def test_results_state_their_origin(name):
    record = json.loads((results.RESULTS / name / results.FIGURES).read_text(encoding="utf-8"))
    assert record["command"].startswith(f"python -m benchmarks {name}")
    assert record["date"].count("-") == 2
    assert set(record["environment"]) == set(results.environment())
    assert record["rows"]


def test_regression_carries_values_over_to_all_data():
    bounds = torch.linspace(-100.0, -80.0, 21)
    values = 1 + bounds / 2
    first = {"bounds": bounds[:5].tolist(), "elbo": bounds.mean().item()}
    moved = systems.as_of_all(values[:5].tolist(), first)
    torch.testing.assert_close(moved, values.mean().expand(5))


def test_a_benchmark_stores_its_rows_and_their_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(inference, "TURNS", 2)
    monkeypatch.setattr(inference, "BATCH", 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    main(["inference"])
    record = json.loads((tmp_path / "inference" / results.FIGURES).read_text())
    assert [row["case"] for row in record["rows"]] == ["Gaussian", "Bernoulli"]
    page = (tmp_path / "inference" / results.PAGE).read_text()
    assert "| Bernoulli | RecursiveMixture(4) | SemiAmortized(8) |" in page
    assert "`python -m benchmarks inference`, 20" in page
    assert capsys.readouterr().out.startswith("# Inference of a batch")


def test_rivals_that_are_not_installed_are_left_out(monkeypatch, capsys):
    def missing(*_):
        raise ImportError("No module named 'jax'")

    def step(*_):
        return lambda: sum(range(1000))

    monkeypatch.setattr(rivals, "_ways", lambda: [("ours", step), ("JAX by hand", missing), ("theirs", step)])
    monkeypatch.setattr(rivals, "TURNS", 4)
    rows = rivals.run(results.Folders("rivals"))
    assert [row["rival"] for row in rows] == ["ours", "theirs"]
    assert rows[0]["ratio"] is None
    assert rows[1]["ratio"]["turns"] == 4
    assert "no JAX by hand: No module named 'jax'; pip install '.[bench]'" in capsys.readouterr().out
    header, _, ours, theirs = rivals.page(rows)[0].splitlines()
    assert header == "| step | ms (quartiles) | compiled, float32 / this (quartiles) |"
    assert ours.endswith("|  |")
    assert theirs.count(" to ") == 2


@pytest.mark.parametrize("arguments", [["unknown"], ["inference", "--quick"]])
def test_unknown_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["bound", "celeba", "gpu_training", "guides", "levels", "decoders", "lossy_windows"])
def test_missing_folders_are_named(name, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    with pytest.raises(SystemExit, match=f"{name} takes folders: python -m benchmarks {name} DATA WORK"):
        results.measure(results.Folders(name))


def test_started_systems_are_compared_with_the_continued_baseline():
    flags = binarized_mnist.systems("--data digits", 2, 1)
    baselines = {name: systems._baseline(name, flags) for name in flags}
    assert baselines["mean-field"] is None
    assert baselines["householder"] == baselines["mean-field, continued"] == "mean-field"
    assert baselines["laplace(updates=1)"] == "mean-field, continued"


def test_systems_without_results_are_named_on_the_page():
    assert systems.systems_page([_system("mean-field")], ["mean-field", "mixture"])[-1] == "Not trained: mixture."


def test_what_systems_do_not_show_is_said():
    rows = [
        _system("mean-field"),
        _system("shown", baseline="mean-field", above=_above(0.5, 1.5)),
        _system("not shown", baseline="mean-field", above=_above(-0.5, 2.5)),
        _system("untrusted", unreliable=[0.0, 0.02]),
        _system("rising", rise=[0.3, 0.0]),
    ]
    assert systems.not_shown(rows) == [
        "not shown is not distinguishable from mean-field, +1.00 nats [-0.50, +2.50].",
        "2.0% of the estimates of untrusted have k-hat above 0.7.",
        "rising had not converged, 0.30 nats in the last tenth of a training.",
    ]


def test_the_answer_is_the_differences_beyond_their_intervals():
    rows = [
        _system("mean-field"),
        _system("above", baseline="mean-field", above=_above(0.5, 1.5)),
        _system("not shown", baseline="mean-field", above=_above(-0.5, 2.5)),
        _system("further above", baseline="mean-field", above=_above(2.5, 3.5, mean=3.0)),
        _system("below", baseline="continued", above=_above(-1.5, -0.5, mean=-1.0)),
    ]
    assert systems.answer(rows) == [
        "log p(x) above mean-field: further above +3.00 [+2.50, +3.50], above +1.00 [+0.50, +1.50].",
        "log p(x) below continued: below -1.00 [-1.50, -0.50].",
    ]


def test_the_level_that_tells_a_factor_has_a_margin_over_seeds():
    accuracy = {("z1", "digit"): (0.2, 0.3, 0.25), ("z2", "digit"): (0.7, 0.9, 0.8)}
    accuracy |= {("z1", "ink"): (0.4, 0.6, 0.5), ("z2", "ink"): (0.5, 0.4, 0.45)}
    probes = [
        [{"level": level, "factor": factor, "accuracy": found[seed]} for (level, factor), found in accuracy.items()]
        for seed in range(3)
    ]
    rows = [{"model": name, "seed": seed, "levels": probes[seed]} for name in levels.HIERARCHIES for seed in range(3)]
    assert levels.answer(rows)[0] == "ladder: digit by z2 (+55.0 points [+42.6, +67.4])."
    assert levels.not_shown(rows)[:2] == [
        "3 of 5 seeds were run.",
        "ladder: no level tells ink best, z1 is above the other by +5.0 points [-32.3, +42.3].",
    ]


def test_every_question_of_the_study_has_a_benchmark():
    assert set(study.QUESTIONS) <= set(NAMES)


def _above(low, high, mean=1.0):
    return {"mean": mean, "low": low, "high": high, "degrees_of_freedom": 2.0, "num_seeds": 3}


def _system(name, **figures):
    row = {"system": name, "training": f"vae --guide {name}", "baseline": None, "above": None, "data": "digits"}
    row |= {"log_likelihood": _above(-2.0, 0.0)}
    measured = {"elbo": [-2.0, -2.0], "gap": [1.0, 1.0], "unreliable": [0.0, 0.0]}
    return row | measured | {"epochs": [3, 3], "rise": [0.0, 0.0], "minutes": [1.0, 1.0]} | figures
