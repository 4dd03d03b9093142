"""Lossy windows on static MNIST: whether the KL falls as the window of the decoder grows.

The recipe lossy on the fixed binarization of MNIST, the first 10,000 of its 50,000 training images, 5 epochs, three
windows and three seeds each: minutes of training, a fraction of the published one, so that the trend over windows is
what to look at. The KL costs nothing below 4 nats, about half of the published 7.84, since trainings of this length
have ended at 4 to 8 nats without free bits. Images, epochs, optimizer and layers are the same for all; kernels, and
with them the number of weights, grow with the window. KL and ELBO: draws from the guide at 500 test images.
Linear probe: test accuracy of logistic regression from means of 50 draws of z to the digit.

DATA holds `binarized-mnist.npz`; WORK gets the trainings, two at a time with one thread each, and an interrupted call
resumes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from benchmarks.helpers.codes import COLUMNS, draw_codes, measure_all
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import train_all
from benchmarks.helpers.verdicts import over_seeds
from pyro_vaes.reports.tables import markdown_table

SEEDS = (0, 1, 2)
WINDOWS = ("3x2", "7x4", "13x6")  # width x height, the last one the published
FREE_BITS = 4
TRAIN = (
    f"lossy --loss free-bits(total={FREE_BITS}) --train-size 10000 --epochs 5 --network conv --hidden 16,32 "
    "--latent-dim 20 --batch-size 32 --lr 4e-3 --ema 0.99"
)
SHOWN = ("elbo", "reconstruction", "kl", "active_units", "probe", "minutes")
SUMMARIZED = {"kl": ".2f", "reconstruction": ".2f", "probe": ".3f"}


def run(folders: Folders) -> list[Row]:
    """One row per training."""
    names = {(window, seed): f"window-{window}-seed{seed}" for window in WINDOWS for seed in SEEDS}
    source = ["--data", "binarized-mnist", "--data-root", str(folders.data / "binarized-mnist.npz")]
    train_all({name: [*_words(*key), *source] for key, name in names.items()}, folders.work)
    found = measure_all([folders.work / name for name in names.values()], images=0)
    pictured = {window: folders.work / names[window, SEEDS[0]] for window in WINDOWS}
    draw_codes(pictured, folders.results / "windows.png")
    return [
        {"window": window, "seed": seed, "training": " ".join(_words(window, seed)), **row}
        for (window, seed), row in zip(names, found, strict=True)
    ]


def page(rows: Sequence[Row]) -> list[str]:
    cells = [[row["window"], row["seed"], *(_cell(row, name) for name in SHOWN)] for row in rows]
    summary = [[window, *(_interval(rows, window, name) for name in SUMMARIZED)] for window in WINDOWS]
    return [
        "## Does the KL fall as the window grows?",
        "",
        _verdict(rows),
        "",
        markdown_table(["window", *(f"{COLUMNS[name][0]}, mean [95 %]" for name in SUMMARIZED)], summary),
        "",
        "Means over three seeds, with intervals as for new seeds.",
        "",
        "![originals, and what each window's model of seed 0 draws at their codes](windows.png)",
        "",
        "## Each training",
        "",
        markdown_table(["window", "seed", *(COLUMNS[name][0] for name in SHOWN)], cells),
        "",
        rows[0]["data"],
        "",
        f"`pyro_vaes train` with `{rows[0]['training']}`, and with the other windows and seeds.",
    ]


def not_shown(rows: Sequence[Row]) -> list[str]:
    """The trend, if there is none."""
    verdict = _verdict(rows)
    return [verdict] if verdict.startswith("No") else []


def _words(window: str, seed: int) -> list[str]:
    size = window.replace("x", ",")
    return [*TRAIN.split(), "--likelihood", f"pixelcnn(window=({size}),layers=2,channels=8)", "--seed", str(seed)]


def _values(rows: Sequence[Row], window: str, name: str) -> torch.Tensor:
    return torch.tensor([row[name] for row in rows if row["window"] == window])


def _interval(rows: Sequence[Row], window: str, name: str) -> str:
    found, form = over_seeds(_values(rows, window, name)), SUMMARIZED[name]
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"


def _verdict(rows: Sequence[Row]) -> str:
    """What the means over seeds say of the trend, and the interval of the difference between the outer windows."""
    kls = [_values(rows, window, "kl") for window in WINDOWS]
    means = [kl.mean().item() for kl in kls]
    falls = all(after < before for before, after in itertools.pairwise(means))
    found = over_seeds(kls[-1] - kls[0])
    trend = " to ".join(f"{mean:.2f}" for mean in means)
    sure = "" if found.high < 0 or found.low > 0 else ", which three seeds do not tell from none"
    collapsed = sum(not row["active_units"] for row in rows)
    return (
        f"{'Yes' if falls else 'No'}: from the smallest to the largest window the mean KL goes from {trend} nats. "
        f"Largest less smallest window: {found.mean:+.2f} nats [{found.low:+.2f}, {found.high:+.2f}]{sure}. "
        f"{collapsed} of {len(rows)} trainings end without an active unit."
    )


def _cell(row: Row, name: str) -> str:
    return format(row[name], COLUMNS[name][1])
