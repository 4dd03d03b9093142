"""The commands that list: ``list``, what can be named, and ``runs``, what was trained."""

from __future__ import annotations

from typing import Any, Literal

from pyro_vaes.cli.output import say, table

Kind = Literal["guides", "priors", "likelihoods", "losses", "recipes", "datasets"]


def list_known(kind: Kind, /) -> list[dict[str, Any]]:
    """List the guides, priors, likelihoods, losses, recipes or data sets that can be named, with their options.

    Args:
        kind: what to list.
    """
    from pyro_vaes.cli.catalog import catalog

    entries = catalog(kind)
    for entry in entries:
        say(f"{entry['name']}: {entry['summary']}")
        for option, text in entry["options"].items():
            say(f"    {option:<24} {text}".rstrip())
    return entries


def runs(folder: str = "runs", /) -> list[dict[str, Any]]:
    """List the runs in a folder and below it: recipe, data, best validation ELBO in nats, and state.

    Args:
        folder: the folder.
    """
    from pyro_vaes.runs.overview import overview

    rows = overview(folder)
    say(table(rows) if rows else f"{folder} holds no runs: pyro-vaes train RECIPE makes one")
    return rows
