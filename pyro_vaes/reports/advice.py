"""Advice on the guides of a report, drawn from its figures and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pyro_vaes.evaluate import MeanInterval, difference, mean_interval


@dataclass(frozen=True)
class Candidate:
    """A guide of a report.

    Attributes:
        name: its name.
        gap: log p(x) - ELBO by seed and datum, ``(R, N)``, on the same seeds and data as that of the others.
        inference_ms: milliseconds to infer the posteriors of 128 data.
        train_seconds: seconds of its training; None if unknown.
    """

    name: str
    gap: Tensor
    inference_ms: float
    train_seconds: float | None = None


def advise(
    candidates: Sequence[Candidate], approximation_gap: Tensor, amortization_gap: Tensor, same_model: bool
) -> list[str]:
    """Two sentences: how the gap of the first guide divides into its parts, and which guide closes how much of it.

    Nothing is said that the intervals do not allow.

    Args:
        candidates: the guides; the first is the one that others are compared with.
        approximation_gap: that of the first guide for some data, ``(M,)``.
        amortization_gap: that of the first guide for the same data.
        same_model: whether all guides are those of one model, so that their gaps are to the same log p(x).

    Example:
        >>> noise = torch.tensor([-0.1, 0.1]).repeat(50)
        >>> gaps = [(4 + noise).expand(2, 100), (1 - noise).expand(2, 100)]
        >>> first, second = Candidate("a", gaps[0], inference_ms=0.5), Candidate("b", gaps[1], inference_ms=2.0)
        >>> first_sentence, second_sentence = advise([first, second], 0.5 + noise, 3.5 - noise, same_model=True)
        >>> first_sentence
        "a: of its gap of 4.00 nats on 100 images, the encoder loses 3.50 [3.48, 3.52] and the family cannot reach
        0.50 [0.48, 0.52]: most of it is the encoder's."
        >>> second_sentence
        "b closes 3.00 [2.96, 3.04] of a's 4.00 nats, at 4.0 times the time of inference
        (2.00 ms per 128 images against 0.50)."
    """
    first, *others = candidates
    gap = mean_interval((approximation_gap + amortization_gap).unsqueeze(0))
    if gap.low <= 0:
        return [f"{first.name}: its gap of {_interval(gap)} nats is not distinguishable from 0."]
    return [_division(first.name, gap, approximation_gap, amortization_gap), _closing(first, others, same_model)]


def _division(name: str, gap: MeanInterval, approximation_gap: Tensor, amortization_gap: Tensor) -> str:
    """The parts of a gap, and which one is more than half of it."""
    family, encoder = (mean_interval(each.unsqueeze(0)) for each in (approximation_gap, amortization_gap))
    excess = difference(amortization_gap.unsqueeze(0), approximation_gap.unsqueeze(0))
    if excess.holds_zero:
        verdict = "which of the two is the larger part is not distinguishable"
    else:
        verdict = f"most of it is the {'encoder' if excess.low > 0 else 'family'}'s"
    return (
        f"{name}: of its gap of {gap.mean:.2f} nats on {len(approximation_gap)} images, the encoder loses "
        f"{_interval(encoder)} and the family cannot reach {_interval(family)}: {verdict}."
    )


def _closing(first: Candidate, others: Sequence[Candidate], same_model: bool) -> str:
    """The guide that closes most of a gap, and at what cost; of those that are not distinguishable the fastest."""
    if not others:
        return "pyro-vaes compare --model RUN says which guide would close it on this model."
    closed = {each.name: difference(first.gap, each.gap) for each in others}
    closing = [each for each in others if closed[each.name].low > 0]
    if not closing:
        return "No other guide of the table closes a part of it that is distinguishable from 0."
    most = min(closing, key=lambda each: each.gap.mean().item())
    alike = [each for each in closing if each is most or difference(each.gap, most.gap).holds_zero]
    chosen = min(alike, key=lambda each: each.inference_ms)
    subject = chosen.name if same_model else f"{chosen.name}, with a model of its own,"
    cost = (
        f"{chosen.inference_ms / first.inference_ms:.1f} times the time of inference ({chosen.inference_ms:.2f} ms per "
        f"128 images against {first.inference_ms:.2f})"
    )
    if chosen.train_seconds and first.train_seconds:
        cost += f" and {chosen.train_seconds / first.train_seconds:.1f} times that of training"
    return (
        f"{subject} closes {_interval(closed[chosen.name])} of {first.name}'s {first.gap.mean():.2f} nats, at {cost}."
    )


def _interval(found: MeanInterval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"
