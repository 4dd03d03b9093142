"""Training by several processes ends together, whatever happens to one of them."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from functools import partial

import pytest
import torch

from pyro_vaes.cli.app import main
from pyro_vaes.errors import InputError, NonFiniteError
from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.distributed import POLL_EVERY, ProcessLost, process_group
from tests.helpers.processes import BATCH, DEADLINE, SIZE, STEPS, train_with_event
from tests.helpers.training import BINARY, build, train


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_process_ends_the_run_and_leaves_a_checkpoint(run_in_processes, tmp_path):
    lost, killed = run_in_processes(partial(train_with_event, die, STEPS + 2, 3))
    assert killed is None
    assert isinstance(lost, ProcessLost)
    assert "--resume" in str(lost)
    assert len(RunFolder(tmp_path / "run").read_checkpoint()["history"]) == 1
    run = train(build(), BINARY, batch_size=BATCH, epochs=2, out=tmp_path / "run", resume=True)
    assert len(run.history) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_stops_all_at_the_same_step(run_in_processes, tmp_path, number):
    assert STEPS < POLL_EVERY < 2 * STEPS, "the test says nothing"
    (stopped, steps, *_), (others_stopped, others_steps, *_) = run_in_processes(
        partial(train_with_event, partial(signal.raise_signal, number), STEPS + 1, 3)
    )
    assert stopped
    assert others_stopped
    assert steps == others_steps == POLL_EVERY
    state = RunFolder(tmp_path / "run").read_checkpoint()
    assert (state["unfinished"] is not None) == (number == signal.SIGTERM)
    assert len(state["history"]) == 1


def spoilt(rank, folder):
    class Spoilt(ELBO):
        def objective(self, *args):
            objective, terms = super().objective(*args)
            return objective * (torch.nan if rank and self.num_steps == 2 else 1), terms

    train(build(), loss=Spoilt())


def test_what_is_not_finite_on_one_is_an_error_of_all(run_in_processes):
    first, second = run_in_processes(spoilt)
    assert isinstance(first, NonFiniteError)
    assert isinstance(second, NonFiniteError)
    assert str(first) == str(second)


def agreed(rank, folder):
    with process_group() as group:
        with group.raise_together():
            pass
        with group.raise_together():
            if rank:
                raise InputError("no such file")


def test_an_error_of_one_is_told_to_all(run_in_processes):
    first, second = run_in_processes(agreed)
    assert isinstance(first, InputError)
    assert (str(first), str(second)) == ("process 1: no such file", "no such file")


def commanded(flags, rank, folder):
    out, err = io.StringIO(), io.StringIO()
    command = ["train", "vae", "--data", "digits", "--hidden", "16", "--epochs", "1", "--device", "cpu", *flags]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        try:
            main(command)
        except SystemExit as end:
            return end.code, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_the_command_line_says_once_that_the_folder_is_taken(run_in_processes, tmp_path):
    (tmp_path / "mine").write_text("not a folder")
    first, second = run_in_processes(partial(commanded, ["--out", str(tmp_path / "mine")]))
    assert (first[0], second[0]) == (2, 2)
    assert "is a file, but a run needs a folder" in first[2]
    assert second[1:] == ("", "")


@pytest.mark.slow
def test_torchrun(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={SIZE}"]
    command += ["-m", "pyro_vaes", "train", "vae", "--data", "digits", "--hidden", "16", "--epochs", "1"]
    command += ["--device", "cpu", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE)
    assert done.stdout.count("best validation ELBO") == 1
    failed = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert failed.returncode != 0
    assert failed.stderr.count("pyro-vaes: ") == 1
