"""Imports: what importing the package does, and which modules import which."""

import ast
from graphlib import TopologicalSorter

import grimp

from tests.helpers import ROOT
from tests.helpers.command_line import python

TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def test_importing_the_package_loads_and_changes_nothing():
    code = """
import sys
import pyro_vaes
assert not {"torch", "torchvision", "pyro"} & set(sys.modules)
import torch, pyro
def state():
    settings = {**pyro.settings.get(), "validate": torch.distributions.Distribution._validate_args}
    return settings, torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().tolist()
before = state()
for name in pyro_vaes.__all__:
    getattr(pyro_vaes, name)
assert before == state()
assert not pyro.get_param_store().keys()
assert "torchvision" not in sys.modules
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_the_package_has_no_circular_imports():
    """Those inside functions and under TYPE_CHECKING count too."""
    graph = grimp.build_graph("pyro_vaes", cache_dir=None)
    assert graph.count_imports() > 100, "the test says nothing"
    TopologicalSorter({each: graph.find_modules_directly_imported_by(each) for each in graph.modules}).prepare()


def imported(path):
    """Names of the modules that a file imports, and of what it takes from them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_no_test_module_imports_another():
    stems = {path.stem for path in TESTS}
    assert "test_imports" in stems
    for path in TESTS:
        assert not [name for name in imported(path) if stems & set(name.split("."))], path
