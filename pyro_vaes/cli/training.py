"""The commands that train: ``train`` and ``compare``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pyro_vaes.cli.options import Switch, given, settings_flags
from pyro_vaes.cli.output import command, say, shows_progress
from pyro_vaes.errors import unknown
from pyro_vaes.settings import Settings, integers

GUIDES = "mean-field,full-covariance,laplace"  # of a comparison that varies nothing else

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
) -> dict[str, Any]:
    """Train a recipe; `torchrun --nproc-per-node N -m pyro_vaes train RECIPE` does so in N processes.

    Args:
        recipe: what to train; `pyro-vaes list recipes` lists them.
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
    from pyro_vaes.vae import VAE

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
        system, run = fit_recipe(
            RECIPES[recipe],
            data,
            settings,
            folder,
            start=trained,
            overwrite=overwrite,
            resume=resume,
            progress=shows_progress(),
            config=_start_config(start),
        )
    result = {"run": folder, "interrupted": run.interrupted, "epochs": len(run.history), "best_epoch": run.best_epoch}
    config = settings.config()
    go_on = ("train", "--config", f"{folder}/config.yaml", "--resume")
    if run.interrupted:
        if RunFolder(run.path or folder).resumable:
            where = f"after epoch {len(run.history)}" if run.history else "in the first epoch"
            say(f"interrupted {where}; go on: {command(config, *go_on)}")
        else:
            say("interrupted in the first epoch, of which nothing is kept; start again with --overwrite")
        return result
    say(f"{run.summary()}\nthe run is in {folder}")
    if several:
        config = RunFolder(folder).read_config()
        say(f"its guide is {config['guide']}, that of the best validation ELBO")
    elif run.best_epoch == len(run.history):
        say(f"longer: {command(config, *go_on, '--epochs', 2 * len(run.history))}")
    follow = command(config, "diagnose" if isinstance(system.model, VAE) else "traverse", folder)
    say(f"next: {follow}")
    return {**result, "stopped": run.stopped, "guide": config.get("guide"), **run.best, "next": follow}


def compare(
    *,
    guides: str | None = None,
    vary: Annotated[list[str] | None, Parameter(negative="")] = None,
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
) -> dict[str, Any]:
    """Train several guides, on one frozen model or each with a model of its own, and write a report.

    Args:
        guides: names of guides, comma-separated, with options if any, such as laplace(updates=1), or module:Class; by
            default mean-field,full-covariance,laplace, or mean-field alone where something else varies.
        vary: a setting and its values, such as prior=standard-normal,vamp-prior(components=20); each guide is trained
            with each of them, and of several settings with each combination.
        flags: settings.
        model: run folder of a trained model, which is frozen: the guides alone are trained, at most 200 epochs with a
            patience of 10, and compared by their gaps. Without it each is trained with a model of its own.
        minutes: time of each training, which ends after the epoch in which it is over.
        seeds: number of seeds, or the seeds themselves, comma-separated.
        num_samples: draws of the guide per image, for its ELBO and its own importance weights.
        test_size: number of test images to measure on, evenly spaced; at most 500 by default.
        images: number of test images of a diagnosis of every guide's first seed at the end; 0 for none.
        start: run folder of a mean-field guide, whose weights the model and every guide start from.
        out: folder of the report.
        overwrite: replace the report that is there.
        resume: go on with the comparison that is there.
    """
    from pyro_vaes.recipes import load_data
    from pyro_vaes.recipes.spec import slug, split
    from pyro_vaes.reports.compare import compare as compare_guides
    from pyro_vaes.reports.diagnose import PAGE
    from pyro_vaes.reports.frozen import frozen_settings
    from pyro_vaes.reports.sweep import parse_varied
    from pyro_vaes.runs.folder import RunFolder
    from pyro_vaes.runs.load_run import load_start

    settings = Settings().updated(given(flags)) if model is None else frozen_settings(model, given(flags))
    chosen = integers("seeds", seeds)
    if len(chosen) == 1 and "," not in seeds:
        chosen = tuple(range(chosen[0]))
    varied = parse_varied(vary or [])
    names = split(guides or ("mean-field" if varied else GUIDES))
    data = load_data(settings)
    say(data.description)
    trials = compare_guides(
        data,
        names,
        settings,
        chosen,
        out,
        vary=varied,
        model=model,
        minutes=minutes,
        num_samples=num_samples,
        test_size=test_size,
        images=images,
        start=load_start(start, settings) if start else None,
        overwrite=overwrite,
        resume=resume,
        progress=shows_progress(),
        config={**settings.config(), **_start_config(start)},
    )
    expected = len(names) * len(chosen) * math.prod(map(len, varied.values()))
    result: dict[str, Any] = {"interrupted": len(trials) < expected, "trials": [trial.row for trial in trials]}
    if not trials:
        return result
    say((Path(out) / "report.md").read_text(encoding="utf-8").partition("\n\n")[2].partition("![")[0])
    files = [f"{out}/{name}" for name in ("report.md", "report.csv", "trials.csv")]
    say("\n".join(files))
    if result["interrupted"]:
        again = [*(["--guides", guides] if guides else []), *(word for text in vary or [] for word in ("--vary", text))]
        follow = command(settings.config(), "compare", "--config", f"{out}/config.yaml", "--resume", *again)
    else:
        best = max(trials, key=lambda trial: trial.row["log_likelihood" if model is None else "elbo"])
        run = f"{out}/runs/{slug(best.guide)}-seed{best.seed}"
        follow = command(RunFolder(run).read_config(), "diagnose", run, "--reference", 3)
    say(f"next: {follow}")
    if (Path(out) / PAGE).exists():
        say(f"open {Path(out) / PAGE}")
    return {**result, "files": files, "next": follow}


def _start_config(start: str | None) -> dict[str, str]:
    """The start as ``config.yaml`` names it, by a path that holds from any folder."""
    return {"start": str(Path(start).resolve())} if start else {}
