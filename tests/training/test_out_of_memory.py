"""Memory that does not suffice: the batch size that fits is named, and the last checkpoint kept."""

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.out_of_memory import suggest_batch_size
from tests.helpers.training import BATCH, STEPS, build, train


class Large(ELBO):
    """An ELBO whose gradients a GPU holds for so many data."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def objective(self, model, guide, x, *args):
        if torch.is_grad_enabled() and len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore on that.")
        return super().objective(model, guide, x, *args)


@pytest.mark.parametrize(
    ("most", "words"), [(20, "batch_size 16 fits"), (31, "batch_size 16 fits"), (0, "No batch_size")]
)
def test_the_batch_size_that_fits_is_named(tmp_path, most, words):
    pair = build()
    with pytest.raises(InputError, match=rf"batch_size {BATCH} takes more .*2\.00 GiB\.\); no epoch .*\. {words}"):
        train(pair, loss=Large(most), out=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_memory_that_ends_in_the_second_epoch_leaves_the_first(tmp_path):
    loss = Large(10**9)
    objective = loss.objective

    def shrinking(*args):
        loss.most = 8 if loss.num_steps == STEPS + 1 else 10**9
        return objective(*args)

    loss.objective = shrinking
    pair = build()
    with pytest.raises(InputError, match=rf"checkpoint of epoch 1 in {tmp_path} is kept\. batch_size 8 fits"):
        train(pair, loss=loss, out=tmp_path)
    assert len(RunFolder(tmp_path).read_checkpoint()["history"]) == 1
    assert all(weight.grad is None for module in pair for weight in module.parameters())


def test_other_errors_pass():
    def work(x):
        raise RuntimeError("shapes differ")

    x = torch.zeros(4)
    with pytest.raises(RuntimeError, match="shapes differ"), suggest_batch_size([x], 4, "", work):
        work(x)
