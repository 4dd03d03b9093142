"""Kinds of data: what values they hold, and how these are stored."""

from pyro_vaes.data.kinds.base import Kind
from pyro_vaes.data.kinds.binary import Binary
from pyro_vaes.data.kinds.counts import Counts
from pyro_vaes.data.kinds.pixels import Pixels
from pyro_vaes.data.kinds.values import Values
from pyro_vaes.errors import look_up

#: The kinds by name.
KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Pixels, Binary, Counts, Values)}

__all__ = ["KINDS", "Binary", "Counts", "Kind", "Pixels", "Values", "find_kind"]


def find_kind(name: str) -> type[Kind]:
    """The kind of data of a name.

    Raises:
        InputError: If there is none of this name, with the near ones.

    Example:
        >>> find_kind("counts").__name__
        'Counts'
    """
    return look_up("kind of data", name, KINDS)
