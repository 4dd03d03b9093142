"""Single-cell counts: log p(x) under three likelihoods and three guides, and checks of zeros and variance.

1,860 cells of the 10x Genomics PBMC 1k set: 1,340 train, 148 valid, 372 test; of its 2,000 genes the 500 of largest
variance among the training cells. Poisson, negative binomial with a dispersion for each gene, and zero-inflated
negative binomial; each likelihood with each guide, 3 seeds: 10 latents, networks with one hidden layer of 128, learning
rate 0.005, 60 epochs, the weights of the best validation ELBO. Equal epochs are neither convergence nor equal time:
where the best epoch is one of the last, the validation ELBO was still rising.

Settings were chosen by the validation ELBO of mean-field models of all 2,000 genes, seed 0, learning rate 0.001,
patience 10, at most 150 epochs: Poisson with 5, 10 and 20 latents reached -2240.6, -2203.6 and -2220.2 nats, hence 10;
the negative binomial with 5 reached -2149.3 and was still rising, hence a larger learning rate, and fewer genes for the
time.

log p(x) of the first 100 test cells, in nats: `evaluate.marginal_log_likelihood` with 400 draws per round. Means and
differences have 95 % t intervals over seeds and cells; differences are paired over both. k-hat > 0.7: share of the
estimates that are not to be trusted, after those of adaptive importance sampling that were not went on to annealing.
The densities are of the same counts, so that likelihoods can be compared.

Predictive checks by `evaluate.predictive_check` of the mean-field models of the first seed, all test cells, 50
replications: each cell replicated from its own latent, or new cells drawn from the model. For each gene: share of cells
without a count, and variance, whose excess over the mean is α in variance = mean + α mean²; α is that of genes with a
mean of 0.1 or more. "off": share of the genes whose observed figure lies outside the central 95 % of the replications.

DATA holds `pbmc1k-counts.npz`, of `x_train` and `x_test`, cells by genes; WORK gets the trainings and finished results,
from which an interrupted call goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.helpers.estimated_models import kept
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import train_all
from pyro_vaes.evaluate import (
    MeanInterval,
    PredictiveCheck,
    difference,
    marginal_log_likelihood,
    mean_interval,
    predictive_check,
)
from pyro_vaes.evaluate.marginal.estimate import METHODS
from pyro_vaes.recipes.spec import slug
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.runs.load_run import load_run

FILE, GENES = "pbmc1k-counts.npz", 500
LIKELIHOODS = ("negative-binomial", "zero-inflated(likelihood='negative-binomial')", "poisson")  # the first one: base
GUIDES = ("mean-field", "full-covariance", "laplace(updates=1)")
SEEDS = range(3)
TRAINING = "--latent-dim 10 --hidden 128 --lr 0.005 --epochs 60"
CELLS, DRAWS, REPLICATIONS = 100, 400, 50
LEAST_MEAN = 0.1  # of a gene whose dispersion is compared
KINDS = {"cells' own latents": True, "new cells": False}  # whether the guide gives the latents

Estimates = Mapping[tuple[str, str], Tensor]  # of likelihood and guide, (seeds, cells)


def run(folders: Folders) -> list[Row]:
    """One row per likelihood and guide, one per difference, and one per predictive check."""
    genes = folders.work / "genes.npz"
    _keep_genes(folders.data / FILE, genes)
    cases = [(each, guide, seed) for each in LIKELIHOODS for guide in GUIDES for seed in SEEDS]
    runs = {case: folders.work / slug("-".join(map(str, case))) for case in cases}
    jobs = {path.name: [*_flags(*case), "--data", str(genes)] for case, path in runs.items()}
    train_all(jobs, folders.work)
    found = {case: kept(path / "estimate.json", partial(_estimate, path)) for case, path in runs.items()}
    rows = [
        _model_row(each, guide, [found[each, guide, seed] for seed in SEEDS]) for each, guide, _ in cases[:: len(SEEDS)]
    ]
    values = {
        (each, guide): torch.tensor([found[each, guide, seed]["per_datum"] for seed in SEEDS])
        for each, guide, _ in cases
    }
    checked = {each: runs[each, GUIDES[0], SEEDS[0]] for each in LIKELIHOODS}
    checks = {each: kept(path / "check.json", partial(_check, path)) for each, path in checked.items()}
    _draw(checks).savefig(folders.results / "checks.png", dpi=100)
    return [
        *rows,
        *_differences(values),
        *(_check_row(each, kind, checks[each][kind]) for each in checks for kind in KINDS),
    ]


def page(rows: Sequence[Row]) -> list[str]:
    """Tables of the models, of their differences and of the checks, and the figure."""
    of = {name: [row for row in rows if row["table"] == name] for name in ("model", "difference", "check")}
    models = ["likelihood", "guide", "log p(x)", "k-hat > 0.7", "annealed", "best epoch"]
    check = ["likelihood", "replications", "zeros, mean absolute error", "zeros off", "variance ratio", "variance off"]
    check += ["α, median", "α observed"]
    return [
        markdown_table(models, [_model_cells(row) for row in of["model"]]),
        "",
        markdown_table(["log p(x) of", "less that of", "nats"], [_difference_cells(row) for row in of["difference"]]),
        "",
        markdown_table(check, [_check_cells(row) for row in of["check"]]),
        "",
        "![share of zeros, and variance against mean, of each gene](checks.png)",
    ]


def _keep_genes(source: Path, to: Path) -> None:
    """Write the genes of largest variance among the training cells."""
    with np.load(source) as counts:
        train, test = counts["x_train"], counts["x_test"]
    kept_genes = np.sort(np.argsort(-train.var(0), kind="stable")[:GENES])
    to.parent.mkdir(parents=True, exist_ok=True)
    np.savez(to, x_train=train[:, kept_genes], x_test=test[:, kept_genes])


def _flags(likelihood: str, guide: str, seed: int) -> list[str]:
    return ["vae", "--likelihood", likelihood, "--guide", guide, "--seed", str(seed), *TRAINING.split()]


def _estimate(path: Path) -> Row:
    """log p(x) of the test cells under one model, and the best epoch of its training."""
    data, system, history, _ = load_run(path, device="cpu")
    found = marginal_log_likelihood(system.model, data.test.x[:CELLS], system.guide, DRAWS, out=path / "chunks")
    return {
        "per_datum": found.per_datum.tolist(),
        "unreliable": found.unreliable,
        "annealed": found.method.count(METHODS[-1]) / CELLS,
        "best_epoch": 1 + max(range(len(history)), key=lambda index: history[index]["valid_elbo"]),
        "epochs": len(history),
    }


def _model_row(likelihood: str, guide: str, seeds: Sequence[Row]) -> Row:
    return {
        "table": "model",
        "likelihood": likelihood,
        "guide": guide,
        **_interval(mean_interval(torch.tensor([each["per_datum"] for each in seeds]))),
        **{name: [each[name] for each in seeds] for name in ("unreliable", "annealed", "best_epoch", "epochs")},
    }


def _differences(values: Estimates) -> list[Row]:
    """Likelihoods less the first under each guide, and guides less the first under each likelihood."""
    pairs = [((each, guide), (LIKELIHOODS[0], guide)) for guide in GUIDES for each in LIKELIHOODS[1:]]
    pairs += [((each, guide), (each, GUIDES[0])) for each in LIKELIHOODS for guide in GUIDES[1:]]
    return [
        {"table": "difference", "of": one, "less": other, **_interval(difference(values[one], values[other]))}
        for one, other in pairs
    ]


def _interval(found: MeanInterval) -> Row:
    return {"mean": found.mean, "low": found.low, "high": found.high, "degrees_of_freedom": found.degrees_of_freedom}


# --- predictive checks -------------------------------------------------------------------------------------------


def _check(path: Path) -> Row:
    """Both checks of one model: figures of every gene."""
    data, system, *_ = load_run(path, device="cpu")
    x = data.test.x
    return {
        kind: _figures(predictive_check(system.model, x, system.guide if own else None, num_replications=REPLICATIONS))
        for kind, own in KINDS.items()
    }


def _figures(check: PredictiveCheck) -> Row:
    observed = {f"observed_{name}": value.tolist() for name, value in check.observed.items()}
    replicated = {f"replicated_{name}": value.tolist() for name, value in check.means.items()}
    return {**observed, **replicated, **{f"p_{name}": value.tolist() for name, value in check.p_values.items()}}


def _check_row(likelihood: str, kind: str, figures: Row) -> Row:
    """Summary over the genes."""
    of = {name: torch.tensor(values) for name, values in figures.items()}
    compared = of["observed_mean"] >= LEAST_MEAN
    dispersion = {
        name: _dispersion(of[f"{name}_mean"], of[f"{name}_variance"])[compared] for name in ("observed", "replicated")
    }
    return {
        "table": "check",
        "likelihood": likelihood,
        "replications": kind,
        "zeros_error": (of["replicated_zeros"] - of["observed_zeros"]).abs().mean().item(),
        "variance_ratio": (of["replicated_variance"] / of["observed_variance"]).median().item(),
        **{
            f"{name}_off": ((of[f"p_{name}"] - 0.5).abs() > 0.475).double().mean().item()
            for name in ("zeros", "variance")
        },
        **{f"{name}_dispersion": value.median().item() for name, value in dispersion.items()},
    }


def _dispersion(mean: Tensor, variance: Tensor) -> Tensor:
    """α in variance = mean + α mean²."""
    return (variance - mean) / mean.square()


def _draw(checks: Mapping[str, Row]) -> Figure:
    """Share of zeros, observed and replicated, and variance against mean, of every gene; a column per likelihood."""
    figure = Figure(figsize=(4 * len(checks), 7), layout="constrained")
    for (zeros, moments), (name, check) in zip(figure.subplots(2, len(checks)).T, checks.items(), strict=True):
        of = check["cells' own latents"]
        zeros.plot([0, 1], [0, 1], color="0.7", zorder=0)
        zeros.scatter(of["observed_zeros"], of["replicated_zeros"], s=6)
        zeros.set(title=_name(name), xlabel="observed share of zeros", ylabel="replicated")
        for kind, color in (("observed", "0.5"), ("replicated", "C0")):
            moments.scatter(of[f"{kind}_mean"], of[f"{kind}_variance"], s=6, color=color, label=kind)
        moments.axline((1, 1), (10, 10), color="0.7", zorder=0)
        moments.set(xscale="log", yscale="log", xlabel="mean", ylabel="variance")
        moments.legend(fontsize=8)
    return figure


# --- page ----------------------------------------------------------------------------------------------------------


def _name(likelihood: str) -> str:
    """A likelihood without its options, which the text of the page states."""
    return likelihood.partition("(")[0]


def _model_cells(row: Row) -> list[str]:
    shares = [f"{100 * sum(row[name]) / len(row[name]):.1f} %" for name in ("unreliable", "annealed")]
    text = f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    return [_name(row["likelihood"]), row["guide"], text, *shares, ", ".join(map(str, row["best_epoch"]))]


def _difference_cells(row: Row) -> list[str]:
    found = MeanInterval(row["mean"], row["low"], row["high"], row["degrees_of_freedom"], len(SEEDS))
    pairs = [f"{_name(likelihood)}, {guide}" for likelihood, guide in (row["of"], row["less"])]
    return [*pairs, found.describe()]


def _check_cells(row: Row) -> list[str]:
    return [
        _name(row["likelihood"]),
        row["replications"],
        f"{row['zeros_error']:.3f}",
        f"{row['zeros_off']:.0%}",
        f"{row['variance_ratio']:.2f}",
        f"{row['variance_off']:.0%}",
        f"{row['replicated_dispersion']:.2f}",
        f"{row['observed_dispersion']:.2f}",
    ]
