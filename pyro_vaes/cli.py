"""The command line ``pyro-vaes``: signatures and docstrings below are its flags and its help.

Nothing heavy is imported here, so that ``--help`` answers at once; each command imports what it needs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
import yaml
from cyclopts import App, Parameter

from pyro_vaes import __version__
from pyro_vaes.errors import InputError, NonFiniteError, unknown
from pyro_vaes.options import Options, Switch, integers
from pyro_vaes.watch import on_termination

if TYPE_CHECKING:
    from pyro_vaes.recipes import Settings

INTERRUPTED, TERMINATED = 130, 143  # by Ctrl-C, by SIGTERM
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
) -> None:
    """Train a recipe.

    Args:
        recipe: what to train; `pyro-vaes recipes` lists them.
        options: shared flags.
        guide: another guide than the recipe's, with options if any, such as laplace(updates=1).
        seed: fixes initial weights, data order and noise.
        published: start from the published settings of the recipe instead of small ones.
        out: run folder, runs/RECIPE-DATA by default.
        resume: go on with the run that is there.
        step: how a gradient step is run, eager or compiled.
    """
    from pyro_vaes.recipes import RECIPES, build_seeded
    from pyro_vaes.runs import RunFolder
    from pyro_vaes.training import fit

    settings = options.settings(_recipe_settings(recipe, published, options.data))
    if guide is not None:
        settings = dataclasses.replace(settings, guide=guide)
    data = options.load(settings)
    system = build_seeded(RECIPES[recipe], data.event_shape, settings, seed)
    folder = out or f"runs/{recipe}-{data.name}"
    print(f"{recipe} on {data.description}")
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
        config={"recipe": recipe, **options.config(settings), "seed": seed, "out": folder, "step": step},
    )
    if run.interrupted:
        if RunFolder(folder).resumable:
            where = f"after epoch {len(run.history)}" if run.history else "in the first epoch"
            print(f"interrupted {where}; go on with --config {folder}/config.yaml --resume")
        else:
            print("interrupted in the first epoch, of which nothing is kept; start again with --overwrite")
        raise SystemExit(INTERRUPTED)
    best = run.history[run.best_epoch - 1]
    print(f"best validation ELBO {best['valid_elbo']:.2f} nats at epoch {run.best_epoch}; the run is in {folder}")


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
    from pyro_vaes.compare import compare as compare_guides
    from pyro_vaes.naming import split
    from pyro_vaes.recipes import Settings

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
    from pyro_vaes.trained import load_run

    data, system, *_ = load_run(run, device)
    torch.manual_seed(seed)
    estimate = log_likelihood(*system[:2], data.test.x, num_samples)
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
    (Path(run) / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
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
    from pyro_vaes.diagnose import PAGE, Subject
    from pyro_vaes.diagnose import diagnose as write_diagnosis
    from pyro_vaes.trained import load_run

    trained = {path: load_run(path, device) for path in (run, *(against or ()))}
    data = trained[run].data
    for path, each in trained.items():
        if each.data.description != data.description:
            raise InputError(
                f"{path} was trained on {each.data.description}, but {run} on {data.description}: "
                "give runs on the same data"
            )
    subjects = [
        Subject(Path(path).resolve().name, *each.system[:2], each.history, each.note) for path, each in trained.items()
    ]
    folder = Path(out) if out else Path(run)
    write_diagnosis(subjects, data, folder, images, num_samples, annealed=annealed, reference=reference, seed=seed)
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

    from pyro_vaes.plots import image_grid
    from pyro_vaes.trained import load_run

    if n < 1:
        raise InputError(f"n is {n}: expected the number of images, 1 or more")
    system = load_run(run, device).system
    torch.manual_seed(seed)
    with torch.no_grad():
        images = system.model.decode(*system.model.sample_latents(n))
    rows = images.split(max(1, round(n**0.5)))
    path = Path(out) if out else Path(run) / "samples.png"
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
    from pyro_vaes.naming import split
    from pyro_vaes.trained import load_run
    from pyro_vaes.traverse import traverse as write_traversals

    data, system, *_ = load_run(run, device)
    for path in write_traversals(*system[:2], data, out or run, split(factors), points, seed):
        print(path)


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
    if config is not None:
        _check_config(config)
    app.config = () if config is None else cyclopts.config.Yaml(config, must_exist=True, use_commands_as_keys=False)
    app(tokens, exit_on_error=False, print_error=False)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends it with a message on standard error and status 2, SIGTERM with 143."""
    app.config = ()  # of an earlier call in this process
    try:
        with on_termination(_terminated):
            app.meta(arguments, exit_on_error=False, print_error=False)
    except (InputError, NonFiniteError, cyclopts.CycloptsError) as error:
        _fail(str(error), 2)
    except OSError as error:
        _fail(f"{error}: give another path, or mend it", 2)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _terminated(*_: Any) -> None:
    _fail("terminated; train and compare go on with --resume", TERMINATED)


def _fail(message: str, status: int) -> None:
    print(f"pyro-vaes: {message}", file=sys.stderr)
    raise SystemExit(status) from None


def _check_config(path: str) -> None:
    """Read a configuration for its errors alone, which are plainer here than from the command-line library."""
    try:
        content = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} is no YAML mapping of settings: give a file such as the config.yaml of a run")


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
