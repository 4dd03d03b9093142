"""Exported runs: programs that give what the pair gives, and the history as a table."""

import csv
import json

import numpy as np
import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.recipes import RECIPES, Settings
from pyro_vaes.runs.export import export
from pyro_vaes.runs.folder import RunFolder
from tests.helpers.command_line import run

SHAPE = (1, 4, 4)
X = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))


def build(recipe="vae", **changes):
    small = {"latent_dim": 2, "hidden": (8,)} if recipe in ("vae", "laplace") else {}
    system = RECIPES[recipe](SHAPE, Settings(**{**vars(RECIPES[recipe].small), **small, **changes}))
    return system.model.eval(), system.guide.eval()


def programs(folder):
    return [torch.export.load(folder / f"{name}.pt2").module() for name in ("encoder", "decoder")]


@pytest.mark.parametrize(
    ("guide", "parameters", "dtype"),
    [
        ("mean-field", ["mean", "stddev"], "float64"),
        ("laplace(updates=2)", ["mean", "precision_tril"], "float32"),
    ],
)
def test_programs_give_what_the_pair_gives(tmp_path, guide, parameters, dtype):
    model, guide = (each.to(getattr(torch, dtype)).train() for each in build(guide=guide))
    x, before = X.to(getattr(torch, dtype)), torch.get_rng_state()
    lines = export(model, guide, X[:2], tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert guide.training
    assert [f"{name} (B, 2" in lines[0] for name in parameters] == [True, True]
    assert lines[0].endswith(f"{dtype}, on the CPU")
    encoder, decoder = programs(tmp_path)
    for size in (1, 2, 5):
        outputs, q = encoder(x[:size]), guide.posterior(x[:size])
        for name, output in zip(parameters, outputs, strict=True):
            torch.testing.assert_close(output, getattr(q, name))
        torch.testing.assert_close(decoder(q.mean)[0], model.decode(q.mean))


def test_a_run_is_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("tiny.npz", x_train=np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8))
    small = ["--latent-dim", "2,3", "--hidden", "8,6", "--epochs", "2", "--data", "tiny.npz"]
    assert run("train", "ladder", *small, "--out", "run") == 0
    capsys.readouterr()
    assert run("export", "run", "--out", "shared") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "shared/metrics.csv: one row per epoch",
        "shared/encoder.pt2: x (B, 1, 4, 4) -> mean_z1 (B, 2), stddev_z1 (B, 2), mean_z2 (B, 3), stddev_z2 (B, 3); "
        "float32, on the CPU",
        "shared/decoder.pt2: z1 (B, 2), z2 (B, 3) -> E[x | z1, z2] (B, 1, 4, 4); float32, on the CPU",
    ]
    model, guide, _ = pv.load_run("run", device="cpu").system
    encoder, decoder = programs(tmp_path / "shared")
    means = encoder(X)[::2]
    for mean, q in zip(means, guide.posteriors(X).values(), strict=True):
        torch.testing.assert_close(mean, q.mean)
    torch.testing.assert_close(decoder(*means)[0], model.decode(*means))
    with open("shared/metrics.csv", encoding="utf-8") as file:
        table = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert table == [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def test_of_a_guide_that_cannot_be_exported_it_is_the_network(tmp_path):
    model, guide = build(guide="semi-amortized(steps=1)")
    lines = export(model, guide, X, tmp_path)
    assert "head (B, 4)" in lines[0]
    assert "the encoder with its head, from where SemiAmortized goes on" in lines[0]
    torch.testing.assert_close(programs(tmp_path)[0](X)[0], guide.head(guide.encoder(X)))


def test_a_guide_without_posteriors_leaves_the_decoder(tmp_path):
    model, guide = build()

    class Users(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.guide = guide

        def forward(self, x):
            return self.guide(x)

    lines = export(model, Users(), X, tmp_path)
    assert lines[0].endswith("not written, since Users has no posteriors(x): give a pyro_vaes Guide")
    assert [path.name for path in tmp_path.iterdir()] == ["decoder.pt2"]


def test_latents_that_follow_each_other_are_exported_at_conditional_means(tmp_path):
    model, guide = build("hierarchical", latent_dim=(2, 3), hidden=(8,))
    assert "mean_z1 (B, 2), stddev_z1 (B, 2), mean_z2 (B, 3)" in export(model, guide, X, tmp_path)[0]
    posteriors = guide.posteriors(X)
    expected = [value for q in posteriors.values() for value in (q.mean, q.stddev)]
    torch.testing.assert_close(programs(tmp_path)[0](X), tuple(expected))


class Branching(torch.nn.Module):
    """A decoder that looks at values, which no tracer can follow."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 16)

    def forward(self, z):
        features = self.layer(z) if z.sum() > 0 else -self.layer(z)
        return features.unflatten(-1, SHAPE)


def test_what_cannot_be_exported_is_refused(tmp_path):
    with pytest.raises(pv.InputError, match="PixelCNN has no mean but draws pixel by pixel"):
        export(*build("lossy"), X.round(), tmp_path)
    model = pv.VAE(Branching(), pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
    guide = pv.guides.MeanField(model, pv.networks.MLPEncoder(SHAPE, hidden=(8,)))
    with pytest.raises(pv.InputError, match=r"VAE cannot be exported \(\w+: .*\): give other networks") as caught:
        export(model, guide, X, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_overwriting_a_run_removes_what_was_exported(tmp_path):
    names = ["config.yaml", "decoder.pt2", "encoder.pt2", "metrics.csv"]
    for name in names:
        (tmp_path / name).write_text("old")
    RunFolder(tmp_path).claim(overwrite=True, resume=False)
    assert list(tmp_path.iterdir()) == []
