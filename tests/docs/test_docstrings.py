"""Every public name says what it is: in the field's terms, with its shapes, its source, and an example that runs."""

import importlib
import inspect
import re
import typing
from pathlib import Path

import pytest

import pyro_vaes as pv

PARTS = ("guides", "likelihoods", "losses", "models", "networks", "priors")
PACKAGES = ("data", "evaluate", "plots", "recipes", "testing", *PARTS)

#: Bases of what others write, and helpers: no paper proposed them.
WITHOUT_PAPER = {
    "likelihoods.Bernoulli",
    "likelihoods.Gaussian",
    "likelihoods.Likelihood",
    "likelihoods.Standardized",
    "losses.Loss",
    "models.ClusterParameters",
    "models.ClusterPosterior",
    "models.ConditionalNormal",
    "priors.Prior",
    "priors.StandardNormal",
}
#: Abstract, so that nothing can be shown; what implements them has examples.
ABSTRACT = {
    "likelihoods.Likelihood",
    "losses.Loss",
    "networks.Linearization",
    "priors.Prior",
}
#: Numbers that depend on the step alone.
WITHOUT_SHAPES = {"losses.ExponentialWarmup", "losses.Warmup"}

SHAPE = re.compile(r"``\(.*?\)``|[Ss]hape")


def exported(package):
    """The names that a package exports, without those of its functions that only its own modules have."""
    module = importlib.import_module(f"pyro_vaes.{package}")
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return {f"{package}.{name}": getattr(module, name) for name in getattr(module, "__all__", own) if name[0] != "_"}


EVERYTHING = {name: value for package in PACKAGES for name, value in exported(package).items()}
EVERYTHING |= {name: getattr(pv, name) for name in pv.__all__}
DOCUMENTED = {name: value for name, value in EVERYTHING.items() if inspect.isclass(value) or inspect.isfunction(value)}
CLASSES = {
    name: value for name, value in DOCUMENTED.items() if inspect.isclass(value) and name.partition(".")[0] in PARTS
}
FUNCTIONS = {name: value for name, value in exported("evaluate").items() if inspect.isfunction(value)}


def sections(value):
    """The sections of a docstring of its own."""
    return set(re.findall(r"^ *(\w+):$", value.__doc__ or "", flags=re.MULTILINE))


def members(value):
    """The public methods and properties that a class defines."""
    functions = {name: getattr(member, "__func__", member) for name, member in vars(value).items() if name[0] != "_"}
    return {name: member for name, member in functions.items() if callable(member) or isinstance(member, property)}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_has_a_docstring(name):
    value = DOCUMENTED[name]
    assert value.__doc__, f"{name} has no docstring"
    if inspect.isclass(value):
        bare = [each for each in members(value) if not inspect.getdoc(getattr(value, each))]
        assert not bare, f"{name} has members without a docstring"


@pytest.mark.parametrize("name", [name for name in EVERYTHING if name not in DOCUMENTED])
def test_a_constant_has_a_comment_for_the_site(name):
    package, _, constant = name.rpartition(".")
    if not package:
        return  # a subpackage
    files = Path(pv.__file__).parent.joinpath(package).glob("*.py")
    sources = "".join(path.read_text(encoding="utf-8") for path in files)
    assert re.search(rf"^#: .*\n(#.*\n)*{constant}\b", sources, flags=re.MULTILINE), f"no comment `#: ...` above {name}"


@pytest.mark.parametrize("name", CLASSES)
def test_a_part_has_shapes_source_and_example(name):
    expected = {"Shapes", "References", "Example"} if name.partition(".")[0] != "networks" else {"Shapes", "Example"}
    expected -= {"References"} if name in WITHOUT_PAPER else set()
    expected -= {"Example"} if name in ABSTRACT else set()
    expected -= {"Shapes"} if name in WITHOUT_SHAPES else set()
    assert expected <= sections(CLASSES[name]), f"{name} lacks {sorted(expected - sections(CLASSES[name]))}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_evaluation_has_arguments_shapes_and_example(name):
    function = FUNCTIONS[name]
    assert {"Args", "Example"} <= sections(function)
    given = typing.get_type_hints(function)["return"]
    result = given if given in exported("evaluate").values() else None
    tensors = "Tensor" in str(typing.get_type_hints(result) if result else given)
    text = function.__doc__ + (result.__doc__ if result else "")
    assert not tensors or SHAPE.search(text), f"{name} does not say what shape it gives"
