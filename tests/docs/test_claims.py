"""What README and pages claim: result figures are read from result files, and comparisons stand beside an interval."""

import re

import pytest

from tests.helpers import ROOT
from tests.helpers.markdown_files import BLOCK, PAGES, README
from tests.helpers.tables import load_tables

TEXTS = [README, *PAGES]

#: Words that compare, which need the figure that they rest on.
CLAIM = re.compile(
    r"\b(faster|slower|quicker|cheap(er|est|ly)?|better|worse|superior|outperforms?|beats|for free|at no cost|"
    r"state of the art|speed-?up|twice as|half the time)\b",
    re.IGNORECASE,
)
INTERVAL = re.compile(r"\[[-+]?[\d.,]*\d, [-+]?[\d.,]*\d\]")
REFERENCE = re.compile(r"\([^()]*\b(19|20)\d\d\)")

#: Numbers with the unit or the error of something measured; the levels of intervals are not.
FIGURE = re.compile(r"\d ?(nats|ms|MiB|MB|GB|%)(?!\w)|\d ?± ?\d|\d \[[-+]?\d")
LEVEL = re.compile(r"\b(50 and )?(95|1) %")


def prose(text):
    """A page without what states nothing: code, formulas, comments, and the addresses of links."""
    for nothing in (BLOCK, re.compile(r"`[^`\n]+`"), re.compile(r"\$\$.*?\$\$", re.DOTALL), re.compile(r"<!--.*?-->")):
        text = nothing.sub(" ", text)
    return re.sub(r"\]\([^)\s]*\)", "]", text)


def sentences(text):
    """The sentences of a page; an item of a list, a heading and a row of a table are each at least one."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*>] |[|#:]|\d\. ))", text):
        yield from re.split(r"(?<=[.!?;])\s+", " ".join(paragraph.split()))


def unfounded(text):
    """The sentences that compare without an interval or the reference of a paper."""
    found = [each for each in sentences(prose(text)) if CLAIM.search(each)]
    return [each for each in found if not (INTERVAL.search(each) or REFERENCE.search(each))]


def typed(text):
    """The figures of results that are typed."""
    return [found[0] for found in FIGURE.finditer(LEVEL.sub("", prose(text)))]


def without_generated(text):
    """The README without what ``docs/tables.py`` wrote into it."""
    names = "|".join([*load_tables().quoted(), "results"])
    return re.sub(rf"<!-- ({names}) -->.*?<!-- end -->", "", text, flags=re.DOTALL)


def filled(text):
    """A page with its tables and figures."""
    texts = load_tables().generated()
    return re.sub(r"\{\{ (\w+) \}\}", lambda name: texts[name[1]], text)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_that_compare_stand_beside_an_interval_or_the_reference_of_a_paper(path):
    assert not unfounded(filled(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_figure_of_a_result_is_typed(path):
    assert not typed(without_generated(path.read_text(encoding="utf-8")))


def test_every_quoted_figure_is_used_and_has_an_interval():
    used = "\n".join(path.read_text(encoding="utf-8") for path in TEXTS)
    for name, text in load_tables().quoted().items():
        assert f"<!-- {name} -->" in used or f"{{{{ {name} }}}}" in used
        assert INTERVAL.search(text)


def test_a_quoted_figure_is_that_of_its_result_file():
    tables = load_tables()
    ratio = tables._rows(tables.RESULTS / "step" / "results.json", "MeanField()")[0]["ratio"]["stock SVI"]
    low, high = ratio["quartiles"]
    assert tables.quoted()["step_svi"] == f"{ratio['median']:.2f} [{low:.2f}, {high:.2f}]"


def test_claims_without_a_foundation_are_found():
    assert unfounded("It is faster. It takes 0.5 [0.4, 0.6] of the time, and so is faster.") == ["It is faster."]
    assert not unfounded("RME is better (Kim, Pavlovic, 2020).")
    assert not unfounded("```\nfaster\n```\n")
    assert unfounded("| a | cheap |")


def test_typed_figures_are_found():
    assert typed("It gains 3.1 nats, in 5 ms, at 70 %, or 1.2 ± 0.1, 1.5 [1.4, 1.6].") == [
        "1 nats", "5 ms", "0 %", "2 ± 0", "5 [1",
    ]  # fmt: skip
    assert not typed("A 95 % interval over 5 seeds; 50 and 95 % of its mass; `1 ms`.")
