"""Training by several processes: the same step as one process, one writer, and an end together."""

import contextlib
import io
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes.cli.app import main
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError, NonFiniteError
from pyro_vaes.guides import MeanField
from pyro_vaes.losses import ELBO, FreeBits, MutualPosteriorDivergence, SoftFreeBits
from pyro_vaes.networks import MLPEncoder
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.distributed import POLL_EVERY, ProcessGroup, ProcessLost, process_group
from pyro_vaes.training.signals import on_termination
from pyro_vaes.training.step import EagerStep
from pyro_vaes.training.validate import check_shards
from tests.helpers import ROOT
from tests.helpers.training import BINARY, FILES, SHAPE, assert_equal, at_step, build, pixels, timeless, train, weights

SIZE, DEADLINE = 2, 300
NOISELESS = Data.from_arrays(x_train=pixels() / 255, x_test=pixels(20) / 255)
BATCH, STEPS = 17, 6  # 86 = 5 * 17 + 1: of an epoch's last batch only one process has a part


class Fixed(dist.Normal):
    """A normal whose draw is its mean."""

    def rsample(self, sample_shape=()):
        return self.loc.expand(self._extended_shape(torch.Size(sample_shape)))


class Still(MeanField):
    """A guide without noise."""

    def posterior(self, x):
        q = super().posterior(x).base_dist
        return Fixed(q.loc, q.scale).to_event(1)


def still(seed=0):
    vae, _ = build(seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return vae, Still(vae, MLPEncoder(SHAPE, hidden=(16,)))


def train_still(pair, **options):
    return train(pair, NOISELESS, **{"batch_size": BATCH, "lr": 1e-3, **options})


def told(work, rank, port, folder, telling):
    """Run a piece of work as torchrun would, and tell what it gave or raised."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(SIZE), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    try:
        result = work(rank, folder)
    except Exception as error:
        result = error
    telling.send_bytes(pickle.dumps(result))  # a pipe would take tensors for shared memory that ends with the process


@pytest.fixture
def together(tmp_path, monkeypatch):
    """What a function of rank and folder gives in each of two processes, None where it was killed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch._dynamo", "sklearn.datasets", "pyro_vaes.recipes", __name__])

    def run(work):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        results, started = [], []
        for rank in range(SIZE):
            listening, telling = processes.Pipe(duplex=False)
            started.append((processes.Process(target=told, args=(work, rank, port, tmp_path, telling)), listening))
            started[-1][0].start()
            telling.close()
        for process, listening in started:
            try:
                assert listening.poll(DEADLINE), "the processes wait for each other"
                results.append(pickle.loads(listening.recv_bytes()))
            except EOFError:
                results.append(None)
            finally:
                process.join(5)
                process.kill()
        return results

    return run


# --- one step ----------------------------------------------------------------------------------------------


def differentiated(kind, rank, folder):
    """Gradients and sums of batches of 7 and of 1 in float64, cut over the processes that there are."""
    pair, found = [each.double() for each in still()], []
    step = kind(*pair, ELBO(), lr=1e-3)
    with process_group() as group:
        step.group = group
        for size in (7, 1):
            x = group.shard(NOISELESS.train.pixels[:size].double())
            if size > 1:
                step.capture(x)
            sums = group.all_reduce_gradients(step.weights, step.differentiate(x))
            found.append([sums, *(weight.grad.clone() for weight in step.weights)])
    return found


@pytest.mark.parametrize("kind", [EagerStep, pytest.param(CompiledStep, marks=pytest.mark.slow)])
def test_gradients_and_sums_are_those_of_one_process(together, kind):
    expected = differentiated(EagerStep, 0, None)
    for found in together(partial(differentiated, kind)):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def trained(rank, folder):
    """Records of more than 50 steps, from other weights on each process than on the first, and what was written."""
    pair, records, written, take, write = still(seed=rank), [], [], EagerStep.__call__, RunFolder.write_checkpoint
    EagerStep.__call__ = lambda step, x: records.append(take(step, x)) or records[-1]
    RunFolder.write_checkpoint = lambda *args: written.append(1) or write(*args)
    run = train_still(pair, epochs=9, out=folder / "run")
    return records, run, weights(pair), len(written)


def test_a_training_is_that_of_one_process(together, tmp_path):
    expected, records, take = still(), [], EagerStep.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EagerStep, "__call__", lambda step, x: records.append(take(step, x)) or records[-1])
        alone = train_still(expected, epochs=9)
    (first, run, found, writes), (second, other_run, others, other_writes) = together(trained)
    assert len(first) == 9 * STEPS > 50
    torch.testing.assert_close(torch.stack(first), torch.stack(records), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    for row, other in zip(timeless(run.history), timeless(alone.history), strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    assert run.best_epoch == other_run.best_epoch == alone.best_epoch
    assert_equal(found, others)
    torch.testing.assert_close(found, weights(expected), rtol=1e-4, atol=1e-5)
    assert (writes, other_writes) == (9, 0)
    assert set(FILES) <= {path.name for path in (tmp_path / "run").iterdir()}


def noise(rank, folder):
    """The first pixels and the next draws of a training on one grey, binarised anew each time."""
    grey = Data.from_arrays(x_train=np.full((90, 4, 4), 128, np.uint8), x_test=pixels(20), binarize="dynamic")
    loss, seen = ELBO(), []

    def look():
        with torch.random.fork_rng():
            seen.append(torch.rand(3))

    objective = at_step(1, loss, look).objective
    loss.objective = lambda model, guide, x: seen.append(x) or objective(model, guide, x)
    train(build(), grey, loss=loss, epochs=1)
    return seen[1], next(each for each in seen if each.shape == (3,))


def test_the_noise_of_each_process_is_its_own(together):
    (pixels_of_first, draws), (others_pixels, others_draws) = together(noise)
    assert pixels_of_first.shape == others_pixels.shape
    assert not torch.equal(pixels_of_first, others_pixels)
    assert not torch.equal(draws, others_draws)


# --- ends --------------------------------------------------------------------------------------------------


def ended(how, at, epochs, rank, folder, resume=False):
    """A training at one step of which something happens to the second process."""
    pair = build()
    loss = at_step(at, ELBO(), how) if rank and how else ELBO()
    with on_termination(lambda *_: None):
        run = train(pair, BINARY, loss=loss, batch_size=BATCH, epochs=epochs, out=folder / "run", resume=resume)
    return run.interrupted, loss.num_steps, timeless(run.history), weights(pair)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_process_ends_the_run_and_leaves_a_checkpoint(together, tmp_path):
    lost, killed = together(partial(ended, die, STEPS + 2, 3))
    assert killed is None
    assert isinstance(lost, ProcessLost)
    assert "--resume" in str(lost)
    assert len(RunFolder(tmp_path / "run").read_checkpoint()["history"]) == 1
    run = train(build(), BINARY, batch_size=BATCH, epochs=2, out=tmp_path / "run", resume=True)
    assert len(run.history) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_stops_all_at_the_same_step(together, tmp_path, number):
    assert STEPS < POLL_EVERY < 2 * STEPS, "the test says nothing"
    (stopped, steps, *_), (others_stopped, others_steps, *_) = together(
        partial(ended, partial(signal.raise_signal, number), STEPS + 1, 3)
    )
    assert stopped
    assert others_stopped
    assert steps == others_steps == POLL_EVERY
    state = RunFolder(tmp_path / "run").read_checkpoint()
    assert (state["unfinished"] is not None) == (number == signal.SIGTERM)
    assert len(state["history"]) == 1


def test_the_middle_of_an_epoch_goes_on_with_as_many_processes(together, tmp_path):
    expected = together(partial(ended, None, 0, 2))
    (tmp_path / "run").rename(tmp_path / "whole")
    together(partial(ended, partial(signal.raise_signal, signal.SIGTERM), STEPS + 1, 2))
    with pytest.raises(InputError, match="number of processes is 2, here it is 1"):
        train(build(), BINARY, batch_size=BATCH, epochs=2, out=tmp_path / "run", resume=True)
    found = together(partial(ended, None, 0, 2, resume=True))
    for one, other in zip(found, expected, strict=True):
        assert one[:3] == other[:3]
        assert_equal(one[3], other[3])


def resumed(rank, folder):
    train_still(still(seed=1), epochs=3, out=folder / "run", resume=True)


def test_the_end_of_an_epoch_goes_on_with_any_number(together, tmp_path):
    expected = still()
    train_still(still(), epochs=1, out=tmp_path / "run")
    assert together(resumed) == [None, None]
    train_still(expected, epochs=3)
    found = RunFolder(tmp_path / "run").read_checkpoint()["model"]
    torch.testing.assert_close(dict(found), dict(expected[0].state_dict()), rtol=1e-4, atol=1e-5)


def spoilt(rank, folder):
    class Spoilt(ELBO):
        def objective(self, *args):
            objective, terms = super().objective(*args)
            return objective * (torch.nan if rank and self.num_steps == 2 else 1), terms

    train(build(), loss=Spoilt())


def test_what_is_not_finite_on_one_is_an_error_of_all(together):
    first, second = together(spoilt)
    assert isinstance(first, NonFiniteError)
    assert isinstance(second, NonFiniteError)
    assert str(first) == str(second)


# --- errors ------------------------------------------------------------------------------------------------


def agreed(rank, folder):
    with process_group() as group:
        with group.raise_together():
            pass
        with group.raise_together():
            if rank:
                raise InputError("no such file")


def test_an_error_of_one_is_told_to_all(together):
    first, second = together(agreed)
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


def test_the_command_line_says_once_that_the_folder_is_taken(together, tmp_path):
    (tmp_path / "mine").write_text("not a folder")
    first, second = together(partial(commanded, ["--out", str(tmp_path / "mine")]))
    assert (first[0], second[0]) == (2, 2)
    assert "is a file, but a run needs a folder" in first[2]
    assert second[1:] == ("", "")


def test_other_commands_refuse_several_processes(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as end:
        main(["recipes"])
    assert end.value.code == 2
    assert "without torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(
    "loss", [FreeBits(total=1.0), SoftFreeBits(target=1.0), MutualPosteriorDivergence()], ids=lambda x: type(x).__name__
)
def test_objectives_of_whole_batches_are_refused(loss):
    check_shards(1, loss)
    with pytest.raises(InputError, match=f"{type(loss).__name__} takes a batch as a whole"):
        check_shards(2, loss)


def test_batch_norm_is_refused():
    with pytest.raises(InputError, match="BatchNorm1d takes a batch as a whole"):
        check_shards(2, ELBO(), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def test_one_process_is_left_as_it_was():
    rows, sums, group = torch.arange(5), torch.ones(2), ProcessGroup()
    assert group.shard(rows).data_ptr() == rows.data_ptr()
    assert group.all_reduce_gradients([], sums) is group.all_reduce_sum(sums) is sums


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
