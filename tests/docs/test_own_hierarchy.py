"""The hierarchy that docs/own-hierarchy.md writes, a user's own model and guide, in everything that takes a pair."""

import json

import pyro
import pytest
import torch

import pyro_vaes as pv
from pyro_vaes import evaluate
from pyro_vaes.reports.diagnose import FIGURES as DIAGNOSIS
from pyro_vaes.reports.diagnose import diagnose
from pyro_vaes.reports.diagnosis import NamedPair
from pyro_vaes.reports.traverse import FIGURES, TRAVERSALS
from pyro_vaes.testing import MODEL_CHECKS
from pyro_vaes.testing.pairs import BATCH, Pair
from tests.helpers import ROOT
from tests.helpers.markdown_files import blocks

DIGITS = pv.data.load("digits", train_size=300)
X = DIGITS.test.x[:6]
SIZES = {"z1": 2, "z2": 3}


def documented():
    """The page's function that makes a pair for data of a shape."""
    names = {"pv": pv, "torch": torch}
    (source,) = [block for block in blocks(ROOT / "docs" / "own-hierarchy.md", "python") if "class SkipVAE" in block]
    exec(source, names)
    return names["skip"]


SKIP = documented()


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model, guide = SKIP(DIGITS.event_shape)
    run = pv.fit(model, guide, DIGITS, epochs=1, progress=False)
    assert {"valid_elbo", "kl_z1", "kl_z2"} <= run.history[0].keys()
    return model, guide


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    def make():
        model, guide = SKIP((1, 4, 4))
        return Pair(model, guide, model.sample(BATCH), pv.losses.default_loss(guide))

    check(make)


def test_likelihoods(trained):
    torch.manual_seed(0)
    estimate = evaluate.log_likelihood(*trained, X, num_samples=2000)
    annealed = evaluate.annealed_importance_sampling(trained[0], X, num_chains=8, num_steps=100)
    assert (estimate.per_datum > estimate.elbo).all()
    torch.testing.assert_close(annealed.per_datum, estimate.per_datum, rtol=0, atol=2.0, check_dtype=False)


def test_gaps(trained):
    model, guide = trained
    before = [value.clone() for value in (*model.parameters(), *guide.parameters())]
    gaps = evaluate.inference_gaps(model, guide, X[:2], num_samples=200, num_steps=30)
    assert gaps.gap.shape == (2,)
    assert (gaps.amortization_gap >= 0).all()
    assert gaps.amortization_gap.max() > 0
    assert all(map(torch.equal, before, (*model.parameters(), *guide.parameters())))
    assert list(pyro.get_param_store()) == []


def test_calibration(trained):
    assert evaluate.calibration(*trained, num_datasets=200).ranks.shape == (200, 5)


def test_reference(trained):
    model, guide = trained
    reference = evaluate.reference_posterior(model, X[:2], num_samples=100, warmup_steps=100, num_chains=2)
    assert sum(reference.sites.values()) == reference.draws.shape[-1] == 5
    assert reference.sites == SIZES
    compared = evaluate.compare_with_reference(guide, X[:2], reference)
    assert compared.guide_draws.shape == compared.reference_draws.shape == (200, 2, 5)


def test_latents(trained):
    model, guide = trained
    assert 0 < evaluate.active_units(guide, DIGITS.test.x) <= 5
    means = evaluate.posterior_means(guide, X)
    assert {site: tuple(mean.shape) for site, mean in means.items()} == {"z1": (6, 2), "z2": (6, 3)}
    information = evaluate.mutual_information(model, guide, DIGITS.test.x[:100])
    assert 0 < information.value <= information.limit
    rows = evaluate.factor_probes(model, guide, DIGITS).rows
    assert [row["level"] for row in rows] == ["z1", "z2"]
    draws = evaluate.to_arviz(model, guide, X, num_samples=100)
    assert {name: draws.posterior[name].shape[-1] for name in draws.posterior} == SIZES


def test_traversals(trained, tmp_path):
    model, guide = trained
    files = pv.traverse(model, guide, DIGITS, tmp_path, points=2, progress=False)
    assert TRAVERSALS in [path.name for path in files]
    assert [row["level"] for row in json.loads((tmp_path / FIGURES).read_text())["levels"]] == ["z1", "z2"]


def test_programs(trained, tmp_path):
    model, guide = trained
    encoder, decoder = pv.export(model, guide, X, tmp_path)
    assert "mean_z1 (B, 2), stddev_z1 (B, 2), mean_z2 (B, 3), stddev_z2 (B, 3)" in encoder
    assert "z1 (B, 2), z2 (B, 3) -> E[x | z1, z2] (B, 1, 8, 8)" in decoder
    means = [q.mean for q in guide.posteriors(X).values()]
    torch.testing.assert_close(torch.export.load(tmp_path / "decoder.pt2").module()(*means)[0], model.decode(*means))


def test_file(trained, tmp_path):
    file = tmp_path / "pair.safetensors"
    pv.save(file, *trained)
    with pytest.raises(pv.InputError, match=r"SkipVAE and a SkipGuide .* build them as they were and give them"):
        pv.load(file)
    model, guide = pv.load(file, *SKIP(DIGITS.event_shape))
    z = model.sample_latents(len(X))
    torch.testing.assert_close(model.log_joint(X, *z), trained[0].log_joint(X, *z), rtol=0, atol=0)
    for one, other in zip(guide.posteriors(X).values(), trained[1].posteriors(X).values(), strict=True):
        torch.testing.assert_close(one.mean, other.mean, rtol=0, atol=0)


def test_diagnosis(trained, tmp_path):
    pair = NamedPair("skip", *trained)
    few = {"images": 2, "num_samples": 60, "num_steps": 3, "progress": False}
    diagnose([pair], DIGITS, tmp_path, **few)
    (row,) = json.loads((tmp_path / DIAGNOSIS).read_text())["guides"]
    assert row["gap"]["mean"] == pytest.approx(row["approximation_gap"]["mean"] + row["amortization_gap"]["mean"])
