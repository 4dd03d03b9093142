"""Training by several processes: the same step as one process, one writer, and one run to resume."""

import signal
from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes.cli.app import main
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.losses import ELBO, FreeBits, MutualPosteriorDivergence, SoftFreeBits
from pyro_vaes.networks import MLPEncoder
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training import Callback
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.distributed import ProcessGroup, process_group
from pyro_vaes.training.step import EagerStep
from pyro_vaes.training.validate import check_shards
from tests.helpers.labeled import Shifted, values
from tests.helpers.processes import BATCH, STEPS, train_with_event
from tests.helpers.training import BINARY, FILES, SHAPE, assert_equal, at_step, build, pixels, timeless, train, weights

NOISELESS = Data.from_arrays(x_train=pixels() / 255, x_test=pixels(20) / 255)


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


def differentiated(kind, rank, folder):
    """Gradients and sums of batches of 7 and of 1 in float64, cut over the processes that there are."""
    pair, found = [each.double() for each in still()], []
    step = kind(*pair, ELBO(), lr=1e-3)
    with process_group() as group:
        step.group = group
        for size in (7, 1):
            x = group.shard(NOISELESS.train.pixels[:size].double())
            if size > 1:
                step.prepare_for(x)
            sums = group.all_reduce_gradients(step.weights, step.differentiate(x))
            found.append([sums, *(weight.grad.clone() for weight in step.weights)])
    return found


@pytest.mark.parametrize("kind", [EagerStep, pytest.param(CompiledStep, marks=pytest.mark.slow)])
def test_gradients_and_sums_are_those_of_one_process(run_in_processes, kind):
    expected = differentiated(EagerStep, 0, None)
    for found in run_in_processes(partial(differentiated, kind)):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def trained(rank, folder):
    """Records of more than 50 steps, from other weights on each process than on the first, and what was written."""
    pair, records, written, take, write = still(seed=rank), [], [], EagerStep.__call__, RunFolder.write_checkpoint
    EagerStep.__call__ = lambda step, x: records.append(take(step, x)) or records[-1]
    RunFolder.write_checkpoint = lambda *args: written.append(1) or write(*args)
    run = train_still(pair, epochs=9, out=folder / "run")
    return records, run, weights(pair), len(written)


def test_a_training_is_that_of_one_process(run_in_processes, tmp_path):
    expected, records, take = still(), [], EagerStep.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EagerStep, "__call__", lambda step, x: records.append(take(step, x)) or records[-1])
        alone = train_still(expected, epochs=9)
    (first, run, found, writes), (second, other_run, others, other_writes) = run_in_processes(trained)
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


LABELED = values(torch.from_numpy(pixels()).unsqueeze(1) / 255, torch.arange(95) % 3)


def labeled(rank, folder):
    pair = tuple(map(Shifted, still(seed=rank)))
    return timeless(train(pair, LABELED, epochs=2, lr=1e-3).history), weights(pair)


def test_labels_go_with_their_rows_to_each_process(run_in_processes):
    history, expected = labeled(0, None)
    (first, found), (second, others) = run_in_processes(labeled)
    assert first == second
    assert_equal(found, others)
    for row, other in zip(first, history, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


SHAPED = {"optimizer": "adamw(weight_decay=0.1)", "schedule": "cosine(warmup=10)", "clip_norm": 0.5, "patience": 2}


def shaped(rank, folder):
    pair = still(seed=rank)
    return timeless(train_still(pair, epochs=6, lr=0.05, out=folder / "run", **SHAPED).history), weights(pair)


def test_clipping_schedule_and_patience_are_those_of_one_process(run_in_processes):
    expected, unclipped = still(), still()
    history = timeless(train_still(expected, epochs=6, lr=0.05, **SHAPED).history)
    train_still(unclipped, epochs=6, lr=0.05, **{**SHAPED, "clip_norm": None})
    (first, found), (second, others) = run_in_processes(shaped)
    assert first == second
    assert_equal(found, others)
    assert len(first) == len(history)
    for row, other in zip(first, history, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    torch.testing.assert_close(found, weights(expected), rtol=1e-3, atol=1e-4)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(weights(unclipped), weights(expected), rtol=1e-3, atol=1e-4)


def noise(rank, folder):
    """The first pixels and the next draws of a training on one gray, binarized anew each time."""
    gray = Data.from_arrays(x_train=np.full((90, 4, 4), 128, np.uint8), x_test=pixels(20), binarize="dynamic")
    loss, seen = ELBO(), []

    def look():
        with torch.random.fork_rng():
            seen.append(torch.rand(3))

    objective = at_step(1, loss, look).objective
    loss.objective = lambda model, guide, x: seen.append(x) or objective(model, guide, x)
    train(build(), gray, loss=loss, epochs=1)
    return seen[1], next(each for each in seen if each.shape == (3,))


def test_the_noise_of_each_process_is_its_own(run_in_processes):
    (pixels_of_first, draws), (others_pixels, others_draws) = run_in_processes(noise)
    assert pixels_of_first.shape == others_pixels.shape
    assert not torch.equal(pixels_of_first, others_pixels)
    assert not torch.equal(draws, others_draws)


def test_the_middle_of_an_epoch_goes_on_with_as_many_processes(run_in_processes, tmp_path):
    expected = run_in_processes(partial(train_with_event, None, 0, 2))
    (tmp_path / "run").rename(tmp_path / "whole")
    run_in_processes(partial(train_with_event, partial(signal.raise_signal, signal.SIGTERM), STEPS + 1, 2))
    with pytest.raises(InputError, match="number of processes is 2, here it is 1"):
        train(build(), BINARY, batch_size=BATCH, epochs=2, out=tmp_path / "run", resume=True)
    found = run_in_processes(partial(train_with_event, None, 0, 2, resume=True))
    for one, other in zip(found, expected, strict=True):
        assert one[:3] == other[:3]
        assert_equal(one[3], other[3])


def resumed(rank, folder):
    train_still(still(seed=1), epochs=3, out=folder / "run", resume=True)


def test_the_end_of_an_epoch_goes_on_with_any_number(run_in_processes, tmp_path):
    expected = still()
    train_still(still(), epochs=1, out=tmp_path / "run")
    assert run_in_processes(resumed) == [None, None]
    train_still(expected, epochs=3)
    found = RunFolder(tmp_path / "run").read_checkpoint()["model"]
    torch.testing.assert_close(dict(found), dict(expected[0].state_dict()), rtol=1e-4, atol=1e-5)


def stopped_by_the_second(rank, folder):
    class Stopping(Callback):
        def on_step(self, state, epoch):
            state.stop = not state.group.first

    run = train_still(still(), epochs=3, out=folder / "run", callbacks=[Stopping()])
    return len(run.history), run.interrupted


def test_a_callback_of_one_stops_all(run_in_processes):
    assert run_in_processes(stopped_by_the_second) == [(1, False), (1, False)]


def test_other_commands_refuse_several_processes(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as end:
        main(["list", "recipes"])
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
