"""Lossy codes: what an autoregressive decoder leaves to the latent, and what losses and priors change.

Nats on test images, binarized dynamically in training and by one fixed draw in testing. NLL: - log p(x) of the model,
by the estimator and for the number of images at the end of the page, ± its standard error over images; an estimator
that samples from the guide gives an upper bound, the looser the worse the guide. Δ: NLL above the plain VAE's, or the
plain prior's, of the same seed, ± its standard error over the same images. Linear probe: test accuracy of logistic
regression from means of 50 draws of z to the label, one of ten digits; for omniglot-small the mean over 24 tasks of ten
characters each. Chance is 10 %.

DATA holds MNIST in torchvision's layout, `omniglot-small.npz` and `cifar10-20k.npz`; WORK gets the trainings, two at a
time with one thread each, and an interrupted call resumes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.helpers.codes import draw_codes, draw_samples, figures_table, measure_all, worse
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import train_all, words

MNIST = "--data mnist --train-size 10000"
OMNIGLOT = "--data DATA/omniglot-small.npz"
SEEDS = (0, 1)
WINDOWS = (("3,2", 0), ("5,3", 0), ("5,3", 1), ("9,5", 0), ("15,8", 0))  # and the seed
STEPS = "--batch-size 32 --lr 2e-3 --ema 0.99"
LARGE = f"--likelihood pixelcnn(window=(39,19),layers=6,channels=12) {STEPS}"
FACTORIZED = "--likelihood bernoulli --batch-size 128 --lr 1e-3 --epochs 40"
SETS = {
    "mnist": f"{MNIST} --epochs 2 --latent-dim 20",
    "omniglot-small": f"{OMNIGLOT} --epochs 6 --latent-dim 24",
}
LOSSES = {"vae": "elbo", "mae": "mutual-posterior-divergence(eta=2,gamma=0.5)"}

#: The trainings, by name. Those of one table have the same images and epochs; in that of windows the kernels of the
#: decoder, and with them its weights and minutes, grow with the window.
LARGE_WINDOW = {
    f"{data}-{recipe}-seed{seed}": f"{recipe} --loss {loss} {flags} {LARGE} --seed {seed}"
    for data, flags in SETS.items()
    for recipe, loss in LOSSES.items()
    for seed in SEEDS
}
BY_WINDOW = {
    f"mnist-lossy-{window.replace(',', 'x')}{f'-seed{seed}' if seed else ''}": (
        f"lossy --loss elbo --warmup 500 {MNIST} --epochs 12 --network conv --hidden 16,32 "
        f"--likelihood pixelcnn(window=({window}),layers=2,channels=8) --batch-size 32 --lr 4e-3 --ema 0.99 "
        f"--seed {seed}"
    )
    for window, seed in WINDOWS
}
BY_PRIOR = {
    f"mnist-factorized-{prior}-seed{seed}": f"{recipe} {MNIST} {FACTORIZED} --seed {seed}"
    for prior, recipe in {"plain": "vae", "flow": "af-prior"}.items()
    for seed in SEEDS
}
UNCONDITIONAL = {"mnist-pixelcnn": f"pixelcnn {MNIST} --epochs 2 {LARGE}"}
IN_COLOR = {
    "cifar10-20k-lossy": (
        "lossy --data DATA/cifar10-20k.npz --train-size 2000 --epochs 8 --latent-dim 32 --loss elbo "
        f"--likelihood pixelcnnpp(window=(7,4),blocks=3,channels=16,components=5) {STEPS}"
    )
}
TRAININGS = {**LARGE_WINDOW, **BY_WINDOW, **BY_PRIOR, **UNCONDITIONAL, **IN_COLOR}

#: Test NLL / KL on dynamic MNIST, Variational Lossy Autoencoder (Chen et al., 2017), of decoders of a window 13 x 6.
PUBLISHED = {"mnist-pixelcnn": "87.55 / 0", "mnist-lossy-15x8": "78.94 / 11.73"}
ABOUT_PUBLISHED = (
    "Published, by Variational Lossy Autoencoder (Chen et al., 2017): all of MNIST, 4,096 samples, decoders that see 6 "
    "rows above and 6 columns on each side. Not comparable with minutes on 10,000 images."
)
ABOUT_COLOR = "Trained on 2,000 images: not comparable with published bits/dim, of models trained on all 50,000."


def run(folders: Folders) -> list[Row]:
    """One row per training."""
    data, work = folders.data, folders.work
    train_all({name: _words(name, data) for name in TRAININGS}, work)
    measured = measure_all([work / name for name in TRAININGS])
    found = {
        name: {"run": name, "training": words, **figures}
        for (name, words), figures in zip(TRAININGS.items(), measured, strict=True)
    }
    for name, row in found.items():
        baseline = name.replace("-mae-", "-vae-").replace("-flow-", "-plain-")
        if baseline != name:
            row |= worse(row, found[baseline])
    windows = {name.removeprefix("mnist-lossy-"): work / name for name in BY_WINDOW}
    draw_codes(windows, folders.results / "windows.png")
    draw_samples(work / next(iter(IN_COLOR)), folders.results / "color.png")
    return [{key: value for key, value in row.items() if key != "nll_per_datum"} for row in found.values()]


def page(rows: Sequence[Row]) -> list[str]:
    found = {row["run"]: {**row, "published": PUBLISHED.get(row["run"])} for row in rows}
    compared = "nll nll_stderr unreliable worse worse_stderr elbo kl active_units"
    in_color = [row["run"] for row in rows if row["bits_per_dim"] is not None]
    of_mnist = (*UNCONDITIONAL, "mnist-vae-seed0", *BY_WINDOW, "mnist-mae-seed0")
    sections = {
        "A large window: the plain VAE and the MAE loss": _table(
            found, LARGE_WINDOW, f"{compared} probe epochs minutes"
        ),
        "Windows, without free bits, one training each": [
            *_table(
                found, BY_WINDOW, "nll nll_stderr unreliable elbo reconstruction kl active_units probe epochs minutes"
            ),
            "",
            "![originals, and what each model draws at their codes](windows.png)",
        ],
        "The prior, with a factorized decoder": _table(found, BY_PRIOR, f"{compared} epochs minutes"),
        "All systems on MNIST, seed 0": [
            *_table(found, of_mnist, "nll nll_stderr kl probe minutes published"),
            "",
            ABOUT_PUBLISHED,
        ],
        "Color": [
            *_table(found, in_color, "bits_per_dim nll nll_stderr kl epochs minutes"),
            *("", ABOUT_COLOR, "", "![originals, what the model draws at their codes, samples](color.png)"),
        ],
        "Data": [f"- {data}" for data in dict.fromkeys(row["data"] for row in rows)],
        "Estimators of log p(x)": [f"- {each}" for each in dict.fromkeys(row["estimator"] for row in rows)],
        "Trainings": ["`pyro_vaes train` with", "", *(f"- {row['run']}: `{row['training']}`" for row in rows)],
    }
    return [line for title, lines in sections.items() for line in (f"## {title}", "", *lines, "")][:-1]


def _words(name: str, data: Path) -> list[str]:
    return [*words(TRAININGS[name], data), "--data-root", str(data)]


def _table(found: Mapping[str, Row], runs: Iterable[str], columns: str) -> list[str]:
    return figures_table([found[run] for run in runs], columns)
