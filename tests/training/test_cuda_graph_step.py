"""The step as a CUDA graph takes the eager one's steps: on a GPU, and with a stand-in for the recording without one."""

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO, SoftFreeBits, Warmup, default_loss
from pyro_vaes.param_store import restored_param_store
from pyro_vaes.recipes.spec import instantiate
from pyro_vaes.training import cuda_graph_step as graph
from pyro_vaes.training.cuda_graph_step import GraphStep
from pyro_vaes.training.step import CannotCompile, EagerStep
from pyro_vaes.vae import Guide
from tests.helpers.recording import again

SHAPE = (1, 6, 6)
GUIDES = ["mean-field", "full-covariance", "low-rank", "laplace", "inverse-autoregressive-flow", "householder"]
GUIDES += ["mixture(components=2)", "recursive-mixture(components=2)", "boosted-mixture(components=2)"]


def pair(guide="mean-field"):
    torch.manual_seed(0)
    vae = pv.VAE(pv.networks.MLPDecoder(3, SHAPE, (8,)), pv.priors.StandardNormal(3), pv.likelihoods.Gaussian())
    return vae, instantiate("guide", pv.guides, Guide, guide, vae, pv.networks.MLPEncoder(SHAPE, (8,)))


def steps(kind, loss, device="cpu", guide="mean-field", **options):
    """Sums of each step, and the weights after the last; the third batch is a small one."""
    batches = [torch.rand(size, *SHAPE).to(device) for size in (5, 5, 2, 5)]
    step = kind(*(each.to(device) for each in pair(guide)), loss, **{"lr": 1e-2, **options})
    with restored_param_store():
        step.prepare_for(batches[0])
        torch.manual_seed(1)
        sums = torch.stack([step(x) for x in batches])
    return sums, [weight.detach().clone() for weight in step.weights]


def halved(step):
    return 0.5**step


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adamax", "ema": 0.9},
        {"optimizer": "adam(capturable=True)", "ema": 0.9},  # on a GPU it is so without being asked for
        {"optimizer": "adamw(capturable=True)", "lr": 0.125, "lr_schedule": halved, "clip_norm": 0.5},
        {"optimizer": "sgd(momentum=0.9, dampening=0.5)", "lr_schedule": halved, "clip_norm": 0.5},
        {"optimizer": "nadam", "clip_norm": 0.5},
    ],
    ids=["adam", "adamax", "capturable", "scheduled", "sgd", "nadam"],
)
def test_without_a_gpu_all_but_the_recording_is_that_of_eager_steps(monkeypatch, options):
    monkeypatch.setattr(graph, "record", again)
    torch.manual_seed(2)
    expected = steps(EagerStep, ELBO(beta=Warmup(steps=3)), **options)
    torch.manual_seed(2)
    found = steps(GraphStep, ELBO(beta=Warmup(steps=3)), **options)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", ["adam(capturable=True)", "adamax", "nadam"])
def test_a_capture_leaves_a_resumed_optimizer_as_it_was(monkeypatch, optimizer):
    monkeypatch.setattr(graph, "record", again)
    step = GraphStep(*pair(), ELBO(), 1e-2, optimizer)
    with restored_param_store():
        step(torch.rand(5, *SHAPE))
        before = [value.clone() for state in step.optimizer.state.values() for value in state.values()]
        step.prepare_for(torch.rand(5, *SHAPE))
    after = [value for state in step.optimizer.state.values() for value in state.values()]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_a_capture_leaves_running_averages_as_they_were(monkeypatch):
    monkeypatch.setattr(graph, "record", again)
    vae, guide = pair()
    pv.networks.batch_normalize(vae.decoder)
    before = [value.clone() for value in vae.buffers()]
    with restored_param_store():
        GraphStep(vae, guide, ELBO(), 1e-2).prepare_for(torch.rand(5, *SHAPE))
    torch.testing.assert_close([*vae.buffers()], before, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", ["adam(capturable=True)", "adamax"])
def test_moments_that_start_again_are_recorded_anew(monkeypatch, optimizer):
    recorded = []
    monkeypatch.setattr(graph, "record", lambda *work: recorded.append(1) or again(*work))
    x, found = torch.rand(5, *SHAPE), []
    for kind in (EagerStep, GraphStep):
        step = kind(*pair(), ELBO(), 1e-2, optimizer)
        with restored_param_store():
            step.prepare_for(x)
            torch.manual_seed(1)
            for number in range(6):
                if number == 3:
                    step.restart(step.weights[:2])
                step(x)
        found.append([step.weights, [list(each.values()) for each in step.optimizer.state.values()][2:]])
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert len(recorded) == (3 if "capturable" in optimizer else 2)


def test_without_a_gpu_there_is_no_graph():
    with pytest.raises(CannotCompile, match="need a GPU"):
        GraphStep(*pair(), ELBO(), lr=1e-2).prepare_for(torch.rand(5, *SHAPE))
    with pytest.raises(CannotCompile, match="a state of its own"):
        GraphStep(*pair(), SoftFreeBits(target=1.0), lr=1e-2).prepare_for(torch.rand(5, *SHAPE))


def test_fit_says_so():
    data = pv.data.Data.from_arrays(x_train=torch.rand(20, *SHAPE))
    with pytest.raises(InputError, match=r"cannot be a CUDA graph: CUDA graphs need a GPU. Take step='eager'"):
        pv.fit(*pair(), data, epochs=1, step="graph", device="cpu", progress=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("guide", GUIDES)
def test_on_a_gpu_it_takes_the_steps_of_eager_ones(guide):
    found = []
    for kind in (EagerStep, GraphStep):
        torch.manual_seed(2)
        loss = default_loss(pair(guide)[1])
        found.append(steps(kind, loss, "cuda", guide))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
