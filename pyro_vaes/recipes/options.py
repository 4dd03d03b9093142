"""The options of a named part, such as ``updates=1`` of ``laplace(updates=1)``, checked before the part is made."""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any

from pyro_vaes.errors import InputError, near, shown

WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", NoneType: "None"}
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
UNIONS = (typing.Union, UnionType)
EXAMPLES = {int: "2", float: "0.5", bool: "True", str: "'name'"}


def apply_options(kind: str, text: str, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """The part that a class makes of options that a user named.

    Raises:
        InputError: If the class does not take an option, lacks one or takes other values, or cannot be made of the
            values, such as a size that no memory holds.
    """
    check_options(kind, text, make, len(args), options)
    with errors_of(kind, text):
        try:
            return make(*args, **options)
        except TypeError:
            _check_complete(kind, text, make, len(args), options)
            raise


@contextlib.contextmanager
def errors_of(kind: str, text: str) -> Iterator[None]:
    """Context manager that turns any error of a named part into an ``InputError`` that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the values may be anything
        raise InputError(f"{kind} {shown(text)}: {error}") from error


def check_options(kind: str, text: str, make: Callable[..., Any], given: int, options: Mapping[str, Any]) -> None:
    """Check options against the signature of what they are for.

    Args:
        kind: kind of the part, for errors.
        text: its name with options.
        make: a class, or a class method that passes its ``**options`` to the class.
        given: number of arguments that are given in any case, the first ones.
        options: the options.

    Raises:
        InputError: If an option is unknown, with the near ones, or has a value of another type.

    Example:
        >>> from pyro_vaes.guides import Laplace
        >>> check_options("guide", "laplace(update=1)", Laplace, 2, {"update": 1})
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: guide laplace has no option 'update': did you mean 'updates'? Its options:
        updates=4, step_size=0.5, detach=False, warmup=300, line_search=False
    """
    name, hints, named = _name(text), _hints(make), named_options(make, given)
    accepts_any = any(each.kind is each.VAR_KEYWORD for each in _options_of(make, given).values())
    for key in () if accepts_any else options.keys() - named.keys():
        hint = near(key, named)
        listed = f"Its options: {', '.join(map(written, named.values()))}" if named else "It takes none"
        raise InputError(f"{kind} {name} has no option {shown(key)}{':' if hint else '.'}{hint} {listed}")
    for key, value in options.items():
        if key in hints and not _fits(value, hints[key]):
            raise InputError(f"{kind} {name}: {key} is {shown(value)}: expected {_described(hints[key])}")


def named_options(make: Callable[..., Any], given: int) -> dict[str, inspect.Parameter]:
    """The options that a text can name: parameters after the first ``given`` ones, without functions and classes.

    Example:
        >>> from pyro_vaes.guides import LowRank
        >>> [written(option) for option in named_options(LowRank, 2).values()]
        ['rank=2']
    """
    hints = _hints(make)
    return {
        name: each
        for name, each in _options_of(make, given).items()
        if each.kind not in VARIADIC and not _is_code(hints.get(name))
    }


def _check_complete(kind: str, text: str, make: Callable[..., Any], given: int, options: Mapping[str, Any]) -> None:
    """Check that options without a default are given, after the part could not be made."""
    name, hints = _name(text), _hints(make)
    required = {
        key
        for key, each in _options_of(make, given).items()
        if each.default is each.empty and each.kind not in VARIADIC
    }
    missing = sorted(required - options.keys())
    if missing:
        values = {key: _example(hints.get(key)) for key in missing} | {key: repr(each) for key, each in options.items()}
        example = ", ".join(f"{key}={value}" for key, value in values.items())
        raise InputError(f"{kind} {name} needs {' and '.join(missing)}: write, for example, {name}({example})")


def _name(text: str) -> str:
    return text.partition("(")[0].strip()


def _options_of(make: Callable[..., Any], given: int) -> dict[str, inspect.Parameter]:
    """Parameters after the first ``given`` ones; in place of ``**options``, those of the classes that they go to."""
    found = dict(inspect.signature(make).parameters)
    taken = set(list(found)[:given])
    for each in _classes_behind(make):
        rest = next((name for name, value in found.items() if value.kind is value.VAR_KEYWORD), None)
        if rest is None:
            break
        del found[rest]
        found = {**inspect.signature(each).parameters, **found}
    return {name: value for name, value in found.items() if name not in taken}


def _classes_behind(make: Callable[..., Any]) -> Sequence[type]:
    """The classes that a constructor or a class method hands its ``**options`` on to, the nearest first."""
    owner = getattr(make, "__self__", make)
    if not inspect.isclass(owner):
        return ()
    return inspect.getmro(owner)[make is owner : -1]


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    """The types of the parameters, as far as they are annotated with names that can be resolved."""
    hints: dict[str, Any] = {}
    for each in (*reversed(_classes_behind(make)), make):
        with contextlib.suppress(NameError, TypeError, AttributeError):
            hints |= typing.get_type_hints(each.__init__ if inspect.isclass(each) else each)
    return hints


def _is_code(hint: Any) -> bool:
    """Whether values of a type are functions or classes, which no text names."""
    return typing.get_origin(hint) is Callable


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type; true of types that no text names, such as modules."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        named = [each for each in arguments if _described(each)]
        return not named or any(_fits(value, each) for each in named)
    if origin is Sequence:
        return isinstance(value, (tuple, list)) and all(_fits(each, arguments[0]) for each in value)
    if origin is typing.Literal:
        return type(value) in map(type, arguments)
    if hint is float:
        return type(value) in (int, float)
    return hint not in WORDS or type(value) is hint


def _described(hint: Any) -> str:
    """A type in words; nothing for types that no text names."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        return " or ".join(filter(None, map(_described, arguments)))
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    return "a tuple such as (8, 8)" if origin is Sequence else WORDS.get(hint, "")


def _example(hint: Any) -> str:
    """A value of a type, as one writes it."""
    return "(1, 4, 4)" if typing.get_origin(hint) is Sequence else EXAMPLES.get(hint, "...")


def written(option: inspect.Parameter) -> str:
    """An option and its default, as a text names them.

    Example:
        >>> written(inspect.Parameter("updates", inspect.Parameter.KEYWORD_ONLY, default=4))
        'updates=4'
    """
    return option.name if option.default is option.empty else f"{option.name}={option.default!r}"
