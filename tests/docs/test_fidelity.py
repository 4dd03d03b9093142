"""The table of recipes beside their sources: a row for each settings of each recipe, written for these settings."""

from dataclasses import replace

import pytest
import yaml

from pyro_vaes.recipes import RECIPES
from tests.helpers import ROOT
from tests.helpers.tables import load_tables

SOURCES = yaml.safe_load((ROOT / "docs" / "fidelity.yaml").read_text(encoding="utf-8"))
tables = load_tables()


def parted(recipe, rows):
    """What rows lack of the settings of a recipe, or say otherwise."""
    here = {title: tables.described(settings) for title, settings in tables.variants(recipe).items()}
    written = {row["settings"]: row["here"] for row in rows}
    return {title: here.get(title) for title in here.keys() | written.keys() if here.get(title) != written.get(title)}


def test_every_recipe_has_a_source():
    assert set(SOURCES) == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_and_its_rows_are_the_same(name):
    rows = SOURCES[name]["rows"]
    assert len({row["settings"] for row in rows}) == len(rows)
    assert not parted(RECIPES[name], rows), "settings changed: judge these rows of docs/fidelity.yaml anew"


@pytest.mark.parametrize("name", RECIPES)
def test_every_row_says_what_was_published_and_why_it_differs(name):
    assert len(SOURCES[name]["source"]) > 20
    for row in SOURCES[name]["rows"]:
        assert set(row) == {"settings", "published", "here", "why"}
        assert len(row["why"].split()) > 5
        assert row["published"].strip()


def test_a_changed_a_missing_and_a_superfluous_setting_are_found():
    laplace, rows = RECIPES["laplace"], SOURCES["laplace"]["rows"]
    assert parted(replace(laplace, small=replace(laplace.small, lr=0.5)), rows).keys() == {"small"}
    published = {data: replace(settings, epochs=1999) for data, settings in laplace.published.items()}
    assert parted(replace(laplace, published=published), rows).keys() == laplace.published.keys()
    assert parted(replace(laplace, published=laplace.published | {"svhn": laplace.small}), rows).keys() == {"svhn"}
    assert parted(replace(laplace, published={}), rows) == dict.fromkeys(laplace.published)


def test_the_page_has_every_row():
    page = tables.fidelity()
    for name, recipe in RECIPES.items():
        assert f"**{name}**: " in page
        assert all(tables.described(settings) in page for settings in tables.variants(recipe).values())
    assert "{{ fidelity }}" in (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
