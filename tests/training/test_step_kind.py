"""Which step ``auto`` takes, and what a run says of it."""

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.losses import ProgressiveELBO, SoftFreeBits
from pyro_vaes.training import step_kind as choice
from pyro_vaes.training.step_kind import REPAYS, choose_step

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "steps", "chosen"),
    [
        ("auto", CPU, REPAYS - 1, "eager"),
        ("auto", CPU, REPAYS, "compiled"),
        ("auto", GPU, 1, "graph"),
        ("eager", GPU, REPAYS, "eager"),
        ("compiled", CPU, 1, "compiled"),
    ],
)
def test_it_follows_from_device_and_number_of_steps(asked, device, steps, chosen):
    assert choose_step(asked, device, steps)[0] == chosen


def small():
    vae = pv.VAE(pv.networks.MLPDecoder(3, (4,), (8,)), pv.priors.StandardNormal(3), pv.likelihoods.Gaussian())
    return vae, pv.guides.MeanField(vae, pv.networks.MLPEncoder((4,), (8,)))


def test_a_run_says_which_and_why(capsys):
    data = pv.data.Data.from_arrays(x_train=torch.rand(20, 4))
    run = pv.fit(*small(), data, epochs=2, device="cpu")
    assert run.step == "eager: 2 steps would not repay a compilation"
    assert f"step: {run.step}\n" in capsys.readouterr().err


@pytest.mark.parametrize("loss", [SoftFreeBits(target=1.0), ProgressiveELBO(steps=3)])
def test_what_cannot_be_recorded_goes_on_eagerly(monkeypatch, loss):
    monkeypatch.setattr(choice, "REPAYS", 1)
    data, pair = pv.data.Data.from_arrays(x_train=torch.rand(20, 4)), small()
    if isinstance(loss, ProgressiveELBO):
        pair[0].decoder.presence = torch.ones(1)
    run = pv.fit(*pair, data, loss, epochs=1, device="cpu", progress=False)
    name = type(loss).__name__
    assert run.step == f"eager, as it cannot be compiled: {name} keeps a state of its own from step to step"
    assert len(run.history) == 1
