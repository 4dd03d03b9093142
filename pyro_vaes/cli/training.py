"""The commands that train: ``train`` and ``compare``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import Parameter

from pyro_vaes.cli.options import Switch, given, settings_flags
from pyro_vaes.errors import unknown
from pyro_vaes.settings import Settings, integers

INTERRUPTED = 130  # exit status after Ctrl-C

if TYPE_CHECKING:  # the classes are made from the settings
    from typing import Any as ComparisonFlags
    from typing import Any as Flags
else:
    Flags, ComparisonFlags = settings_flags(), settings_flags("guide", "start_epochs", "seed")


def train(
    recipe: str,
    *,
    flags: Flags | None = None,
    published: Switch = False,
    start: str | None = None,
    out: str | None = None,
    overwrite: Switch = False,
    resume: Switch = False,
) -> None:
    """Train a recipe; `torchrun --nproc-per-node N -m pyro_vaes train RECIPE` does so in N processes.

    Args:
        recipe: what to train; `pyro-vaes recipes` lists them.
        flags: settings.
        published: start from the published settings of the recipe instead of small ones.
        start: run folder of a mean-field guide, whose weights model and guide start from.
        out: run folder, runs/RECIPE-DATA by default.
        overwrite: replace the run that is there.
        resume: go on with the run that is there.
    """
    from pyro_vaes.recipes import RECIPES, load_data
    from pyro_vaes.recipes.spec import split
    from pyro_vaes.runs.folder import RunFolder
    from pyro_vaes.runs.load_run import load_start
    from pyro_vaes.training.distributed import process_group
    from pyro_vaes.training.stages import fit_recipe

    with process_group() as group:
        with group.raise_together():
            if recipe not in RECIPES:
                raise unknown("recipe", recipe, RECIPES)
            changes = given(flags)
            chosen = (changes.get("data", Settings.data), changes.get("likelihood", ""))
            settings = RECIPES[recipe].settings(published, *chosen).updated(changes)
            data = load_data(settings)
            several = len(split(settings.guide or "")) > 1
            trained = load_start(start, settings) if start and (several or not resume) else None
        folder = out or f"runs/{recipe}-{data.name}"
        say(f"{recipe} on {data.description}")
        _, run = fit_recipe(
            RECIPES[recipe],
            data,
            settings,
            folder,
            start=trained,
            overwrite=overwrite,
            resume=resume,
            config=_start_config(start),
        )
    if run.interrupted:
        if RunFolder(run.path or folder).resumable:
            where = f"after epoch {len(run.history)}" if run.history else "in the first epoch"
            say(f"interrupted {where}; go on with --config {folder}/config.yaml --resume")
        else:
            say("interrupted in the first epoch, of which nothing is kept; start again with --overwrite")
        raise SystemExit(INTERRUPTED)
    say(f"{run.summary()}\nthe run is in {folder}")
    if several:
        say(f"its guide is {RunFolder(folder).read_config()['guide']}, that of the best validation ELBO")


def compare(
    *,
    guides: str = "mean-field,full-covariance,laplace",
    flags: ComparisonFlags | None = None,
    model: str | None = None,
    minutes: float | None = None,
    seeds: str = "5",
    num_samples: int = 1000,
    test_size: int | None = None,
    images: Annotated[int, Parameter(name=("--images", "--diagnose"))] = 20,
    start: str | None = None,
    out: str = "report",
    overwrite: Switch = False,
    resume: Switch = False,
) -> None:
    """Train several guides, on one frozen model or each with a model of its own, and write a report.

    Args:
        guides: names of guides, comma-separated, with options if any, such as laplace(updates=1), or module:Class.
        flags: settings.
        model: run folder of a trained model, which is frozen: the guides alone are trained, at most 200 epochs with a
            patience of 10, and compared by their gaps. Without it each is trained with a model of its own.
        minutes: time of each training, which ends after the epoch in which it is over.
        seeds: number of seeds, or the seeds themselves, comma-separated.
        num_samples: draws of the guide per image, for its ELBO and its own importance weights.
        test_size: number of test images to measure on, from the first; at most 500 by default.
        images: number of test images of a diagnosis of every guide's first seed at the end; 0 for none.
        start: run folder of a mean-field guide, whose weights the model and every guide start from.
        out: folder of the report.
        overwrite: replace the report that is there.
        resume: go on with the comparison that is there.
    """
    from pyro_vaes.recipes import load_data
    from pyro_vaes.recipes.spec import split
    from pyro_vaes.reports.compare import compare as compare_guides
    from pyro_vaes.reports.diagnose import PAGE
    from pyro_vaes.reports.frozen import frozen_settings
    from pyro_vaes.runs.load_run import load_start

    settings = Settings().updated(given(flags)) if model is None else frozen_settings(model, given(flags))
    chosen = integers("seeds", seeds)
    if len(chosen) == 1 and "," not in seeds:
        chosen = tuple(range(chosen[0]))
    names, data = split(guides), load_data(settings)
    print(data.description)
    trials = compare_guides(
        data,
        names,
        settings,
        chosen,
        out,
        model=model,
        minutes=minutes,
        num_samples=num_samples,
        test_size=test_size,
        images=images,
        start=load_start(start, settings) if start else None,
        overwrite=overwrite,
        resume=resume,
        config={**settings.config(), **_start_config(start)},
    )
    if trials:
        print((Path(out) / "report.md").read_text(encoding="utf-8").partition("\n\n")[2].partition("![")[0])
        print("\n".join(f"{out}/{name}" for name in ("report.md", "report.csv", "trials.csv")))
        if (Path(out) / PAGE).exists():
            print(f"open {Path(out) / PAGE}")
    if len(trials) < len(names) * len(chosen):
        raise SystemExit(INTERRUPTED)


def _start_config(start: str | None) -> dict[str, str]:
    """The start as ``config.yaml`` names it, by a path that holds from any folder."""
    return {"start": str(Path(start).resolve())} if start else {}


def say(message: str, file: TextIO | None = None) -> None:
    """Print once for all processes that torchrun started, which end alike."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=file or sys.stdout)
