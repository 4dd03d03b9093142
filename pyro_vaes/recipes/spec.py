"""Names on the command line: ``MeanField`` is ``mean-field``, with options ``laplace(updates=1)``."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pyro_vaes.errors import InputError, shown, unknown


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
        InputError: where the text is neither ``name`` nor ``name(option=value, ...)``.

    Example:
        >>> parse("laplace(updates=1, step_size=1.0)")
        ('laplace', {'updates': 1, 'step_size': 1.0})
    """
    match = re.fullmatch(r"\s*([\w-]+)\s*(\(.*\))?\s*", text)
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


def slug(text: str) -> str:
    """A folder's name for a name with options.

    Example:
        >>> slug("laplace(updates=1, step_size=1.0)")
        'laplace-updates=1-step_size=1.0'
    """
    return re.sub(r"[^\w.=]+", "-", text).strip("-")


def registry(package: ModuleType, base: type) -> dict[str, type]:
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


def resolve(kind: str, package: ModuleType, base: type, text: str) -> tuple[Any, dict[str, Any]]:
    """A package's class from its name, hyphens or not, and the options beside it.

    Raises:
        InputError: for an unknown name, with the near ones.
    """
    name, options = parse(text)
    known = registry(package, base)
    for each, found in known.items():
        if each.replace("-", "") == name.replace("-", ""):
            return found, options
    raise unknown(kind, name, known)


def instantiate(kind: str, package: ModuleType, base: type, text: str, *args: Any) -> Any:
    """An object of a package's class from its name and options, after ``args``.

    Raises:
        InputError: for an unknown name, with the near ones, or an option that the class does not take.
    """
    found, options = resolve(kind, package, base, text)
    return apply_options(kind, text, found, *args, **options)


def apply_options(kind: str, text: str, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a class makes of options that a user named.

    Raises:
        InputError: for an option that it does not take, or a value that it cannot be made of, such as a size that no
            memory holds.
    """
    try:
        return make(*args, **options)
    except InputError:
        raise
    except Exception as error:  # the values may be anything
        raise InputError(f"{kind} {shown(text)}: {error}") from error
