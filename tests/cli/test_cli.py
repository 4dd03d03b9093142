"""The command line: what it prints, writes and repeats, and how it refuses."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.helpers.command_line import RUN_FILES, SIZES, SMALL, metrics, pixels, python, run

# --- starting up -------------------------------------------------------------------------------------------

HELP = """
import sys
from pyro_vaes.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "numpy", "pyro", "sklearn", "matplotlib", "arviz"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "command", ["", "train", "compare", "evaluate", "diagnose", "sample", "traverse", "recipes", "datasets"]
)
def test_help_answers_without_loading_torch(command):
    result = python(HELP, *command.split(), "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage: pyro-vaes" in result.stdout
    flags = {"train": ["--guide", "--seed", "--lr", "--resume", "--config"], "compare": ["--guides", "--seeds"]}
    assert not [flag for flag in flags.get(command, []) if flag not in result.stdout]


def test_importing_the_package_loads_and_changes_nothing():
    code = """
import sys
import pyro_vaes
assert not {"torch", "torchvision", "pyro"} & set(sys.modules)
import torch, pyro
def state():
    settings = {**pyro.settings.get(), "validate": torch.distributions.Distribution._validate_args}
    return settings, torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().tolist()
before = state()
for name in pyro_vaes.__all__:
    getattr(pyro_vaes, name)
assert before == state()
assert not pyro.get_param_store().keys()
assert "torchvision" not in sys.modules
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_an_error_in_a_real_process():
    result = subprocess.run(
        [sys.executable, "-m", "pyro_vaes", "train", "vea"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "pyro-vaes: unknown recipe 'vea': did you mean 'vae'? Known: af-prior, full-covariance,"
    )
    assert result.stderr.count("\n") == 1


def test_lists(capsys):
    assert run("recipes") == run("datasets") == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [line.split()[0] for line in lines]
    assert starts[:3] == ["vae", "full-covariance", "laplace"]
    assert {"digits", "mnist", "svhn", "FILE.npz"} <= set(starts)
    assert "Park, Kim, Kim" in next(line for line in lines if line.startswith("laplace"))


# --- train, and what is done with a run --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("laplace", []),
        ("vae", ["--guide", "full-covariance"]),
        ("vae", ["--likelihood", "bernoulli"]),
        ("vae", ["--likelihood", "gaussian(scale=0.25, learn=False)", "--seed", "4", "--lr", "0.01"]),
    ],
)
def test_a_run_repeats_from_its_config_and_is_evaluated(here, capsys, recipe, flags):
    assert run("train", recipe, "--data", "tiny.npz", *SMALL, *flags, "--out", "one") == 0
    assert sorted(path.name for path in (here / "one").iterdir()) == RUN_FILES
    assert "the run is in one" in capsys.readouterr().out
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)  # the config names the data by a path that holds from anywhere
    assert run("train", "--config", "../one/config.yaml", "--out", "two") == 0
    assert metrics(here / "one") == metrics(elsewhere / "two")
    assert run("train", "--config", "../one/config.yaml", "--out", "three", "--seed", "9") == 0
    assert metrics(here / "one") != metrics(elsewhere / "three")

    capsys.readouterr()
    assert run("evaluate", "two", "--num-samples", "30", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    figures = json.loads((elsewhere / "two" / "evaluation.json").read_text())
    assert figures["split"] == "test"
    assert "30 samples each of 12 data" in figures["estimator"]
    assert figures["gap"] == pytest.approx(figures["log_likelihood"] - figures["elbo"])
    assert f"log p(x) {figures['log_likelihood']:.2f}" in printed
    assert run("sample", "two", "--n", "5", "--device", "cpu") == 0
    assert run("sample", "two", "--n", "1", "--out", "picture.png") == 0
    for path in (elsewhere / "two" / "samples.png", elsewhere / "picture.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_evaluation_is_that_of_the_trained_weights(here):
    flags = ["--data", "digits", "--train-size", "60", "--lr", "0.02", *SIZES]
    assert run("train", "vae", *flags, "--epochs", "1", "--out", "one") == 0
    assert run("train", "vae", *flags, "--epochs", "30", "--out", "many") == 0
    estimates = []
    for name in ("one", "many"):
        assert run("evaluate", name, "--num-samples", "20") == 0
        estimates.append(json.loads((here / name / "evaluation.json").read_text())["log_likelihood"])
    assert estimates[1] > estimates[0] + 5


def test_resume_goes_on_where_the_run_ended(here):
    flags = ["--data", "tiny.npz", *SMALL]
    assert run("train", "vae", "--data", "tiny.npz", *SIZES, "--epochs", "3", "--out", "whole") == 0
    assert run("train", "vae", *flags, "--out", "part") == 0
    assert run("train", "--config", "part/config.yaml", "--epochs", "3", "--resume") == 0
    assert metrics(here / "part") == metrics(here / "whole")
    assert run("train", "vae", *flags, "--out", "part", "--overwrite") == 0
    assert len(metrics(here / "part")) == 1


def test_runs_have_a_folder_by_default(here):
    assert run("train", "laplace", "--data", "tiny.npz", *SMALL) == 0
    assert sorted(path.name for path in (here / "runs" / "laplace-tiny").iterdir()) == RUN_FILES


def test_published_settings_are_those_of_the_paper(here):
    assert run("train", "laplace", "--published", "--data", "tiny.npz", "--epochs", "1", "--out", "run") == 0
    config = yaml.safe_load((here / "run" / "config.yaml").read_text())
    assert (config["latent_dim"], config["hidden"], config["lr"], config["epochs"]) == (50, "500,500", 5e-4, 1)


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
    assert {"report.md", "report.csv", "trials.csv"} <= {path.name for path in (here / "report").iterdir()}
    folders = sorted((here / "report" / "runs").iterdir())
    assert [path.name for path in folders][2:] == ["mean-field-seed4", "mean-field-seed5"]
    for folder in folders[::2]:
        assert run("evaluate", str(folder), "--num-samples", "25") == 0
        assert run("sample", str(folder), "--n", "4") == 0
        assert run("train", "--config", str(folder / "config.yaml"), "--out", f"again-{folder.name}") == 0
        assert metrics(here / f"again-{folder.name}") == metrics(folder)
    trials = (here / "report" / "trials.csv").read_text().splitlines()
    estimate = json.loads((folders[2] / "evaluation.json").read_text())
    assert estimate["log_likelihood"] == pytest.approx(float(trials[1].split(",")[3]), abs=1)


def test_diagnose_an_interrupted_run_against_another(here, capsys):
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--out", "whole") == 0
    assert run("train", "laplace", "--data", "tiny.npz", *SMALL, "--out", "cut") == 0
    config = yaml.safe_load((here / "cut" / "config.yaml").read_text())
    (here / "cut" / "config.yaml").write_text(yaml.safe_dump({**config, "epochs": 9}))
    small = ["--images", "3", "--num-samples", "30"]
    assert run("diagnose", "cut", "--against", "whole", *small) == 0
    assert capsys.readouterr().out.strip().endswith("cut/diagnosis.html")
    figures = json.loads((here / "cut" / "diagnosis.json").read_text())
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


def test_ctrl_c_has_a_status_of_its_own(here, monkeypatch, capsys):
    def interrupts(*_, **__):
        raise KeyboardInterrupt

    flags = ["--data", "tiny.npz", *SMALL, "--out", "run"]
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vaes.training.step.EagerStep.__call__", interrupts)
        assert run("train", "vae", *flags) == 130
        assert "nothing is kept; start again with --overwrite" in capsys.readouterr().out
    assert run("train", "vae", *flags, "--overwrite") == 0
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vaes.training.step.EagerStep.__call__", interrupts)
        assert run("train", "--config", "run/config.yaml", "--resume", "--epochs", "2") == 130
        assert "after epoch 1; go on with --config run/config.yaml --resume" in capsys.readouterr().out
    monkeypatch.setattr("pyro_vaes.data.load", interrupts)
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--out", "other") == 130
    assert capsys.readouterr().err == "pyro-vaes: interrupted\n"


# --- what is refused ---------------------------------------------------------------------------------------

GREY = pixels(30, 4, 4)
WRONG_ARRAYS = {
    "no x_train": ({"x_test": GREY}, "has no x_train: it holds x_test"),
    "two sizes": (
        {"x_train": GREY, "x_test": pixels(5, 4, 6)},
        "x_train are 1x4x4 and of x_test 1x4x6: make them one size",
    ),
    "ragged": ({"x_train": np.array([GREY[0], GREY[1, :2]], dtype=object)}, "several sizes, resize them to one"),
    "NaN": ({"x_train": np.where(GREY.max() == GREY, np.nan, GREY / 255)}, r"x_train\[.*\] is nan: .* in \[0, 1\]"),
    "range": ({"x_train": GREY.astype(float)}, r"x_train\[.*\] is .*: divide pixels of 0..255 by 255"),
    "labels": ({"x_train": GREY, "y_train": np.arange(29)}, "y_train has 29 labels for the 30 images"),
}
WRONG_WORDS = {
    "train": "requires an argument",
    "train vae --epochs 1 --epochs 2": "--epochs",
    "train vea": "unknown recipe 'vea': did you mean 'vae'",
    "trian vae": "trian",
    "train vae --data digts": "unknown data set 'digts': did you mean 'digits'",
    "train vae --guide laplce": "unknown guide 'laplce': did you mean 'laplace'",
    "train vae --guide laplace(update=1)": "guide 'laplace.update=1.'.*'update'",
    "train vae --guide laplace(updates=1": "write it as laplace or laplace",
    "train vae --likelihood gausian": "unknown likelihood 'gausian': did you mean 'gaussian'",
    "train vae --epohcs 3": "--epohcs.*--epochs",
    "train vae --epochs many": "--epochs.*many",
    "train vae --epochs 0": "epochs is 0: expected",
    "train vae --lr -1": "lr is -1",
    "train vae --batch-size 0": "batch_size is 0",
    "train vae --seed -1": "seed is -1: expected",
    "train vae --seed 99999999999999999999": "seed is 9999",
    "train vae --device gpu": "device 'gpu' is not available",
    "train vae --latent-dim 0": "latent_dim is 0: expected positive",
    "train vae --hidden a,b": "hidden is 'a,b': expected whole numbers",
    "train vae --hidden 8,0": "hidden is",
    "train vae --train-size 1": "train_size is 1",
    "train vae --binarize dinamic": "unknown binarization 'dinamic'",
    "train vae --data-root nowhere": "data root 'nowhere' is not a folder",
    "train full-covariance --published": "no published settings",
    "train vae --data none.npz": "there is no file 'none.npz'",
    "train vae --data truncated.npz": "truncated.npz' is not an npz archive, or is truncated",
    "train vae --resume --out empty": "holds no checkpoint.pt to resume from",
    "train vae --out taken": "taken exists already.*--resume.*--overwrite",
    "train vae --out taken --resume --overwrite": "contradict",
    "train vae --out file": "file is a file",
    "train --config none.yaml": "none.yaml",
    "train --config broken.yaml": "broken.yaml is no YAML mapping",
    "train --config words.yaml": "words.yaml is no YAML mapping",
    "train --config unknown.yaml": "nonsense",
    "compare --out taken": "taken exists already.*--overwrite",
    "compare --guides mean-field,laplce": "unknown guide 'laplce'",
    "compare --guides mean-field,mean-field": "none may repeat",
    "compare --seeds 0": "at least one guide and one seed",
    "compare --seeds a": "seeds is 'a'",
    "compare --num-samples 0": "num_samples is 0",
    "evaluate nowhere": "nowhere.config.yaml cannot be read",
    "evaluate empty": "empty.config.yaml cannot be read",
    "evaluate taken": "lacks 'recipe'",
    "sample nowhere": "give the folder of a run",
    "sample taken --n 0": "n is 0",
}


def refused(command, capsys, words):
    capsys.readouterr()
    status = run(*command)
    output = capsys.readouterr()
    assert status == 2
    assert output.err.startswith("pyro-vaes: ")
    assert len(output.err.splitlines()) <= 4
    assert "Traceback" not in output.err
    assert re.search(words, output.err.replace("\n", " ")), output.err


@pytest.mark.parametrize("command", WRONG_WORDS)
def test_wrong_words_are_refused(here, capsys, command):
    (here / "truncated.npz").write_bytes((here / "tiny.npz").read_bytes()[:-100])
    (here / "empty").mkdir()
    (here / "taken").mkdir()
    (here / "file").touch()
    (here / "taken" / "config.yaml").write_text("epochs: 3\n")
    (here / "broken.yaml").write_text("recipe: vae\n  epochs: [1,\n'x")
    (here / "words.yaml").write_text("just words\n")
    (here / "unknown.yaml").write_text("recipe: vae\nnonsense: 3\n")
    before = sorted(here.rglob("*"))
    refused(command.split(), capsys, WRONG_WORDS[command])
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(("arrays", "words"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
@pytest.mark.parametrize("command", [["train", "vae"], ["compare"]], ids=["train", "compare"])
def test_wrong_arrays_are_refused(here, capsys, command, arrays, words):
    np.savez(here / "wrong.npz", **arrays)
    before = sorted(here.rglob("*"))
    refused([*command, "--data", "wrong.npz"], capsys, words)
    assert sorted(here.rglob("*")) == before


def test_a_torchvision_that_cannot_load_is_explained(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    refused(["train", "vae", "--data", "mnist"], capsys, "mnist is read by torchvision, but .*install the torchvision")
    assert [path.name for path in here.iterdir()] == ["tiny.npz"]


def test_a_run_whose_files_are_damaged_is_refused(here, capsys):
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--out", "run") == 0
    checkpoint, config = (here / "run" / name for name in ("checkpoint.pt", "config.yaml"))
    whole, settings = checkpoint.read_bytes(), yaml.safe_load(config.read_text())
    checkpoint.write_bytes(whole[:500])
    refused(["evaluate", "run"], capsys, r"checkpoint\.pt is damaged")
    checkpoint.write_bytes(whole)
    for change, words in [
        (
            {"hidden": 9},
            "checkpoint's model is a VAE that does not fit this VAE: its decoder.* the shape",
        ),
        ({"recipe": "vea"}, "unknown recipe 'vea'"),
        ({"data": "gone.npz"}, "no file 'gone.npz'"),
    ]:
        config.write_text(yaml.safe_dump(settings | change))
        refused(["evaluate", "run", "--device", "cpu"], capsys, words)
    assert not (here / "run" / "evaluation.json").exists()
