"""Following a run: event files where TensorBoard is installed, and a log that can be read."""

import contextlib
import re
import sys

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.recipes import RECIPES, Settings
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training import progress
from pyro_vaes.training import tensorboard as follow
from pyro_vaes.training.progress import Progress

SHAPE = (1, 5, 5)
DATA = pv.data.Data.from_arrays(x_train=torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(0)))
PICTURES = ["reconstructions", "samples", "traversals"]


def build(recipe="vae", **changes):
    small = {"latent_dim": 2, "hidden": (8,)}
    system = pv.recipes.build_seeded(
        RECIPES[recipe], SHAPE, Settings(**{**vars(RECIPES[recipe].small), **small, **changes}), 0
    )
    return system.model, system.guide


def train(pair, out, data=DATA, **settings):
    return pv.fit(
        *pair, data, **{"epochs": 2, "batch_size": 20, "device": "cpu", "progress": False, **settings}, out=out
    )


def hide(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def events(folder):
    """Steps and values by tag, scalars and pictures."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "events"), size_guidance={"images": 0, "scalars": 0})
    read.Reload()
    tags = read.Tags()
    return {tag: read.Scalars(tag) for tag in tags["scalars"]}, {tag: read.Images(tag) for tag in tags["images"]}


# --- event files -------------------------------------------------------------------------------------------


def test_event_files_hold_the_history_and_pictures(tmp_path):
    run = train(build(), tmp_path, epochs=5)
    scalars, pictures = events(tmp_path)
    assert scalars.keys() == run.history[0].keys() - {"epoch"}
    for name, values in scalars.items():
        assert [value.step for value in values] == [1, 2, 3, 4, 5]
        assert [value.value for value in values] == pytest.approx([row[name] for row in run.history], rel=1e-5)
    assert sorted(pictures) == PICTURES
    for images in pictures.values():
        assert [image.step for image in images] == [1, 2, 4]
        assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in images)


@pytest.mark.parametrize("recipe", ["laplace", "mixture"])
def test_training_is_the_same_without_tensorboard(tmp_path, monkeypatch, recipe):
    pairs, states, settings = [build(recipe), build(recipe)], [], {"ema": 0.9, "epochs": 3}
    data = pv.data.Data.from_arrays(x_train=DATA.train.pixels.round()) if recipe == "mixture" else DATA
    for number, pair in enumerate(pairs):
        if number:
            hide(monkeypatch)
        torch.manual_seed(7)
        run = train(pair, tmp_path / str(number), data, **settings)
        columns = run.history[0].keys() - {"step_ms", "seconds"}
        states.append((torch.get_rng_state(), [[row[name] for name in columns] for row in run.history]))
    assert (tmp_path / "0" / "events").exists()
    assert not (tmp_path / "1" / "events").exists()
    assert torch.equal(states[0][0], states[1][0])
    assert states[0][1] == states[1][1]
    for one, other in zip(*pairs, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_resumed_run_goes_on_in_the_same_folder(tmp_path):
    train(build(), tmp_path)
    train(build(), tmp_path, epochs=4, resume=True)
    assert len(list((tmp_path / "events").iterdir())) == 2
    scalars, pictures = events(tmp_path)
    assert [value.step for value in scalars["valid_elbo"]] == [1, 2, 3, 4]
    assert [image.step for image in pictures["samples"]] == [1, 2, 4]


def test_pictures_show_pixels(tmp_path):
    shown = []
    files = follow.TensorBoardCallback(tmp_path, *build(), DATA.valid.x, lambda x: shown.append(x.shape) or x)
    files.add({"epoch": 1, "valid_elbo": 0.0})
    files.close()
    count = len(DATA.valid.x)
    assert {(2 * count, *SHAPE), (2 * follow.SHOWN, *SHAPE), (8**2, *SHAPE)} <= set(shown)


def test_an_epoch_that_is_trained_again_takes_the_place_of_the_first(tmp_path, monkeypatch):
    from tensorboard.summary.writer import event_file_writer

    # Names of files end with a count, so that the tenth of one process and second would come before its ninth.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    for start, value in ((1, 0.0), (2, 10.0)):  # the first ended after epoch 3, whose checkpoint was that of epoch 1
        files = follow.TensorBoardCallback(tmp_path, *build(), DATA.valid.x)
        for epoch in range(start, 4):
            files.add({"epoch": epoch, "valid_elbo": value + epoch})
        files.close()
    scalars, _ = events(tmp_path)
    assert [(each.step, each.value) for each in scalars["valid_elbo"]] == [(1, 1.0), (2, 12.0), (3, 13.0)]


def test_overwriting_removes_the_event_files_and_nothing_else(tmp_path):
    train(build(), tmp_path)
    (tmp_path / "events" / "notes.txt").write_text("mine")
    RunFolder(tmp_path).claim(overwrite=True, resume=False)
    assert [path.name for path in (tmp_path / "events").iterdir()] == ["notes.txt"]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(build(), None)
    assert list(tmp_path.iterdir()) == []


def test_data_without_pictures_give_scalars(tmp_path):
    vectors = pv.data.Data.from_arrays(x_train=torch.rand(60, 5))
    model, guide, _ = RECIPES["vae"]((5,), Settings(latent_dim=2, hidden=(8,)))
    train((model, guide), tmp_path, vectors)
    scalars, pictures = events(tmp_path)
    assert "train_elbo" in scalars
    assert not pictures


def test_a_folder_that_cannot_be_written_does_not_end_the_training(tmp_path, capsys):
    files = follow.TensorBoardCallback(tmp_path, *build(), DATA.valid.x)
    (tmp_path / "events").write_text("a file")
    files.add({"epoch": 1, "train_elbo": 0.0})
    files.add({"epoch": 2, "train_elbo": 0.0})
    files.close()
    said = capsys.readouterr().err
    assert said.count("the training goes on without it") == 1


def test_event_files_of_a_long_run_stay_small(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(follow.TensorBoardCallback, "_draw", lambda files, writer, epoch: drawn.append(epoch))
    files = follow.TensorBoardCallback(tmp_path, *build(), DATA.valid.x)
    row = dict.fromkeys(train(build(), None, epochs=1).history[0], 1.0)
    for epoch in range(1, 501):
        files.add({**row, "epoch": epoch})
    files.close()
    assert drawn == [2**power for power in range(9)]
    assert sum(path.stat().st_size for path in (tmp_path / "events").iterdir()) < 800 * 500


# --- the log -----------------------------------------------------------------------------------------------

LINE = (
    r"epoch (\d+)/{}: ELBO train -?[\d.]+ \(reconstruction -?[\d.]+, KL -?[\d.]+\) valid -?[\d.]+ nats; "
    r"[\d.]+[kM]? images/s, \d\d:\d\d left"
)


def test_a_log_file_can_be_read(capsys):
    train(build(), None, epochs=6, progress=True)
    said = capsys.readouterr().err
    assert "\r" not in said
    lines = [line for line in said.splitlines() if line.startswith("epoch")]
    matches = [re.fullmatch(LINE.format(6), line) for line in lines]
    assert [match and match[1] for match in matches] == ["1", "6"]


def test_a_log_file_of_a_week_is_short(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    row = {"train_elbo": 1.0, "valid_elbo": 1.0, "reconstruction": 3.0, "kl": 2.0}
    epochs = 7 * 24 * 3600 // 10
    with contextlib.closing(Progress(epochs, 100, 0, shown=True)) as bar:
        for epoch in range(1, epochs + 1):
            now[0] += 10
            bar.update(100)
            bar.epoch({"epoch": epoch, **row})
    lines = capsys.readouterr().err.splitlines()
    shown = [int(re.match(r"epoch (\d+)/", line)[1]) for line in lines]
    assert shown[:3] == [1, 4, 7]
    assert shown[-1] == epochs
    assert len(lines) < 700
    assert re.search(r"10\.0 images/s, 167:59:50 left", lines[0])


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    train(build(), None, epochs=2, progress=True)
    said = capsys.readouterr().err
    assert re.search(r"\r100%.* images/s, epoch 2 ELBO train .* KL .* nats\]", said)
    assert "\nepoch" not in said


def test_nothing_is_shown_where_none_is_asked_for(capsys):
    train(build(), None, epochs=1)
    assert capsys.readouterr().err == ""
