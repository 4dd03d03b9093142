"""A run survives kills at any moment."""

import multiprocessing
import signal
import sys
import threading

import numpy as np
import pytest
import torch
from tqdm.auto import tqdm

from pyro_vaes.losses import SoftFreeBits
from pyro_vaes.runs.folder import RunFolder
from tests.helpers import ROOT
from tests.helpers.training import ALWAYS, BATCH, BINARY, assert_same, build, train

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
