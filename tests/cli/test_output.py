"""Output for a program (--json), for nobody (--quiet), and for a log file."""

import json

from tests.helpers.command_line import SIZES, SMALL, run

DATA = ["--data", "tiny.npz"]


def test_results_as_json(here, capsys):
    assert run("train", "vae", *DATA, *SMALL, "--out", "run", "--json", "--quiet") == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert (result["run"], result["epochs"], result["interrupted"]) == ("run", 1, False)
    assert result["next"] == "pyro-vaes diagnose run"
    assert output.err == ""
    assert run("evaluate", "run", "--num-samples", "5", "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((here / "run" / "evaluation.json").read_text())
    assert run("sample", "run", "--n", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"files": ["run/samples.png"]}


def test_quiet_prints_errors_alone(here, capsys):
    assert run("train", "vae", *DATA, *SMALL, "--out", "run", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run("train", "vae", *DATA, *SMALL, "--out", "run", "--quiet") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("pyro-vaes: run exists already")


def test_an_interruption_is_in_the_result(here, capsys, monkeypatch):
    def interrupts(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyro_vaes.training.step.EagerStep.__call__", interrupts)
    assert run("train", "vae", *DATA, *SMALL, "--json") == 130
    assert json.loads(capsys.readouterr().out)["interrupted"] is True


def test_a_training_says_what_to_do_next_and_a_resumed_one_where_it_goes_on(here, capsys):
    assert run("train", "vae", *DATA, *SMALL, "--out", "run") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "longer: pyro-vaes train --config run/config.yaml --resume --epochs 2",
        "next: pyro-vaes diagnose run",
    ]
    assert run("train", "--config", "run/config.yaml", "--resume", "--epochs", "3") == 0
    assert capsys.readouterr().err.splitlines()[0] == "resumed in epoch 2 of 3"
    assert run("train", "--config", "run/config.yaml", "--resume", "--epochs", "3") == 0
    assert capsys.readouterr().err.splitlines()[0] == "resumed after all its 3 epochs"


def test_a_log_file_has_no_bars(here, capsys):
    assert run("train", "vae", *DATA, *SIZES, "--epochs", "2", "--out", "run") == 0
    assert run("evaluate", "run", "--num-samples", "5") == 0
    assert run("diagnose", "run", "--images", "2", "--num-samples", "5") == 0
    compared = ["--guides", "mean-field", "--seeds", "1", "--num-samples", "5", "--diagnose", "2"]
    assert run("compare", *DATA, *SMALL, *compared) == 0
    errors = capsys.readouterr().err
    assert "\r" not in errors
    assert "it/s" not in errors
