"""Runs that survive: breaks inside an epoch, SIGTERM, kills, damaged files, a full disk."""

import contextlib
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from tqdm.auto import tqdm

from pyro_vaes.cli.app import main
from pyro_vaes.errors import InputError, NonFiniteError
from pyro_vaes.guides import MeanField
from pyro_vaes.losses import ELBO, SoftFreeBits
from pyro_vaes.networks import MLPEncoder
from pyro_vaes.runs.checkpoint import load_weights
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.signals import on_termination
from pyro_vaes.training.step import EagerStep
from tests.helpers import ROOT
from tests.helpers.training import (
    ALWAYS,
    BATCH,
    BINARY,
    DATA,
    FILES,
    SHAPE,
    STEPS,
    assert_equal,
    assert_same,
    at_step,
    build,
    clustered,
    interrupt,
    terminate,
    timeless,
    train,
    weights,
)


class Dropping(MLPEncoder):
    """An encoder with dropout."""

    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.3, self.training)


def dropping(seed=0):
    vae, _ = build(seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return vae, MeanField(vae, Dropping(SHAPE, hidden=(16,)))


SYSTEMS = {
    "plain": (build, ELBO, {}),
    "noise in the data": (build, ELBO, {"data": BINARY}),
    "averages": (build, ELBO, {"ema": 0.9, "optimizer": "adamax"}),
    "dropout": (dropping, ELBO, {}),
    "a loss with a state": (build, lambda: SoftFreeBits(target=2.0), {}),
    "clusters": (clustered, ELBO, {"cluster_epoch": 1}),
}


def status(command, *flags):
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        main([*command.split(), *flags])
    return end.value.code


def flipped(content, position, bits=0xFF):
    return content[:position] + bytes([content[position] ^ bits]) + content[position + 1 :]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A working folder with a small data set; flags to train on it."""
    flags = {
        "--data": "tiny.npz",
        "--hidden": 8,
        "--latent-dim": 2,
        "--device": "cpu",
        "--epochs": 2,
        "--batch-size": 32,
    }
    np.savez(tmp_path / "tiny.npz", x_train=np.random.default_rng(0).integers(0, 256, (60, 4, 4), np.uint8))
    monkeypatch.chdir(tmp_path)
    return [str(token) for flag in flags.items() for token in flag]


# --- inside an epoch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_epoch_goes_on_where_it_was_left(tmp_path, system):
    make, loss, options = SYSTEMS[system]
    whole = make()
    expected = train(whole, loss=loss(), epochs=3, out=tmp_path / "whole", **options)
    out, breaks = tmp_path / "cut", (1, 2, STEPS + 1, STEPS + 2, 3 * STEPS - 1)
    for number, step in enumerate(breaks):
        cut = at_step(step, loss(), interrupt)
        run = train(make(), loss=cut, epochs=3, out=out, resume=number > 0, checkpoint_minutes=ALWAYS, **options)
        assert run.interrupted
        assert RunFolder(out).read_checkpoint()["last"]["step"] == step, "the epoch was begun again"
    last = make(seed=1)
    run = train(last, loss=loss(), epochs=3, out=out, resume=True, checkpoint_minutes=ALWAYS, **options)
    assert_equal(weights(last), weights(whole))
    assert timeless(run.history) == timeless(expected.history)
    assert_same(RunFolder(out).read_checkpoint(), RunFolder(tmp_path / "whole").read_checkpoint())


def test_checkpoints_come_by_time(tmp_path, monkeypatch):
    now, saved = [0.0], []
    write = RunFolder.write_checkpoint
    monkeypatch.setattr("pyro_vaes.training.signals.time.monotonic", lambda: now[0])
    monkeypatch.setattr(RunFolder, "write_checkpoint", lambda *args: saved.append(now[0]) or write(*args))

    class Slow(ELBO):
        """Each gradient step takes a minute."""

        def objective(self, *args):
            now[0] += 60 * torch.is_grad_enabled()
            return super().objective(*args)

    train(build(), loss=Slow(), epochs=2, batch_size=10, out=tmp_path, checkpoint_minutes=4)
    assert len(DATA.train) == 86
    assert [seconds / 60 for seconds in saved] == [4, 8, 9, 13, 17, 18]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "whose seed is 0, here it is 1: resume it as it was started"),
        ({"loss": SoftFreeBits(target=1.0)}, "whose loss is ELBO, here it is SoftFreeBits"),
        ({"data": type(DATA).from_arrays(x_train=np.zeros((60, 4, 4)))}, "number of training data is 86, here it is"),
    ],
)
def test_an_epoch_of_other_steps_is_refused(tmp_path, changes, words):
    train(build(), loss=at_step(1, ELBO(), interrupt), out=tmp_path, checkpoint_minutes=ALWAYS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=words):
        train(build(), out=tmp_path, resume=True, **changes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_of_no_whole_epoch_are_only_resumed(tmp_path):
    train(build(), loss=at_step(1, ELBO(), interrupt), out=tmp_path, checkpoint_minutes=ALWAYS)
    with pytest.raises(InputError, match="has not finished its first epoch: go on with it"):
        load_weights(build()[0], RunFolder(tmp_path).read_checkpoint(), "model")


def test_spoilt_weights_are_not_saved_inside_an_epoch(tmp_path, monkeypatch):
    step = EagerStep.__call__

    def spoils(self, x):
        sums = step(self, x)
        if self.loss.num_steps == STEPS + 2:
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)
        return sums

    monkeypatch.setattr(EagerStep, "__call__", spoils)
    kept = f"the checkpoint of epoch 2, step 1, in {tmp_path} is kept"
    with pytest.raises(NonFiniteError, match=rf"epoch 2: not finite: decoder.*; {kept}"):
        train(build(), out=tmp_path, checkpoint_minutes=ALWAYS)
    assert RunFolder(tmp_path).read_checkpoint()["last"]["step"] == STEPS + 1


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), "10"])
def test_minutes_are_checked(tmp_path, minutes):
    with pytest.raises(InputError, match="checkpoint_minutes is"):
        train(build(), out=tmp_path / "run", checkpoint_minutes=minutes)
    assert not (tmp_path / "run").exists()


# --- SIGTERM -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS], ids=["inside", "last step", "first step"])
def test_sigterm_saves_and_goes_to_who_handled_it_before(tmp_path, step):
    def handler(*_):
        calls.append(RunFolder(tmp_path).read_checkpoint()["last"]["step"])

    whole, pair, calls = build(), build(), []
    expected = train(whole, epochs=3)
    with on_termination(handler):
        run = train(pair, loss=at_step(step, ELBO(), terminate), epochs=3, out=tmp_path)
        assert signal.getsignal(signal.SIGTERM) is handler
    assert run.interrupted
    assert calls == [step + 1], "the step under way was not finished, or another one was taken"
    run = train(pair, epochs=3, out=tmp_path, resume=True)
    assert not run.interrupted
    assert_equal(weights(pair), weights(whole))
    assert timeless(run.history) == timeless(expected.history)


def test_sigterm_after_the_last_step_leaves_a_whole_run(tmp_path):
    with on_termination(lambda *_: None):
        run = train(build(), loss=at_step(2 * STEPS - 1, ELBO(), terminate), epochs=2, out=tmp_path)
    assert len(run.history) == len(RunFolder(tmp_path).read_checkpoint()["history"]) == 2


def test_sigterm_is_not_touched_off_the_main_thread_or_without_a_folder(tmp_path):
    """There nobody could save: the signal does at once what it did before."""
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look():
        seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(
        target=lambda: train(build(), loss=at_step(1, ELBO(), look), epochs=1, out=tmp_path / "run")
    )
    thread.start()
    thread.join()
    train(build(), loss=at_step(1, ELBO(), look), epochs=1)
    assert seen == [before, before]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("command", "steps"),
    [("train vae --out out", 1), ("compare --guides mean-field --seeds 2 --num-samples 10 --diagnose 0 --out out", 5)],
    ids=["train", "compare"],
)
def test_the_command_line_ends_with_143(tiny, monkeypatch, capsys, command, steps):
    step, taken = EagerStep.__call__, []

    def terminated(self, x):
        sums = step(self, x)
        taken.append(self.loss.num_steps)
        if len(taken) == steps:
            terminate()
        return sums

    monkeypatch.setattr(EagerStep, "__call__", terminated)
    assert status(command, *tiny) == 143
    assert capsys.readouterr().err.endswith("pyro-vaes: terminated; train and compare go on with --resume\n")
    assert len(taken) == steps
    assert status(command, *tiny, "--resume") == 0
    assert len(taken) == (4 if command.startswith("train") else 8), "steps were taken again, or left out"


# --- damaged files -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    train(build(), out=out, epochs=2)
    return {name: (out / name).read_bytes() for name in ("checkpoint.pt", "checkpoint.1.pt")}


def written(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return RunFolder(folder)


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit of a weight": lambda content: flipped(content, content.index(b"FB") + 2000),
    "something else": lambda content: b"no checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path, trained, capsys, damage):
    whole, pair = build(), build(seed=1)
    expected = train(whole, epochs=3)
    written(tmp_path, {**trained, "checkpoint.pt": DAMAGES[damage](trained["checkpoint.pt"])})
    capsys.readouterr()
    run = train(pair, out=tmp_path, epochs=3, resume=True)
    said = capsys.readouterr().err
    assert f"{tmp_path / 'checkpoint.pt'} is damaged" in said
    assert "taking checkpoint.1.pt, the one before it" in said
    assert_equal(weights(pair), weights(whole))
    assert timeless(run.history) == timeless(expected.history)
    for name, epochs in (("checkpoint.pt", 3), ("checkpoint.1.pt", 2)):
        assert len(torch.load(tmp_path / name, weights_only=True)["history"]) == epochs
    assert not capsys.readouterr().err


def test_a_damaged_checkpoint_does_not_push_out_the_whole_one(tmp_path, trained, monkeypatch):
    """A second failure, of the first write after the damage."""
    folder = written(tmp_path, {**trained, "checkpoint.pt": b""})

    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(InputError, match="No space left on device"):
        folder.write_checkpoint(folder.read_checkpoint())
    assert len(folder.read_checkpoint()["history"]) == 1


def test_evaluation_takes_the_checkpoint_before_too(tiny, capsys):
    assert status("train vae --out run", *tiny) == 0
    (Path("run") / "checkpoint.pt").write_bytes(b"")
    capsys.readouterr()
    assert status("evaluate run --num-samples 5 --device cpu") == 0
    assert capsys.readouterr().err == (
        "run/checkpoint.pt is damaged (BadZipFile); taking checkpoint.1.pt, the one before it\n"
    )


def test_two_damaged_checkpoints_are_both_named(tmp_path, trained):
    folder = written(tmp_path, {name: content[:-100] for name, content in trained.items()})
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged .*checkpoint\.1\.pt is damaged .*train this one"):
        folder.read_checkpoint()


def test_every_changed_bit_is_seen_or_without_effect(tmp_path, trained):
    whole = trained["checkpoint.pt"]
    expected = written(tmp_path, {"checkpoint.pt": whole}).read_checkpoint()
    rng, refused = np.random.default_rng(0), 0
    ends = range(len(whole) - 200, len(whole))  # of the archive's table, which a reader starts from
    for position in (*range(200), *rng.integers(0, len(whole), 400), *ends):
        folder = written(tmp_path, {"checkpoint.pt": flipped(whole, position, 1 << rng.integers(8))})
        try:
            assert_same(folder.read_checkpoint(), expected)
        except InputError:
            refused += 1
    assert refused > 400


def test_files_without_links_are_kept_too(tmp_path, trained, monkeypatch):
    """As on a FAT disk."""

    def fails(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fails)
    train(build(), out=tmp_path, epochs=3)
    for name, epochs in (("checkpoint.pt", 3), ("checkpoint.1.pt", 2)):
        assert len(torch.load(tmp_path / name, weights_only=True)["history"]) == epochs


# --- a full disk -------------------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path):
    """A disk of a megabyte."""
    place = tmp_path / "volume"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no volume can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place):
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_leaves_the_checkpoint_before(volume):
    run, whole, pair = volume / "run", build(), build(seed=1)
    train(whole, epochs=3)
    words = (
        r"run/{}.* cannot be written \(No space left on device\); what was saved in .*/run before is whole: make room"
    )
    filling = at_step(STEPS + 1, ELBO(), lambda: fill(volume))
    with pytest.raises(InputError, match=words.format("checkpoint")) as caught:
        train(build(), loss=filling, out=run, epochs=3)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=words.format("config")):
        train(build(), out=run, epochs=3, resume=True)
    assert len(RunFolder(run).read_checkpoint()["history"]) == 1
    assert sorted(path.name for path in run.iterdir()) == FILES
    (volume / "filler").unlink()
    train(pair, out=run, epochs=3, resume=True)
    assert_equal(weights(pair), weights(whole))


# --- kills -------------------------------------------------------------------------------------------------

LONG = {"batch_size": BATCH // 4, "ema": 0.9, "data": BINARY, "checkpoint_minutes": ALWAYS}


def _train_and_tell(out, epochs, resume, saved):
    """In a process of its own; says when it starts and when it has saved."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is one of the system's, which a kill would leave behind
    write = RunFolder.write_checkpoint

    def tells(folder, state):
        write(folder, state)
        saved.send(None)

    RunFolder.write_checkpoint = tells
    saved.send(None)
    loss = SoftFreeBits(target=2.0)
    train(build(), loss=loss, epochs=epochs, out=out, resume=resume, overwrite=not resume, **LONG)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are started and killed as Unix does")
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_a_run_survives_kills_at_any_moment(tmp_path, monkeypatch, kills):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    processes, rng, epochs = multiprocessing.get_context("forkserver"), np.random.default_rng(kills), kills + 2
    processes.set_forkserver_preload(["torch._dynamo", __name__])  # the former is what a first fit waits for
    out, progress = tmp_path / "killed", []
    for _ in range(kills):
        listening, telling = processes.Pipe(duplex=False)
        arguments = (out, epochs, RunFolder(out).resumable, telling)
        process = processes.Process(target=_train_and_tell, args=arguments)
        process.start()
        telling.close()
        for _ in range(1 + rng.integers(4)):
            listening.recv()
        process.join(timeout=rng.uniform(0, 0.01))  # the kill comes somewhere in a step, or in a write
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it ended before it was killed"
        progress.append(RunFolder(out).read_checkpoint()["last"]["step"] if RunFolder(out).resumable else 0)
    assert progress == sorted(progress)
    assert len([path for path in out.iterdir() if path.is_file()]) <= 6, "the kills leave files behind"
    train(build(seed=1), loss=SoftFreeBits(target=2.0), epochs=epochs, out=out, resume=True, **LONG)
    train(
        build(),
        loss=SoftFreeBits(target=2.0),
        epochs=epochs,
        out=tmp_path / "whole",
        **LONG | {"checkpoint_minutes": 9},
    )
    assert_same(RunFolder(out).read_checkpoint(), RunFolder(tmp_path / "whole").read_checkpoint())
    assert not list(out.glob(".*"))
