"""The site in a browser, on a desktop and on a phone, without a network."""

import importlib.util
import shutil
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.helpers import ROOT
from tests.helpers.browser import visit

WIDTHS = (1280, 390)
NEEDED = ("furo", "math_core", "myst_nb", "sphinx_design")

LACKING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium"),
    pytest.mark.skipif(bool(LACKING), reason="needs the extra docs: pip install '.[docs]'"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-c", "docs", ".", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def visited(site, tmp_path_factory):
    names = sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if "_modules" not in path.parts)
    names = [name for name in names if name not in ("index.html", "search.html")]
    visits = [(name, width, 0) for width in WIDTHS for name in names]
    visits.append(("search.html?q=VLAE", 1280, 2000))
    return visit(site, visits, tmp_path_factory.mktemp("profile"))


def found(visited, what):
    """What is on some page at some width, by both."""
    return {(page["name"], page["width"]): page[what] for page in visited[0] if page[what]}


def test_no_page_scrolls_sideways(visited):
    assert not found(visited, "overflow")


def test_nothing_is_clipped(visited):
    assert not found(visited, "clipped")


def test_code_is_no_wider_than_its_column(visited):
    assert not found(visited, "wide_code")


def test_nothing_is_asked_of_another_host(visited):
    assert not found(visited, "outside")


def test_the_console_stays_empty(visited):
    assert not visited[1]


def test_no_picture_is_shown_twice_on_a_page(visited):
    assert not found(visited, "twice")


def test_formulas_are_drawn_by_the_browser(visited):
    assert found(visited, "formulas")[("docs/systems/laplace.html", 1280)] > 5


def test_links_within_the_site_lead_somewhere(site, visited):
    ids = {page["name"]: set(page["ids"]) for page in visited[0] if page["width"] == WIDTHS[0]}
    for page in visited[0]:
        for link in page["links"]:
            parts = urlsplit(link)
            name = parts.path.lstrip("/")
            assert (site / name).is_file(), f"{page['name']} links {link}"
            if parts.fragment and name in ids:
                assert parts.fragment in ids[name] | {""}, f"{page['name']} links {link}"


def test_the_search_finds_an_abbreviation_of_the_literature(visited):
    text = visited[0][-1]["text"]
    assert "Names" in text
    assert "Laplace" in text
