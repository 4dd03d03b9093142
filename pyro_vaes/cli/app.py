"""The command line ``pyro-vaes``: signatures and docstrings below are its flags and its help.

Nothing heavy is imported here, so that ``--help`` answers at once; each command imports what it needs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import cyclopts
from cyclopts import App, Parameter

from pyro_vaes import __version__
from pyro_vaes.errors import InputError, NonFiniteError, shown, unknown
from pyro_vaes.runs.atomic import unlinked
from pyro_vaes.runs.config import Options, Switch, integers
from pyro_vaes.runs.safe_yaml import read_settings
from pyro_vaes.training.signals import on_termination
from pyro_vaes.validation import as_path

if TYPE_CHECKING:
    from pyro_vaes.recipes import Settings

INTERRUPTED, TERMINATED = 130, 143  # by Ctrl-C, by SIGTERM


MOST_LETTERS = 2000  # of an error, which may quote what somebody else wrote


OPTIONS = Options()


app = App(
    name="pyro-vaes",
    version=__version__,
    help="Variational autoencoders for Pyro: train, compare inference methods, evaluate.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)


app.meta.suppress_keyboard_interrupt = False


@app.command
def train(
    recipe: str,
    *,
    options: Options = OPTIONS,
    guide: str | None = None,
    seed: int = 0,
    published: Switch = False,
    out: str | None = None,
    resume: Switch = False,
    step: str = "auto",
    precision: str = "float32",
) -> None:
    """Train a recipe; `torchrun --nproc-per-node N -m pyro_vaes train RECIPE` does so in N processes.

    Args:
        recipe: what to train; `pyro-vaes recipes` lists them.
        options: shared flags.
        guide: another guide than the recipe's, with options if any, such as laplace(updates=1).
        seed: fixes initial weights, data order and noise.
        published: start from the published settings of the recipe instead of small ones.
        out: run folder, runs/RECIPE-DATA by default.
        resume: go on with the run that is there.
        step: how a gradient step is run, eager, compiled, graph (a CUDA graph), or auto.
        precision: float32, or bfloat16 for the layers of networks.
    """
    from pyro_vaes.recipes import RECIPES, build_seeded
    from pyro_vaes.runs.folder import RunFolder
    from pyro_vaes.training.distributed import process_group
    from pyro_vaes.training.fit import fit

    with process_group() as group:
        with group.raise_together():
            settings = options.settings(_recipe_settings(recipe, published, options.data))
            if guide is not None:
                settings = dataclasses.replace(settings, guide=guide)
            data = options.load(settings)
            system = build_seeded(RECIPES[recipe], data.event_shape, settings, seed)
        folder = out or f"runs/{recipe}-{data.name}"
        _say(f"{recipe} on {data.description}")
        run = fit(
            system.model,
            system.guide,
            data,
            system.loss,
            **settings.training,
            seed=seed,
            device=options.device,
            out=folder,
            overwrite=options.overwrite,
            resume=resume,
            step=step,
            precision=precision,
            config={
                "recipe": recipe,
                **options.config(settings),
                "seed": seed,
                "out": folder,
                "step": step,
                "precision": precision,
            },
        )
    if run.interrupted:
        if RunFolder(folder).resumable:
            where = f"after epoch {len(run.history)}" if run.history else "in the first epoch"
            _say(f"interrupted {where}; go on with --config {folder}/config.yaml --resume")
        else:
            _say("interrupted in the first epoch, of which nothing is kept; start again with --overwrite")
        raise SystemExit(INTERRUPTED)
    best = run.history[run.best_epoch - 1]
    _say(f"best validation ELBO {best['valid_elbo']:.2f} nats at epoch {run.best_epoch}; the run is in {folder}")


@app.command
def compare(
    *,
    guides: str = "mean-field,full-covariance,laplace",
    options: Options = OPTIONS,
    seeds: str = "2",
    num_samples: int = 1000,
    test_size: int | None = None,
    diagnose: int = 20,
    out: str = "report",
    resume: Switch = False,
) -> None:
    """Train several guides on the same model, data order and budget, and write a report.

    Args:
        guides: names of guides, comma-separated, with options if any, such as laplace(updates=1).
        options: shared flags.
        seeds: number of seeds, or the seeds themselves, comma-separated.
        num_samples: importance samples an image.
        test_size: measure on the first so many test images only.
        diagnose: end with a diagnosis of every guide's first seed on so many test images; 0 for none.
        out: folder of the report.
        resume: go on with the comparison that is there.
    """
    from pyro_vaes.recipes import Settings
    from pyro_vaes.recipes.spec import split
    from pyro_vaes.reports.compare import compare as compare_guides

    settings = options.settings(Settings())
    chosen = integers("seeds", seeds)
    if len(chosen) == 1 and "," not in seeds:
        chosen = tuple(range(chosen[0]))
    names = split(guides)
    data = options.load(settings)
    print(data.description)
    trials = compare_guides(
        data,
        names,
        settings,
        chosen,
        out,
        num_samples=num_samples,
        test_size=test_size,
        images=diagnose,
        device=options.device,
        overwrite=options.overwrite,
        resume=resume,
        config=options.config(settings),
    )
    if trials:
        print((Path(out) / "report.md").read_text(encoding="utf-8").partition("\n\n")[2].partition("![")[0])
        print(f"the report is in {out}: report.md, report.csv, trials.csv and pictures")
    if len(trials) < len(names) * len(chosen):
        raise SystemExit(INTERRUPTED)


@app.command
def evaluate(run: str, *, num_samples: int = 1000, seed: int = 0, device: str = "auto") -> None:
    """Estimate the test log-likelihood of a run; writes evaluation.json into its folder.

    Args:
        run: the run folder.
        num_samples: importance samples an image.
        seed: fixes the samples.
        device: auto, cpu, cuda or another torch device.
    """
    import torch

    from pyro_vaes.evaluate import active_units, log_likelihood
    from pyro_vaes.runs.load_run import load_run

    data, system, *_ = load_run(run, device)
    torch.manual_seed(seed)
    estimate = log_likelihood(*system[:2], data.test.x, num_samples, progress=sys.stderr.isatty())
    figures = {
        "log_likelihood": estimate.mean,
        "log_likelihood_stderr": estimate.stderr,
        "elbo": estimate.elbo.mean().item(),
        "gap": estimate.gap,
        "unreliable": None if math.isnan(estimate.unreliable) else estimate.unreliable,
        "active_units": active_units(system.guide, data.test.x),
        "estimator": estimate.describe(),
        "data": data.description,
        "split": "test",
        "seed": seed,
    }
    unlinked(Path(run) / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"{data.description}; test split, {estimate.describe()}")
    print(f"log p(x) {estimate.mean:.2f} ± {estimate.stderr:.2f} nats, ELBO {figures['elbo']:.2f} nats")
    trusted = (
        "unknown, from so few samples, for all"
        if figures["unreliable"] is None
        else f"above 0.7 for {estimate.unreliable:.1%}"
    )
    print(f"k-hat {trusted} of the images; {figures['active_units']} active units")


@app.command
def diagnose(
    run: str,
    *,
    against: list[str] | None = None,
    out: str | None = None,
    images: int = 50,
    num_samples: int = 1000,
    annealed: Switch = False,
    reference: int = 0,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Report how good the posteriors of runs are; writes diagnosis.html and diagnosis.json.

    Args:
        run: the run folder.
        against: further runs on the same data, beside it on the page.
        out: folder to write to, the run folder by default.
        images: number of test images.
        num_samples: importance samples an image.
        annealed: estimate log p(x) by annealed importance sampling too, some minutes a run.
        reference: number of images whose posterior is sampled by NUTS too, tens of seconds each.
        seed: fixes the draws.
        device: auto, cpu, cuda or another torch device.
    """
    from pyro_vaes.reports.diagnose import PAGE
    from pyro_vaes.reports.diagnose import diagnose as write_diagnosis
    from pyro_vaes.reports.diagnosis import NamedPair
    from pyro_vaes.runs.load_run import load_run

    trained = {path: load_run(path, device) for path in (run, *(against or ()))}
    data = trained[run].data
    for path, each in trained.items():
        if each.data.description != data.description:
            raise InputError(
                f"{path} was trained on {each.data.description}, but {run} on {data.description}: "
                "give runs on the same data"
            )
    pairs = [
        NamedPair(Path(path).resolve().name, *each.system[:2], each.history, each.note)
        for path, each in trained.items()
    ]
    folder = Path(out) if out else Path(run)
    write_diagnosis(pairs, data, folder, images, num_samples, annealed=annealed, reference=reference, seed=seed)
    print(folder / PAGE)


@app.command
def sample(run: str, *, n: int = 64, out: str | None = None, seed: int = 0, device: str = "auto") -> None:
    """Draw images from the model of a run; writes a PNG of their means E[x | z].

    Args:
        run: the run folder.
        n: number of images.
        out: file to write, samples.png in the run folder by default.
        seed: fixes the draws.
        device: auto, cpu, cuda or another torch device.
    """
    import torch

    from pyro_vaes.plots.images import image_grid
    from pyro_vaes.runs.load_run import load_run

    if n < 1:
        raise InputError(f"n is {n}: expected the number of images, 1 or more")
    system = load_run(run, device).system
    torch.manual_seed(seed)
    with torch.no_grad():
        images = system.model.decode(*system.model.sample_latents(n))
    rows = images.split(max(1, round(n**0.5)))
    path = Path(out) if out else unlinked(Path(run) / "samples.png")
    image_grid(list(rows)).savefig(path, dpi=120)
    print(path)


@app.command
def traverse(
    run: str, *, points: int = 8, factors: str = "", out: str | None = None, seed: int = 0, device: str = "auto"
) -> None:
    """Draw what each level of a run's latents does, and tabulate which factor of the data each one tells.

    Args:
        run: the run folder.
        points: pictures a side of a level's grid.
        factors: names of the columns of labels, comma-separated.
        out: folder to write to, the run folder by default.
        seed: fixes the draws.
        device: auto, cpu, cuda or another torch device.
    """
    from pyro_vaes.recipes.spec import split
    from pyro_vaes.reports.traverse import traverse as write_traversals
    from pyro_vaes.runs.load_run import load_run

    data, system, *_ = load_run(run, device)
    for path in write_traversals(*system[:2], data, out or run, split(factors), points, seed):
        print(path)


@app.command
def export(run: str, *, out: str | None = None) -> None:
    """Export a run for other programs: its history as metrics.csv, encoder.pt2 and decoder.pt2 for torch.export.load.

    Args:
        run: the run folder.
        out: folder to write to, the run folder by default.
    """
    from pyro_vaes.reports.tables import write_csv
    from pyro_vaes.runs.export import export as write_programs
    from pyro_vaes.runs.load_run import load_run

    data, system, history, _ = load_run(run, "cpu")
    folder = Path(out or run)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "metrics.csv", history)
    print(f"{folder / 'metrics.csv'}: one row per epoch")
    for line in write_programs(*system[:2], data.test.x[:1], folder):
        print(line)


@app.command
def recipes() -> None:
    """List the recipes."""
    from pyro_vaes.recipes import RECIPES

    for name, build in RECIPES.items():
        print(f"{name:18}{build.__doc__}")


@app.command
def datasets() -> None:
    """List the data sets."""
    from pyro_vaes.data import datasets as known

    for name, line in known.items():
        print(f"{name:18}{line}")
    print(f"{'FILE.npz':18}x_train[, y_train], x_valid, x_test …: images or vectors, uint8 or floats in [0, 1]")


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], config: str | None = None
) -> None:
    """Run one command.

    Args:
        tokens: the command and its arguments.
        config: take the command's arguments from a file, such as the config.yaml of a run.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "train" not in tokens:
        raise InputError("several processes share the work of train alone: start this command without torchrun")
    app.config = () if config is None else _configured(config)
    app(tokens, exit_on_error=False, print_error=False)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends it with a message on standard error and status 2, SIGTERM with 143."""
    app.config = ()  # of an earlier call in this process
    try:
        with on_termination(_terminated):
            app.meta(arguments, exit_on_error=False, print_error=False)
    except (InputError, NonFiniteError, cyclopts.CycloptsError) as error:
        _fail(str(error), 2)
    except ConnectionError as error:  # to other processes of the training
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error}: give another path, or mend it", 2)
    except (MemoryError, RuntimeError) as error:
        from pyro_vaes.training.out_of_memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        _fail(f"there is too little memory ({reason}): take fewer data, samples or units, or another device", 2)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _terminated(*_: Any) -> None:
    _fail("terminated; train and compare go on with --resume", TERMINATED)


def _fail(message: str, status: int) -> None:
    if len(message) > MOST_LETTERS:
        message = f"{message[:MOST_LETTERS]} ..."
    _say(f"pyro-vaes: {message}", sys.stderr)
    raise SystemExit(status) from None


def _say(message: str, file: TextIO | None = None) -> None:
    """Print, once for all processes that torchrun started, which end alike."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=file)


def _configured(path: str) -> cyclopts.config.Dict:
    """The settings of a file, as arguments of a command."""
    settings = read_settings(as_path(path, "config"), "give a file such as the config.yaml of a run")
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        if not all(each is None or isinstance(each, (str, int, float)) for each in values):
            raise InputError(f"{path}: {name} is {shown(value)}: expected one value, or a list of them")
    return cyclopts.config.Dict(settings, source=path, use_commands_as_keys=False)


def _recipe_settings(recipe: str, published: bool, data: str) -> Settings:
    from pyro_vaes import recipes as package

    if recipe not in package.RECIPES:
        raise unknown("recipe", recipe, package.RECIPES)
    if not published:
        return package.SMALL[recipe]
    if recipe not in package.PUBLISHED:
        raise InputError(f"recipe {recipe!r} has no published settings: leave --published out")
    by_data = package.PUBLISHED[recipe]
    return by_data.get(Path(data).stem, next(iter(by_data.values())))


if __name__ == "__main__":
    main()
