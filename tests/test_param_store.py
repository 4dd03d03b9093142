"""Pyro's parameter store, with and without registration, and read from a file."""

import collections
import copy
import itertools
import subprocess
import sys
import weakref

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import nn

import pyro_vaes as pv
from pyro_vaes import param_store
from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.param_store import register_params, without_registration
from pyro_vaes.priors import StandardNormal
from pyro_vaes.testing import pair
from tests.helpers import ROOT

X = torch.linspace(-1, 1, 80).reshape(20, 4) ** 3


def small(hidden=8):
    vae = pv.VAE(MLPDecoder(2, (4,), hidden=(hidden,)), StandardNormal(2), Gaussian())
    return vae, MeanField(vae, MLPEncoder((4,), hidden=(hidden,)))


def train(made, steps=1, x=X):
    svi = SVI(*made, Adam({"lr": 1e-2}), Trace_ELBO())
    return [svi.step(x) for _ in range(steps)]


def figure(made):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return pv.evaluate.log_likelihood(*made, X, 50).mean


def new_process(monkeypatch, path):
    """Let the store be that of a file, in a process that has registered nothing."""
    pyro.clear_param_store()
    pyro.get_param_store().load(path)
    monkeypatch.setattr(param_store, "_names", weakref.WeakKeyDictionary())
    monkeypatch.setattr(param_store, "_counters", collections.defaultdict(itertools.count))
    monkeypatch.setattr(param_store, "_first_weights", {})


@pytest.mark.filterwarnings("error")
def test_the_guide_of_a_frozen_model_is_trained_without_a_warning():
    vae, guide = small()
    vae.requires_grad_(False)
    frozen, before = copy.deepcopy(vae.state_dict()), copy.deepcopy(guide.state_dict())
    train((vae, guide))
    assert all(torch.equal(value, frozen[key]) for key, value in vae.state_dict().items())
    assert not any(torch.equal(value, before[key]) for key, value in guide.state_dict().items())
    assert {name.partition("-")[0] for name in pyro.get_param_store()} == {"MeanField"}


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A store's file of a pair trained by stock SVI, and the pair's log-likelihood."""
    path = str(tmp_path / "store.pt")
    new_process(monkeypatch, _empty(path))
    made = small()
    train(made, 200)
    pyro.get_param_store().save(path)
    return path, figure(made)


def _empty(path):
    pyro.clear_param_store()
    pyro.get_param_store().save(path)
    return path


SAVING = """
import sys, pyro
from tests.test_param_store import *
made = small()
train(made, 200)
pyro.get_param_store().save(sys.argv[1])
print(figure(made))
"""


@pytest.mark.slow
def test_a_store_of_another_process_comes_back_and_goes_on_learning(tmp_path, monkeypatch):
    path = str(tmp_path / "store.pt")
    options = {"capture_output": True, "text": True, "cwd": ROOT, "check": True}
    saved = float(subprocess.run([sys.executable, "-c", SAVING, path], **options).stdout)
    new_process(monkeypatch, path)
    made = small()
    made[0](X)
    assert figure(made) == pytest.approx(saved, abs=1e-5)
    train(made, 200)
    assert figure(made) > saved + 0.1


#: What first needs the values.
FIRST_USE = {
    "evaluation": lambda made: None,
    "guide": lambda made: made[1](X),
    "model": lambda made: made[0](X),
    "training": lambda made: SVI(*made, Adam({"lr": 0.0}), Trace_ELBO()).step(X),
}


@pytest.mark.parametrize("use", FIRST_USE)
def test_whoever_needs_loaded_values_first(trained, monkeypatch, use):
    path, expected = trained
    new_process(monkeypatch, path)
    made = small()
    FIRST_USE[use](made)
    assert figure(made) == pytest.approx(expected, abs=1e-5)
    train(made, 200)
    assert figure(made) > expected + 0.1


def test_loaded_over_a_pair_that_was_called(trained, monkeypatch):
    path, expected = trained
    new_process(monkeypatch, path)
    pyro.clear_param_store()
    made = small()
    train(made)
    pyro.get_param_store().load(path)
    assert figure(made) == pytest.approx(expected, abs=1e-5)


def test_fit_and_save_start_from_loaded_values(trained, monkeypatch, tmp_path):
    path, expected = trained
    new_process(monkeypatch, path)
    made, other = small(), small()
    pv.save(tmp_path / "pair.safetensors", *made)
    assert figure(pv.load(tmp_path / "pair.safetensors", *other)) == pytest.approx(expected, abs=1e-5)
    new_process(monkeypatch, path)
    vae, guide = small()
    data = pv.data.Data.from_arrays(x_train=X.abs().numpy())
    pv.fit(vae, guide, data, epochs=1, lr=1e-12, device="cpu", progress=False)
    weight = guide.encoder[1].weight
    loaded = pyro.get_param_store()["MeanField-0$$$encoder.1.weight"]
    assert weight is loaded
    torch.testing.assert_close(weight, torch.load(path, weights_only=False)["params"]["MeanField-0$$$encoder.1.weight"])


@pytest.mark.parametrize(
    ("pairs", "hidden", "use"),
    [(2, 8, lambda made: made[0](X)), (2, 8, figure), (2, 8, train), (1, 9, lambda made: made[0](X)), (1, 9, figure)],
    ids=["two pairs", "two pairs evaluated", "two pairs trained", "other shapes", "other shapes evaluated"],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path, monkeypatch, pairs, hidden, use):
    path = str(tmp_path / "store.pt")
    for made in [small() for _ in range(pairs)]:
        train(made)
    pyro.get_param_store().save(path)
    new_process(monkeypatch, path)
    with pytest.raises(InputError, match=r"holds loaded values of .*pv\.save\(path, model, guide\)"):
        use(small(hidden))


@pytest.mark.parametrize("cleared", [False, True])
def test_a_state_of_the_same_process_comes_back(cleared):
    made, x, store = small(), torch.randn(6, 4), pyro.get_param_store()
    train(made, x=x)
    state = copy.deepcopy(store.get_state())
    weight = made[0].decoder[0].weight
    trained = weight.detach().clone()
    train(made, x=x)
    if cleared:
        pyro.clear_param_store()
    store.set_state(state)
    made[1](x), made[0](x)
    assert torch.equal(weight, trained)
    train(made, x=x)
    assert not torch.equal(weight, trained)


def test_running_statistics_are_in_no_store():
    vae, _ = small()
    guide = MeanField(vae, nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)))
    guide.encoder.out_features = 8
    x, store = torch.randn(6, 4), pyro.get_param_store()
    train((vae, guide), x=x)
    state = copy.deepcopy(store.get_state())
    pyro.clear_param_store()
    store.set_state(state)
    with pytest.raises(InputError, match="a store knows neither instances nor buffers"):
        guide(x)


def test_weights_that_were_replaced_are_trained_in_place_of_the_old_ones():
    made, x = small(), torch.randn(6, 4)
    train(made, x=x)
    other = {name: torch.randn_like(value) for name, value in made[0].state_dict().items() if value.dim()}
    made[0].load_state_dict(made[0].state_dict() | other, assign=True)
    before = made[0].decoder[0].weight.detach().clone()
    made[0](x)
    assert torch.equal(made[0].decoder[0].weight, before)
    train(made, x=x)
    assert not torch.equal(made[0].decoder[0].weight, before)


def test_pairs_in_turn_never_share_an_entry():
    for _ in range(3):
        made = small()
        train(made)
        del made
    names = {name.partition("$$$")[0] for name in pyro.get_param_store()}
    assert len([name for name in names if name.startswith("VAE-")]) == 3
    frozen = small()[0].requires_grad_(False)
    register_params(frozen.eval())
    assert len(list(pyro.get_param_store())) == 3 * len([*small()[0].parameters(), *small()[1].parameters()])


def test_without_registration_leaves_the_store_empty():
    vae, guide, x, _ = pair()
    with without_registration():
        with without_registration():
            guide(x)
        vae(x)
        Trace_ELBO().loss(vae, guide, x)
    assert not list(pyro.get_param_store())
    guide(x)
    assert len(list(pyro.get_param_store())) == len(list(guide.parameters()))
