"""The trained models whose log p(x) is estimated, and results that are kept on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.helpers.results import Row
from benchmarks.helpers.trainings import train_all, words
from pyro_vaes.recipes import RECIPES, build_seeded
from pyro_vaes.recipes.spec import slug
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.runs.load_run import load_run
from pyro_vaes.settings import Settings

MNIST = "--data mnist --train-size 10000 --epochs 20"

#: Arguments of ``pyro-vaes train`` by name of the model: 16 latents, networks 256-256, 20 epochs.
MODELS = {
    "mean-field, Gaussian": f"vae {MNIST} --likelihood gaussian",
    "laplace(updates=1), Gaussian": f"vae {MNIST} --likelihood gaussian --guide laplace(updates=1)",
    "semi-amortized(steps=8), Gaussian": f"vae {MNIST} --likelihood gaussian --guide semi-amortized(steps=8)",
    "full-covariance, Gaussian": f"vae {MNIST} --likelihood gaussian --guide full-covariance",
    "mean-field, Bernoulli": f"vae {MNIST} --likelihood bernoulli",
    "mean-field, Bernoulli, omniglot28": "vae --data DATA/omniglot28.npz --likelihood bernoulli --epochs 20",
    "LadderVAE, Bernoulli": f"ladder {MNIST} --likelihood bernoulli",
}


class EstimatedModel:
    """A trained model with its guide and an untrained one.

    Args:
        folder: its run folder.

    Attributes:
        model: the model.
        guide: the guide that it was trained with.
        untrained: the same guide with initial weights of another seed, on a model of the same weights.
        x: the test data.
    """

    def __init__(self, folder: Path) -> None:
        loaded = load_run(folder, device="cpu")
        self.model, self.guide, *_ = loaded.system
        config = RunFolder(folder).read_config()
        settings = Settings.from_config(config)
        fresh = build_seeded(RECIPES[str(config["recipe"])], loaded.data.event_shape, settings, settings.seed + 1)
        fresh.model.load_state_dict(self.model.state_dict())
        self.untrained = fresh.guide
        self.x: Tensor = loaded.data.test.x


def train_models(names: Mapping[str, str], data: Path, work: Path) -> dict[str, Path]:
    """Train what is not trained yet; returns the run folder of each model."""
    jobs = {slug(name): [*words(flags, data), "--data-root", str(data)] for name, flags in names.items()}
    train_all(jobs, work)
    return {name: work / folder for name, folder in zip(names, jobs, strict=True)}


def kept(path: Path, measure: Callable[[], Row]) -> Row:
    """A result that an interrupted benchmark measured before, or the one that is measured now and kept."""
    if not path.exists():
        path.write_text(json.dumps(measure()), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
