"""The table of runs: epochs, the best bound, and the state of each."""

import json

import pytest
import yaml

import pyro_vaes as pv
from pyro_vaes.runs.overview import overview


@pytest.fixture
def folder(tmp_path):
    """Writes a run folder that has a history but no weights."""

    def write(name, elbos, **config):
        path = tmp_path / name
        path.mkdir()
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        rows = [{"epoch": number, "valid_elbo": elbo} for number, elbo in enumerate(elbos, 1)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def test_the_best_bound_and_the_state(folder, tmp_path):
    folder("a", [-9.0, -7.0, -8.0], recipe="vae", epochs=3)
    folder("b", [-9.0], recipe="vae", epochs=3)
    folder("c", [-7.0, -9.0, -8.0], recipe="mixture", epochs=4, cluster_epoch=1)
    found = [(row["epochs"], row["valid_elbo"], row["state"]) for row in overview(tmp_path)]
    assert found == [(3, -7.0, "finished"), (1, -9.0, "unfinished, of 3 epochs"), (3, -8.0, "unfinished, of 4 epochs")]


def test_a_run_that_its_patience_stopped(tmp_path):
    data = pv.data.load("digits", train_size=50)
    model, guide, loss = pv.recipes.vae(data.event_shape, latent_dim=2, hidden=(8,))
    run = pv.fit(model, guide, data, loss, epochs=50, lr=0.5, patience=1, out=tmp_path / "run", progress=False)
    assert run.stopped
    (row,) = overview(tmp_path)
    assert (row["epochs"], row["valid_elbo"], row["state"]) == (len(run.history), run.best["valid_elbo"], "stopped")


@pytest.mark.parametrize("text", ["{", "[]", '{"epoch": 1}', '{"valid_elbo": "x"}', "\x00", "[" * 10**5])
def test_a_damaged_history_is_said_to_be(folder, tmp_path, text):
    (folder("a", [], recipe="vae") / "metrics.jsonl").write_text(text)
    folder("b", [-1.0], recipe="vae", epochs=1)
    assert [row["state"] for row in overview(tmp_path)] == ["damaged", "finished"]


def test_other_folders_are_no_runs(folder, tmp_path):
    (folder("report", [], guides="laplace") / "metrics.jsonl").unlink()
    assert overview(tmp_path) == []
    with pytest.raises(pv.InputError, match="is no folder: give the one that holds runs"):
        overview(tmp_path / "nowhere")
