"""A report on inference: the gap and its parts, the images with the largest gaps, and how reliable the figures are."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vaes.data import Data, Split
from pyro_vaes.data.check import check_data
from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import (
    Calibration,
    InferenceGaps,
    ReferenceComparison,
    active_units,
    calibration,
    compare_with_reference,
    inference_gaps,
    inference_ms,
    mutual_information,
    posterior_covariance,
    posterior_means,
    reference_posterior,
    to_arviz,
)
from pyro_vaes.evaluate.calibration import CREDIBILITIES
from pyro_vaes.evaluate.inputs import evaluating, of_split
from pyro_vaes.given import split, take
from pyro_vaes.missing import missing_values
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.reports.advice import Candidate, advise
from pyro_vaes.reports.diagnosis import Diagnosis, NamedPair
from pyro_vaes.reports.diagnosis_page import write_page
from pyro_vaes.runs.atomic import write_whole
from pyro_vaes.vae import LatentVariableModel
from pyro_vaes.validation import check_whole

IMAGES = 50  # in a report, unless given
WORST = 10  # images shown
INFORMATION = 1000  # test data for the mutual information, which takes the square of their number
BATCH = 128  # images whose inference is timed
COVARIANCES = 6  # images whose posterior covariances are shown
DRAWS = 400  # of a posterior that is shown

PAGE, FIGURES = "diagnosis.html", "diagnosis.json"


def diagnose(
    pairs: Sequence[NamedPair] | Mapping[str, tuple[LatentVariableModel, nn.Module]],
    data: Data,
    out: str | os.PathLike[str],
    images: int | Tensor | None = None,
    num_samples: int = 1000,
    num_steps: int = 150,
    reference: int = 0,
    seed: int = 0,
    progress: bool = True,
) -> list[Diagnosis]:
    """Write ``diagnosis.html``, one page that needs no network, and ``diagnosis.json`` with the same figures.

    Args:
        pairs: the pairs, or ``(model, guide)`` by name; the first is the one that others are compared with.
        data: what they were trained on; the report is on images of its test split.
        out: the folder.
        images: number of images, evenly spaced, or their indices; by default 50, or all where there are fewer.
        num_samples: draws of the guide per image.
        num_steps: steps of the per-datum optimization that tells approximation from amortization.
        reference: number of these images, from the first, whose posterior NUTS samples; tens of seconds each.
        seed: fixes all draws; the random state is left as it was.
        progress: whether to show a bar.

    Raises:
        InputError: If there are no pairs, names that repeat, or fewer images than asked for.
    """
    if isinstance(pairs, Mapping):
        pairs = [NamedPair(name, *pair) for name, pair in pairs.items()]
    names = [pair.name for pair in pairs]
    if not names or len(set(names)) < len(names):
        raise InputError(f"pairs are {', '.join(names) or 'none'}: give at least one, each under a name of its own")
    check_data(data)
    check_whole("reference", reference, least=0)
    chosen = min(IMAGES, len(data.test)) if images is None else images
    images = len(chosen) if isinstance(chosen, Tensor) else chosen
    if not 2 <= images <= len(data.test) or reference > images:
        raise InputError(
            f"images is {images} and reference {reference}: expected 2 to {len(data.test)} of the test split's images, "
            "and no more references than images"
        )
    rows = chosen if isinstance(chosen, Tensor) else evenly_spaced(len(data.test), chosen)
    devices = sorted({p.device for pair in pairs for p in pair.model.parameters() if p.is_cuda}, key=str)
    diagnoses, x_test = [], data.test.x
    with torch.random.fork_rng(devices), missing_values(data.has_missing):
        for pair in tqdm(pairs, desc="diagnosing", unit=" guides", disable=not progress):
            torch.manual_seed(seed)
            diagnoses.append(_diagnosis(pair, data.test, x_test, rows, num_samples, num_steps, reference, progress))
        report = {
            "data": data.description,
            "split": "test",
            "images": images,
            "num_samples": num_samples,
            "num_steps": num_steps,
            "reference": reference,
            "seed": seed,
            "advice": advice(diagnoses),
            "guides": [diagnosis.numbers for diagnosis in diagnoses],
        }
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FIGURES, (json.dumps(report, indent=2) + "\n").encode())
        write_page(folder / PAGE, report, diagnoses, x_test[rows], data.as_pixels)
    return diagnoses


def _diagnosis(
    pair: NamedPair,
    test: Split,
    x_test: Tensor,
    rows: Tensor,
    num_samples: int,
    num_steps: int,
    reference: int,
    progress: bool,
) -> Diagnosis:
    whole = of_split(test, slice(None), pair.model, pair.guide)
    x, (model, guide) = x_test[rows], (take(each, rows) for each in whole)
    batch, guide_of_batch = next(split(BATCH, x_test, whole[1]))
    spread = evenly_spaced(len(x_test), INFORMATION)
    many, (model_of_many, guide_of_many) = x_test[spread], (take(each, spread) for each in whole)
    gaps = inference_gaps(model, guide, x, num_samples, num_steps, pair.marginal, progress)
    simulated = None if pair.model.likelihood.size_factors else calibration(model, guide)
    information = mutual_information(model_of_many, guide_of_many, many)
    compared, rhat = None, math.nan
    if reference:
        few, first, start = next(split(reference, x, model, guide))
        posterior = reference_posterior(first, few, progress=progress)
        compared, rhat = compare_with_reference(start, few, posterior), posterior.r_hat.max().item()
    worst = gaps.gap.argsort(descending=True)[:WORST].tolist()
    numbers = {
        "name": pair.name,
        "note": pair.note,
        **{name: {"mean": mean, "stderr": error} for name, (mean, error) in gaps.summary().items()},
        "guide_unreliable": _number(gaps.guide_unreliable),
        "unreliable": gaps.unreliable,
        "guide_pareto_k": [_number(k) for k in gaps.guide_pareto_k.tolist()],
        "pareto_k": [_number(k) for k in gaps.pareto_k.tolist()],
        "worst": [_image(gaps, index) for index in worst],
        "active_units": active_units(guide_of_many, many),
        "mutual_information": {
            "value": information.value,
            "stderr": information.stderr,
            "limit": information.limit,
        },
        "calibration": _calibration(simulated),
        "reference": None if compared is None else _reference(compared, rhat),
        "inference_ms": inference_ms(guide_of_batch, batch),
        "step_ms": statistics.median(row["step_ms"] for row in pair.history) if pair.history else None,
        "parameters": sum(p.numel() for module in (model, guide) for p in module.parameters()),
    }
    chosen = torch.tensor(worst)
    draws, rebuilt = _draws(take(model, chosen), take(guide, chosen), x[chosen])
    covariances = posterior_covariance(take(guide, slice(COVARIANCES)), x[:COVARIANCES]).cpu()
    return Diagnosis(pair, gaps, simulated, compared, worst, covariances, draws, rebuilt, numbers)


def advice(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """The sentences with which a report on these diagnoses ends, see :func:`pyro_vaes.reports.advice.advise`."""
    candidates = []
    for each in diagnoses:
        seconds = sum(row.get("seconds", 0.0) for row in each.pair.history)
        candidates.append(
            Candidate(each.pair.name, each.gaps.gap.unsqueeze(0), each.numbers["inference_ms"], seconds or None)
        )
    gaps, same_model = diagnoses[0].gaps, len({id(each.pair.model) for each in diagnoses}) == 1
    return advise(candidates, gaps.approximation_gap, gaps.amortization_gap, same_model)


@torch.no_grad()
def _draws(model: LatentVariableModel, guide: nn.Module, x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Draws of all continuous latents of each datum side by side, plain and as importance weights correct them.

    And the mean of E[x | z] over the plain ones, ``(N, *event_shape)``.
    """
    names = list(posterior_means(guide, x))
    groups = [to_arviz(model, guide, x, DRAWS, resample=resample).posterior for resample in (False, True)]
    plain, corrected = (
        torch.cat([torch.as_tensor(group[name].values).flatten(0, 1) for name in names], -1) for group in groups
    )
    with evaluating(model):
        latents = plain.to(reference_weight(model)).split(list(model.latent_dims), -1)
        return (plain, corrected), model.decode(*latents).mean(0)


def _image(gaps: InferenceGaps, index: int) -> dict[str, Any]:
    values = ("log_likelihood", "elbo", "gap", "approximation_gap", "amortization_gap", "pareto_k", "guide_pareto_k")
    return {"image": index, **{name: _number(getattr(gaps, name)[index].item()) for name in values}}


def _calibration(simulated: Calibration | None) -> dict[str, Any]:
    """Figures of a calibration, each None where there is none."""
    coverage = dict.fromkeys(CREDIBILITIES) if simulated is None else simulated.mean_coverage
    return {
        "calibrated": None if simulated is None else simulated.calibrated(),
        "smallest_p": None if simulated is None else simulated.adjusted.min().item(),
        "coverage": {f"{level:.0%}": share for level, share in coverage.items()},
    }


def _reference(compared: ReferenceComparison, rhat: float) -> dict[str, Any]:
    return {
        "distance": _number(compared.distance.nanmean().item()),
        "null": _number(compared.null.nanmean().item()),
        "r_hat": _number(rhat),
    }


def _number(value: float) -> float | None:
    """The value, or None in place of NaN and infinity, which JSON has not."""
    return value if math.isfinite(value) else None
