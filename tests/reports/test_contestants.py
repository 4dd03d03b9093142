"""Guides of a comparison: classes and pairs of the user's own beside names."""

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.recipes import Settings

DATA = pv.data.Data.from_arrays(x_train=torch.rand(60, 4, 4), x_test=torch.rand(12, 4, 4))
SETTINGS = Settings(latent_dim=2, hidden=(8,), epochs=1, batch_size=32, device="cpu")
QUIET = {"num_samples": 20, "images": 0, "progress": False}


class Own(pv.guides.MeanField):
    """The mean-field guide under another name."""


def hierarchy():
    sizes = (2, 3)
    decoder = pv.networks.LadderMLPDecoder(sizes, DATA.event_shape, hidden=((8,), (8,)))
    model = pv.models.LadderVAE(decoder, [pv.priors.StandardNormal(size) for size in sizes], pv.likelihoods.Gaussian())
    return model, pv.models.LadderGuide(model, pv.networks.LadderMLPEncoder(DATA.event_shape, hidden=((8,), (8,))))


def test_a_class_is_compared_as_its_name_is(tmp_path):
    trials = pv.compare(DATA, ["mean-field", Own], SETTINGS, [0, 1], tmp_path / "report", **QUIET)
    rows = {(trial.guide, trial.seed): trial.row["log_likelihood"] for trial in trials}
    assert rows["mean-field", 0] == rows["own", 0] != rows["own", 1]
    config = (tmp_path / "report" / "runs" / "own-seed0" / "config.yaml").read_text()
    assert f"guide: {Own.__module__}:Own" in config


def test_a_pair_of_ones_own_is_copied_for_each_seed(tmp_path):
    pair = hierarchy()
    before = [parameter.clone() for parameter in pair[0].parameters()]
    trials = pv.compare(DATA, {"ladder": pair, "vae": "mean-field"}, SETTINGS, [0, 1], tmp_path / "report", **QUIET)
    assert [trial.guide for trial in trials] == ["ladder"] * 2 + ["vae"] * 2
    assert all(torch.equal(a, b) for a, b in zip(before, pair[0].parameters(), strict=True))
    assert trials[0].row["log_likelihood"] != trials[1].row["log_likelihood"]
    assert (tmp_path / "report" / "samples.png").exists()


def test_a_pair_needs_a_name_and_names_do_not_repeat(tmp_path):
    with pytest.raises(pv.InputError, match="has no name: give a mapping"):
        pv.compare(DATA, [hierarchy()], SETTINGS, [0], tmp_path / "report", **QUIET)
    with pytest.raises(pv.InputError, match="own stands twice: none may repeat"):
        pv.compare(DATA, [Own, Own], SETTINGS, [0], tmp_path / "report", **QUIET)
    assert not (tmp_path / "report").exists()
