"""The module that makes the tables of the site."""

import importlib.util

from tests.helpers import ROOT


def load_tables():
    """The module ``docs/tables.py``, which is in no package."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
