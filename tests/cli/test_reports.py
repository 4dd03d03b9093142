"""compare and diagnose as commands."""

import csv
import html
import json
import re

import numpy as np
import pytest
import yaml

from tests.helpers.command_line import SMALL, metrics, refused, run


def test_compare_and_its_runs(here, capsys):
    guides = "mean-field,laplace(updates=1,step_size=1.0)"
    assert (
        run(
            "compare",
            "--guides",
            guides,
            "--data",
            "tiny.npz",
            *SMALL,
            "--seeds",
            "4,5",
            "--num-samples",
            "25",
            "--diagnose",
            "0",
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "| laplace(updates=1,step_size=1.0) |" in printed
    *files, follow = printed.splitlines()[-4:]
    assert files == ["report/report.md", "report/report.csv", "report/trials.csv"]
    assert re.fullmatch(r"next: pyro-vaes diagnose report/runs/.*-seed[45] --reference 3", follow)
    assert {"report.md", "report.csv", "trials.csv"} <= {path.name for path in (here / "report").iterdir()}
    folders = sorted((here / "report" / "runs").iterdir())
    assert [path.name for path in folders][2:] == ["mean-field-seed4", "mean-field-seed5"]
    for folder in folders[::2]:
        assert run("evaluate", str(folder), "--num-samples", "25") == 0
        assert run("sample", str(folder), "--n", "4") == 0
        assert run("train", "--config", str(folder / "config.yaml"), "--out", f"again-{folder.name}") == 0
        assert metrics(here / f"again-{folder.name}") == metrics(folder)
    with (here / "report" / "trials.csv").open() as file:
        trial = next(csv.DictReader(file))
    estimate = json.loads((folders[2] / "evaluation.json").read_text())
    assert estimate["log_likelihood"] == pytest.approx(float(trial["log_likelihood"]), abs=0.1)


def test_diagnose_an_interrupted_run_against_another(here, capsys):
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--out", "whole") == 0
    assert run("train", "laplace", "--data", "tiny.npz", *SMALL, "--out", "cut") == 0
    config = yaml.safe_load((here / "cut" / "config.yaml").read_text())
    (here / "cut" / "config.yaml").write_text(yaml.safe_dump({**config, "epochs": 9}))
    small = ["--images", "3", "--num-samples", "30"]
    assert run("diagnose", "cut", "--against", "whole", *small) == 0
    *advice, last = capsys.readouterr().out.strip().splitlines()[-3:]
    assert last.endswith("cut/diagnosis.html")
    figures = json.loads((here / "cut" / "diagnosis.json").read_text())
    assert advice[-len(figures["advice"]) :] == figures["advice"]
    assert figures["advice"][0].startswith("cut: ")
    assert " ".join(figures["advice"]) in html.unescape((here / "cut" / "diagnosis.html").read_text())
    assert [(row["name"], bool(row["note"])) for row in figures["guides"]] == [("cut", True), ("whole", False)]
    note = "training was interrupted after epoch 1 of 9"
    assert note in figures["guides"][0]["note"]
    assert note in (here / "cut" / "diagnosis.html").read_text()
    np.savez(here / "other.npz", x_train=np.zeros((40, 4, 4), np.uint8), x_test=np.zeros((9, 4, 4), np.uint8))
    assert run("train", "vae", "--data", "other.npz", *SMALL, "--out", "other") == 0
    refused(["diagnose", "whole", "--against", "other"], capsys, "give runs on the same data")


@pytest.mark.parametrize(("seeds", "expected"), [("2", [0, 1]), ("7,", [7]), ("3,1", [3, 1])])
def test_seeds_are_a_number_of_them_or_a_list(here, monkeypatch, seeds, expected):
    called = []
    monkeypatch.setattr(
        "pyro_vaes.reports.compare.compare", lambda data, names, settings, seeds, *_, **__: called.append(seeds) or []
    )
    run("compare", "--data", "tiny.npz", "--seeds", seeds)
    assert called == ([tuple(expected)])
