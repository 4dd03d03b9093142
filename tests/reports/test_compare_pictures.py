"""The pictures of a comparison."""

from types import SimpleNamespace

import torch

from pyro_vaes import plots
from pyro_vaes.recipes import RECIPES, Settings
from pyro_vaes.reports.compare_pictures import pictures
from pyro_vaes.reports.compare_summary import Comparison
from tests.helpers.arrays import make, pixels


def test_pictures_show_pixels_of_transformed_data(monkeypatch):
    data = make(pixels(60, 4, 4), center=True, logit=True)
    system = RECIPES["vae"](data.event_shape, Settings(latent_dim=3, hidden=(8,)))
    rows = []
    monkeypatch.setattr(plots, "image_grid", lambda images, names: rows.append(images))
    trial = SimpleNamespace(
        guide="a",
        history=[{"epoch": 1, "valid_elbo": -1.0}],
        system=system,
        measured=SimpleNamespace(gap=torch.tensor([1.0, 2.0])),
        row={"inference_ms": 1.0},
    )
    pictures(Comparison([trial], [], data, Settings()))
    samples, (original, _) = rows
    plain = make(pixels(60, 4, 4)).test.x
    assert (original - plain[: len(original)]).abs().max() < 1e-5
    assert torch.cat(samples).shape == (10, 1, 4, 4)
