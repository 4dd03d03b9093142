"""The commands that look at run folders: ``evaluate``, ``diagnose``, ``sample``, ``traverse`` and ``export``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pyro_vaes.cli.options import given, settings_flags
from pyro_vaes.cli.output import say, shows_bars
from pyro_vaes.errors import InputError
from pyro_vaes.runs.atomic import unlinked
from pyro_vaes.settings import PARTS, Settings, integers

OTHERS = [each.name for each in dataclasses.fields(Settings) if each.name not in PARTS]
if TYPE_CHECKING:  # the class is made from the settings
    from typing import Any as Parts
else:
    Parts = settings_flags(*OTHERS)


def evaluate(
    run: str,
    *,
    parts: Parts | None = None,
    num_samples: int = 1000,
    test_size: int | None = None,
    binarizations: int = 1,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Estimate log p(x) of a run's model and the gap of its guide on test data; writes evaluation.json into its folder.

    Args:
        run: the run folder.
        parts: classes of your own that the run names, to be named again.
        num_samples: draws of the guide per image, for its ELBO and its own importance weights.
        test_size: number of test images to measure on, evenly spaced; at most 500 by default.
        binarizations: number of fixed binarizations of the test images, over which figures are averaged.
        seed: fixes the samples.
        device: auto, cpu, cuda or another torch device.
    """
    from pyro_vaes.reports.evaluate_run import EVALUATION, evaluate_run
    from pyro_vaes.runs.load_run import load_run

    data, system, *_ = load_run(run, device=device, parts=given(parts))
    lines = evaluate_run(
        system.model, system.guide, data, run, num_samples, test_size, seed, shows_bars(), binarizations
    )
    say("\n".join(lines))
    return _written(Path(run) / EVALUATION)


def diagnose(
    run: str,
    *,
    parts: Parts | None = None,
    against: Annotated[list[str] | None, Parameter(negative="")] = None,
    out: str | None = None,
    images: int | None = None,
    num_samples: int = 1000,
    reference: int = 0,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Report how good the posteriors of runs are; writes diagnosis.html and diagnosis.json.

    Args:
        run: the run folder.
        parts: classes of your own that the run names, to be named again.
        against: further runs on the same data, beside it on the page.
        out: folder to write to, the run folder by default.
        images: number of test images; 50 by default, or all if there are fewer.
        num_samples: draws of the guide per image, for its ELBO and its own importance weights.
        reference: number of images whose posterior is sampled by NUTS too, tens of seconds each.
        seed: fixes the draws.
        device: auto, cpu, cuda or another torch device.
    """
    from pyro_vaes.reports.diagnose import FIGURES, PAGE, advice
    from pyro_vaes.reports.diagnose import diagnose as write_diagnosis
    from pyro_vaes.reports.diagnosis import NamedPair
    from pyro_vaes.runs.load_run import load_run

    trained = {path: load_run(path, device=device, parts=given(parts)) for path in (run, *(against or ()))}
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
    diagnoses = write_diagnosis(
        pairs, data, folder, images, num_samples, reference=reference, seed=seed, progress=shows_bars()
    )
    say("\n".join([*advice(diagnoses), f"open {folder / PAGE}"]))
    return {"page": folder / PAGE, **_written(folder / FIGURES)}


def sample(
    run: str,
    *,
    parts: Parts | None = None,
    n: int = 64,
    condition: str | None = None,
    out: str | None = None,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Draw images from the model of a run; writes a PNG of their means E[x | z].

    Args:
        run: the run folder.
        parts: classes of your own that the run names, to be named again.
        n: number of images.
        condition: labels of a conditional model, comma-separated, which the images take in turn, such as 3,8; by
            default those of the test split.
        out: file to write, samples.png in the run folder by default.
        seed: fixes the draws.
        device: auto, cpu, cuda or another torch device.
    """
    import torch

    from pyro_vaes.evaluate.inputs import bound, of_split
    from pyro_vaes.given import in_turn
    from pyro_vaes.plots.images import image_grid
    from pyro_vaes.runs.load_run import load_run

    if n < 1:
        raise InputError(f"n is {n}: expected the number of images, 1 or more")
    data, system, *_ = load_run(run, device=device, parts=given(parts))
    if condition is None:
        (model,) = of_split(data.test, slice(n), system.model)
    else:
        (model,) = bound(
            torch.zeros(len(labels := integers("condition", condition))), torch.tensor(labels), system.model
        )
    torch.manual_seed(seed)
    with torch.no_grad():
        model = in_turn(model, n)
        images = data.as_pixels(model.decode(*model.sample_latents(n)))
    rows = images.split(max(1, round(n**0.5)))
    path = Path(out) if out else unlinked(Path(run) / "samples.png")
    image_grid(list(rows)).savefig(path, dpi=120)
    say(str(path))
    return {"files": [path]}


def traverse(
    run: str,
    *,
    parts: Parts | None = None,
    points: int = 8,
    factors: str = "",
    out: str | None = None,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Draw traversals of each latent of a run, and tabulate which factors of the data each one encodes.

    Args:
        run: the run folder.
        parts: classes of your own that the run names, to be named again.
        points: images per side of a latent's grid.
        factors: names of the columns of labels, comma-separated.
        out: folder to write to, the run folder by default.
        seed: fixes the draws.
        device: auto, cpu, cuda or another torch device.
    """
    from pyro_vaes.recipes.spec import split
    from pyro_vaes.reports.traverse import traverse as write_traversals
    from pyro_vaes.runs.load_run import load_run

    data, system, *_ = load_run(run, device=device, parts=given(parts))
    paths = write_traversals(*system[:2], data, out or run, split(factors), points, seed)
    say("\n".join(map(str, paths)))
    return {"files": paths}


def export(run: str, *, parts: Parts | None = None, out: str | None = None) -> dict[str, Any]:
    """Export a run for other programs: its history as metrics.csv, encoder.pt2 and decoder.pt2 for torch.export.load.

    Args:
        run: the run folder.
        parts: classes of your own that the run names, to be named again.
        out: folder to write to, the run folder by default.
    """
    from pyro_vaes.missing import missing_values
    from pyro_vaes.reports.tables import write_csv
    from pyro_vaes.runs.export import export as write_programs
    from pyro_vaes.runs.load_run import load_run

    data, system, history, _ = load_run(run, device="cpu", parts=given(parts))
    folder = Path(out or run)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "metrics.csv", history)
    lines = [f"{folder / 'metrics.csv'}: one row per epoch"]
    with missing_values(data.has_missing):
        lines += write_programs(*system[:2], data.test.x[:1], folder)
    say("\n".join(lines))
    return {"files": dict(line.split(": ", 1) for line in lines)}


def _written(path: Path) -> dict[str, Any]:
    """The figures that a report wrote."""
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures
