"""Run folders of systems that were built by hand."""

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.reports.diagnosis import NamedPair

DATA = pv.data.Data.from_arrays(x_train=torch.rand(60, 4, 4), x_test=torch.rand(12, 4, 4))


def by_hand(seed=0):
    torch.manual_seed(seed)
    decoder = pv.networks.MLPDecoder(2, DATA.event_shape, hidden=(8,))
    vae = pv.VAE(decoder, pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
    return vae, pv.guides.MeanField(vae, pv.networks.MLPEncoder(DATA.event_shape, hidden=(8,)))


@pytest.fixture
def folder(tmp_path):
    pv.fit(*by_hand(), DATA, epochs=2, progress=False, out=tmp_path / "run")
    return tmp_path / "run"


def test_a_system_built_by_hand_is_found_again_and_diagnosed(folder, tmp_path):
    trained, again = by_hand(), by_hand(seed=1)
    pv.fit(*trained, DATA, epochs=2, progress=False)
    loaded = pv.load_run(folder, *again, DATA, device="cpu")
    assert loaded.data is DATA
    assert loaded.note == ""
    assert [row["epoch"] for row in loaded.history] == [1, 2]
    for module, other in zip(trained, loaded.system[:2], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    small = {"images": 3, "num_samples": 20, "num_steps": 2, "progress": False}
    by_name = pv.diagnose({"mine": loaded.system[:2]}, DATA, tmp_path / "one", **small)
    named = pv.diagnose([NamedPair("mine", *loaded.system[:2])], DATA, tmp_path / "two", **small)
    assert by_name[0].numbers["elbo"] == named[0].numbers["elbo"]


def test_it_has_to_be_given(folder):
    with pytest.raises(pv.InputError, match=r"built by hand: build it again and give it, load_run\(path, model, guide"):
        pv.load_run(folder)
    with pytest.raises(pv.InputError, match="one of model and guide is missing"):
        pv.load_run(folder, by_hand()[0])
