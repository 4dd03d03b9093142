"""Specifications of parts: ``mean-field``, with options ``laplace(updates=1)``, or of any module ``module:Class``."""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
from types import ModuleType
from typing import Any, TypeVar

from pyro_vaes.errors import InputError, shown, unknown
from pyro_vaes.recipes.options import apply_options

Part = TypeVar("Part")


def kebab(name: str) -> str:
    """A class or function name in kebab case.

    Example:
        >>> kebab("MeanField"), kebab("full_covariance")
        ('mean-field', 'full-covariance')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", name).lower()


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """A name and its options.

    Raises:
        InputError: If the text is neither ``name`` nor ``name(option=value, ...)``.

    Example:
        >>> parse("laplace(updates=1, step_size=1.0)")
        ('laplace', {'updates': 1, 'step_size': 1.0})
    """
    match = re.fullmatch(r"\s*([\w-]+|[\w.]+:\w+)\s*(\(.*\))?\s*", text)
    try:
        if match is None:
            raise SyntaxError
        call = ast.parse(f"f{match[2] or '()'}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise SyntaxError
        options = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
        if len(options) < len(call.keywords):  # one is repeated, or a mapping
            raise SyntaxError
        return match[1], options
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:  # all of them the parser's
        raise InputError(f"{shown(text)} is no name with options: write it as laplace or laplace(updates=1)") from error


def split(text: str) -> list[str]:
    """The items of a comma-separated list, whose items may hold commas in parentheses.

    Example:
        >>> split("mean-field, laplace(updates=1,step_size=1)")
        ['mean-field', 'laplace(updates=1,step_size=1)']
    """
    depth, items = 0, [""]
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            items.append("")
        else:
            items[-1] += letter
    return [item.strip() for item in items if item.strip()]


def description(made: object) -> str:
    """A specification as it is, and of a class or function in its place the name.

    Example:
        >>> description("laplace(updates=1)"), description(slug)
        ('laplace(updates=1)', 'slug')
    """
    return made if isinstance(made, str) else getattr(made, "__qualname__", type(made).__qualname__)


def slug(text: str) -> str:
    """A folder's name for a name with options.

    Example:
        >>> slug("laplace(updates=1, step_size=1.0)")
        'laplace-updates=1-step_size=1.0'
    """
    return re.sub(r"[^\w.=]+", "-", text).strip("-")


def registry(package: ModuleType, base: type[Part]) -> dict[str, type[Part]]:
    """The classes that a package exports, by their names on the command line.

    Example:
        >>> from pyro_vaes import guides, vae
        >>> registry(guides, vae.Guide)["mean-field"].__name__
        'MeanField'
    """
    exported = (getattr(package, name) for name in package.__all__)
    return {
        kebab(each.__name__): each
        for each in exported
        if isinstance(each, type) and issubclass(each, base) and each is not base
    }


def is_own(text: str) -> bool:
    """Whether a specification, or one of a comma-separated list, names a class of a module, which is imported.

    Example:
        >>> is_own("my_module:MyGuide(option=1)"), is_own("laplace(updates=1)")
        (True, False)
    """
    return any(":" in item.partition("(")[0] for item in split(text))


def resolve(kind: str, package: ModuleType, base: type, text: str) -> tuple[Any, dict[str, Any]]:
    """A package's class from its name, hyphens or not, or any module's from ``module:Class``, and the options.

    Raises:
        InputError: If the name is unknown, with the near ones, or the module has no such class.
    """
    name, options = parse(text)
    if is_own(name):
        return _imported(kind, base, name), options
    known: dict[str, type] = registry(package, base)
    for each, found in known.items():
        if each.replace("-", "") == name.replace("-", ""):
            return found, options
    raise unknown(kind, name, known)


def _imported(kind: str, base: type, name: str) -> Any:
    """A class of a module in the current folder or the environment."""
    module, _, attribute = name.partition(":")
    path = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # of the module's own code
        raise InputError(
            f"{kind} {name!r}: {module} cannot be imported from {os.getcwd()} ({type(error).__name__}: {error})"
        ) from error
    finally:
        sys.path[:] = path
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"{kind} {name!r}: expected a class that derives from {base.__name__}, not {shown(found)}")
    return found


def instantiate(kind: str, package: ModuleType, base: type, text: str, *args: Any) -> Any:
    """An object of a package's class from its name and options, after ``args``.

    Raises:
        InputError: If the name is unknown, with the near ones, or the class does not take an option.
    """
    found, options = resolve(kind, package, base, text)
    return apply_options(kind, text, found, *args, **options)
