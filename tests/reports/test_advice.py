"""Advice on made-up figures: what is said, and what the intervals do not allow to be said."""

import pytest
import torch

from pyro_vaes.reports.advice import Candidate, advise

NOISE = torch.tensor([-0.1, 0.1]).repeat(50)


def candidate(name, gap, ms=1.0, seconds=None, noise=NOISE):
    return Candidate(name, (gap + noise).expand(3, 100), ms, seconds)


def parts(approximation, amortization, noise=NOISE):
    return approximation + noise, amortization - noise


@pytest.mark.parametrize(
    ("approximation", "amortization", "verdict"),
    [
        (0.5, 3.5, "most of it is the encoder's"),
        (3.5, 0.5, "most of it is the family's"),
        (2.0, 2.0, "which of the two is the larger part is not distinguishable"),
    ],
)
def test_the_larger_part_is_named_where_it_is_distinguishable(approximation, amortization, verdict):
    first, _ = advise([candidate("a", 4)], *parts(approximation, amortization), same_model=True)
    assert first.startswith("a: of its gap of 4.00 nats on 100 images, the encoder loses")
    assert f"the encoder loses {amortization:.2f} [{amortization - 0.02:.2f}, {amortization + 0.02:.2f}]" in first
    assert f"the family cannot reach {approximation:.2f} [" in first
    assert first.endswith(f": {verdict}.")


def test_noise_that_hides_the_larger_part_hides_the_verdict():
    first, _ = advise([candidate("a", 4)], *parts(1.8, 2.2, noise=100 * NOISE), same_model=True)
    assert first.endswith("is not distinguishable.")


def test_a_guide_without_a_gap_needs_no_advice():
    gap = torch.tensor([-1.0, 1.0]).repeat(50)
    assert advise([candidate("a", 0)], gap, 0 * gap, same_model=True) == [
        "a: its gap of 0.00 [-0.20, 0.20] nats is not distinguishable from 0."
    ]


def test_the_guide_that_closes_most_is_named_with_its_cost():
    guides = [candidate("a", 4, 0.5, 10), candidate("b", 2.5, 1.0, 15), candidate("c", 1, 6.0, 25)]
    _, second = advise(guides, *parts(1, 3), same_model=True)
    assert second == (
        "c closes 3.00 [3.00, 3.00] of a's 4.00 nats, at 12.0 times the time of inference (6.00 ms per 128 images "
        "against 0.50) and 2.5 times that of training."
    )


def test_of_guides_that_are_not_distinguishable_the_fastest_is_named():
    guides = [candidate("a", 4), candidate("slow", 1, 9.0), candidate("fast", 1.001, 3.0, noise=-3 * NOISE)]
    _, second = advise(guides, *parts(1, 3), same_model=True)
    assert second.startswith("fast closes 3.00 [")
    assert second.endswith("at 3.0 times the time of inference (3.00 ms per 128 images against 1.00).")


def test_a_guide_that_closes_nothing_for_sure_is_not_named():
    guides = [candidate("a", 4), candidate("b", 3.9, noise=30 * NOISE), candidate("worse", 5)]
    _, second = advise(guides, *parts(1, 3), same_model=True)
    assert second == "No other guide of the table closes a part of it that is distinguishable from 0."


def test_seeds_that_disagree_allow_no_advice():
    """Over images alone the difference would be sure; the seeds say otherwise."""
    gap = torch.tensor([[1.0], [4.5], [5.5]]).expand(3, 100)
    _, second = advise([candidate("a", 4), Candidate("b", gap, 1.0)], *parts(1, 3), same_model=True)
    assert second.startswith("No other guide")
    one_seed = [Candidate("a", (4 + NOISE).unsqueeze(0), 1.0), Candidate("b", gap[:1], 1.0)]
    assert advise(one_seed, *parts(1, 3), same_model=True)[1].startswith("b closes 3.00 [2.98, 3.02]")


def test_guides_of_other_models_are_said_to_be():
    _, second = advise([candidate("a", 4), candidate("b", 1)], *parts(1, 3), same_model=False)
    assert second.startswith("b, with a model of its own, closes 3.00 [")


def test_a_guide_alone_is_told_how_to_find_others():
    _, second = advise([candidate("a", 4)], *parts(1, 3), same_model=True)
    assert second == "pyro-vaes compare --model RUN says which guide would close it on this model."
