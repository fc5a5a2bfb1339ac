"""Parts of messages: values and lists of names, short and printable whatever a user's file holds."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable
from typing import Any

LONE_SURROGATE = re.compile(
    r"[\ud800-\udfff]"
)  # half a character; bytes of a command line that are not UTF-8 become one


def first_few(names: Iterable[Any], most: int = 5) -> str:
    """The first names of a list, and how many more it has.

    >>> first_few("abcde", 3), first_few("ab"), first_few([])
    ('a, b, c and 2 more', 'a, b', 'nothing')
    """
    texts = [str(name) for name in names]
    listed = printable(", ".join(texts[:most]))
    more = len(texts) - most
    return listed + (f" and {more} more" if more > 0 else "") if texts else "nothing"


def did_you_mean(name: Any, valid: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the valid name that resembles it most, if one does.

    >>> did_you_mean("Stag2", ["stage1", "stage2"]), did_you_mean("frobnicate", ["stage1", "stage2"])
    (', did you mean `stage2`?', '.')
    """
    names = {v.casefold(): v for v in valid}
    close = difflib.get_close_matches(str(name)[:100].casefold(), list(names), 1)
    return f", did you mean `{names[close[0]]}`?" if close else "."


def shown(value: Any) -> str:
    """The representation of a value, shortened; it never fails, whatever object a file holds.

    >>> shown("x"), shown([1, 2]), shown(list(range(99)))
    ("'x'", '[1, 2]', '[0, 1, 2, 3, 4, 5, ...]')
    """
    try:
        return printable(_SHORT.repr(value))
    except Exception:  # the value's own __repr__ fails
        return f"a {type(value).__name__}"


def printable(name: str) -> str:
    r"""A name with every lone surrogate escaped, so that it can be encoded as UTF-8.

    >>> printable("caf\xe9"), printable("caf\udce9")
    ('café', 'caf\\udce9')
    """
    return name.encode("utf-8", "backslashreplace").decode()


class _Short(reprlib.Repr):
    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 4, 80, 80, 40
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 6

    def repr_int(self, value: int, level: int) -> str:
        return super().repr_int(value, level) if abs(value) < 10**40 else f"a number of {value.bit_length()} bits"


_SHORT = _Short()
