"""The text above and below the table of a comparison: how it was made, how to read it, and what follows."""

from __future__ import annotations

import statistics

import torch

from pyro_vaes.reports.advice import Candidate, advise
from pyro_vaes.reports.cells import flagged
from pyro_vaes.reports.compare_summary import Comparison, paired
from pyro_vaes.reports.measurement import part
from pyro_vaes.reports.sweep import written
from pyro_vaes.settings import Settings

COSTS = ("inference_ms", "train_seconds")


def preamble(comparison: Comparison) -> list[str]:
    """The text above the table, lines in Markdown."""
    settings, data, seeds = comparison.settings, comparison.data, comparison.seeds
    device = next(comparison.trials[0].system.model.parameters()).device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    measured = comparison.trials[0].measured
    size = part(len(measured.gap), len(data.test))
    lines = [
        f"# Guides compared on {data.name}",
        "",
        f"- Data: {data.description}.",
        *(_of_frozen_model(comparison, size) if comparison.frozen else _of_models(comparison, size)),
        f"- Held equal: {_held_equal(comparison)}. Batch {settings.batch_size}, {settings.optimizer} {settings.lr:g}"
        f"{_options(settings)}, seeds {', '.join(map(str, seeds))}; weights of the best validation ELBO; {where}, "
        f"torch {torch.__version__}.",
        f"- ELBO of the guide, {measured.bounds.num_samples} samples per image; gap: log p(x) - ELBO = KL(q ‖ p), in "
        "nats per image, with its 95 % interval. Where the k-hat of the guide's own weights is above 0.7, it misses "
        "mass of the posterior.",
        *(f"- Varied, in place of what stands above: {written(*each)}." for each in comparison.varied.items()),
        "- Overfitting: training ELBO - validation ELBO at the best epoch, the mean over seeds.",
    ]
    if comparison.diagnoses:
        lines.append(
            "- Approximation gap, what the guide's family cannot reach, and amortization gap, what its encoder loses: "
            f"of seed {seeds[0]} on {len(comparison.diagnoses[0].gaps.gap)} of the images alone."
        )
    if len(comparison.groups) > 1:
        lines.append(_differences(comparison))
    return lines


def advice(comparison: Comparison) -> list[str]:
    """The advice below the table, if there is a diagnosis of the first guide."""
    values = paired(comparison, lambda trial: trial.measured.gap)
    if not (comparison.diagnoses and values):
        return []
    gaps = comparison.diagnoses[0].gaps
    candidates = [
        Candidate(name, values[name], *(statistics.mean(trial.row[each] for trial in group) for each in COSTS))
        for name, group in comparison.groups.items()
    ]
    return advise(candidates, gaps.approximation_gap, gaps.amortization_gap, same_model=bool(comparison.frozen))


def _of_frozen_model(comparison: Comparison, size: str) -> list[str]:
    assert comparison.frozen is not None
    marginal = comparison.trials[0].measured.marginal
    figure = flagged(f"{marginal.mean:.2f} ± {marginal.stderr:.2f}", marginal.unreliable)
    return [
        f"- Model: {comparison.frozen.name}, frozen; the guides alone are trained.",
        f"- log p(x) of the model: {figure} nats, ± the standard error over {size} images of the test split, by "
        f"adaptive importance sampling, {marginal.num_samples} samples per image and round; flagged with the share of "
        "images for which it cannot be trusted, if any.",
    ]


def _of_models(comparison: Comparison, size: str) -> list[str]:
    settings, marginal = comparison.settings, comparison.trials[0].measured.marginal
    hidden = "-".join(map(str, settings.hidden))
    return [
        f"- Model: VAE with a {settings.prior} prior of {settings.latent_dim} dimensions, {settings.likelihood} "
        f"likelihood and {settings.network} networks {hidden}, one per guide and seed, trained jointly with it.",
        f"- log p(x): that of the model, in nats per image, the mean over seeds and {size} images of the test split, "
        f"by adaptive importance sampling, {marginal.num_samples} samples per image and round, whatever the guide; "
        "flagged with the share of images for which it cannot be trusted, if any.",
    ]


def _held_equal(comparison: Comparison) -> str:
    """The conditions that the trainings have in common."""
    settings = comparison.settings
    start = "the model, the data order" if comparison.frozen else "the initial decoder, the data order"
    if comparison.varied:
        start = "the data order"
    if comparison.minutes is not None:
        return f"{start} and the time, {comparison.minutes:g} minutes per training"
    if settings.patience is not None and settings.patience < settings.epochs:
        return (
            f"{start} and convergence, each training until its validation ELBO has not risen for {settings.patience} "
            f"epochs, at most {settings.epochs} epochs"
        )
    return f"{start} and the number of epochs, {settings.epochs} epochs, after which what learns fast is ahead"


def _options(settings: Settings) -> str:
    """The options of the training that are not always there."""
    schedule = "" if settings.schedule is None else f", {settings.schedule}"
    clipping = "" if settings.clip_norm is None else f", gradients clipped at {settings.clip_norm:g}"
    return schedule + clipping


def _differences(comparison: Comparison) -> str:
    covered = "as for new seeds and new images"
    if len(comparison.shared_seeds) < 2:
        covered = "over images alone, seeds are not covered"
    first, what = comparison.trials[0].guide, "ELBO" if comparison.frozen else "log p(x)"
    return (
        f"- Δ: {what} above {first}, paired over seeds and images, with its 95 % interval, {covered}, and "
        f"Satterthwaite's degrees of freedom (df); rank: of {what}, a range where differences are not distinguishable."
    )
