"""The diagnosis of one trained pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from pyro_vaes.evaluate import Calibration, InferenceGaps, MarginalLogLikelihood, ReferenceComparison
from pyro_vaes.vae import LatentVariableModel


@dataclass(frozen=True)
class NamedPair:
    """A trained pair to report on.

    Attributes:
        name: what the report calls it.
        model: the model.
        guide: its guide.
        history: ``Run.history`` of its training.
        note: a remark on its training, such as that it was interrupted.
        marginal: log p(x) of the model, of the data that the report is on, where it is known.
    """

    name: str
    model: LatentVariableModel
    guide: nn.Module
    history: Sequence[Mapping[str, float]] = ()
    note: str = ""
    marginal: MarginalLogLikelihood | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The findings about a pair.

    Attributes:
        pair: the pair.
        gaps: the inference gaps of the images.
        calibrated: its calibration on data from its own model; None where size factors allow none.
        reference: its comparison with NUTS on the first images, if asked for.
        worst: indices of the images with the largest gaps, among those looked at.
        covariances: covariances of the guide for the first images, ``(N, Z, Z)``.
        draws: draws of the guide for these images, and as its importance weights correct them, each ``(S, N, Z)``.
        rebuilt: mean of E[x | z] over the guide's draws of these images, ``(N, *event_shape)``.
        numbers: all figures, as the JSON and the page have them.
    """

    pair: NamedPair
    gaps: InferenceGaps
    calibrated: Calibration | None
    reference: ReferenceComparison | None
    worst: list[int]
    covariances: Tensor
    draws: tuple[Tensor, Tensor]
    rebuilt: Tensor
    numbers: dict[str, Any] = field(default_factory=dict)
