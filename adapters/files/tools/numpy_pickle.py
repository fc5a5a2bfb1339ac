"""A pickled dictionary of NumPy arrays, read without Python's unpickler: nothing that it names is imported or called.

`np.savez(file, key={"scores": array, ...})` writes an object array, whose content is a pickle. A pickle is a program
for a small machine. This one knows the operations that build numbers, texts, containers and NumPy arrays, and refuses
all others. An array needs as many bytes as its shape states, so that a false shape allocates nothing.

Source: the operations are those of Python's `pickletools`.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import printable, shown

MOST_STEPS = 100_000  # operations; a dictionary of three arrays has about sixty
DTYPES = ("b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
OBJECTS = "O8"  # the dtype of the object array around the dictionary

RECONSTRUCT, NDARRAY, DTYPE = object(), object(), object()
NAMES = {
    "numpy.core.multiarray _reconstruct": RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": RECONSTRUCT,  # NumPy 2
    "numpy ndarray": NDARRAY,
    "numpy dtype": DTYPE,
}


def unpickle_dict(data: BinaryIO, where: str) -> dict[str, Any]:
    """The dictionary in the pickle of an object array without dimensions.

    Args:
        data: a file at the start of the pickle.
        where: file name and entry, for messages.

    Returns:
        {key: value}; arrays are read-only. Arrays inside of other containers stay unreadable objects.

    Raises:
        InputError: damaged, another content, or anything but numbers, texts, containers and arrays of numbers.
    """
    try:
        root = _Machine(where).run(data)
    except InputError:
        raise
    except Exception as error:  # operations that do not fit together: IndexError, KeyError, TypeError, ValueError, ...
        reason = printable((str(error) or type(error).__name__).splitlines()[0][:200])
        raise InputError(f"{where}: damaged: not the pickle of an array ({reason})") from error
    content = root.items[0] if isinstance(root, _Array) and root.items and len(root.items) == 1 else root
    if type(content) is not dict:
        raise InputError(f"{where}: a pickled {_kind(content)}, expected a dictionary of arrays")
    return {key: value.value if isinstance(value, _Array) else value for key, value in content.items()}


class _Dtype:
    """The dtype of an array: its name at first, then its byte order as well."""

    def __init__(self, name: str):
        self.name, self.order = name, "="

    def build(self, state: tuple, where: str) -> None:
        if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise InputError(f"{where}: an array of a structured dtype, expected numbers")
        self.order = state[1]


class _Array:
    """An array, which is empty until the operation BUILD gives it its content."""

    def __init__(self):
        self.value: np.ndarray | None = None
        self.items: list | None = None  # of an object array

    def build(self, state: tuple, where: str) -> None:
        _, shape, dtype, by_columns, content = state
        if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 8:
            raise InputError(f"{where}: an array of shape {shown(shape)}, expected whole numbers")
        if not isinstance(dtype, _Dtype):
            raise InputError(f"{where}: an array of dtype {shown(dtype)}, expected numbers")
        if dtype.name == OBJECTS:
            if type(content) is not list or len(content) != math.prod(shape):
                raise InputError(f"{where}: damaged: an object array of shape {shown(list(shape))} without its items")
            self.items = content
            return
        wanted = np.dtype(dtype.order + dtype.name)
        if type(content) is not bytes or len(content) != math.prod(shape) * wanted.itemsize:
            size = f"{len(content):,} bytes" if type(content) is bytes else shown(content)
            raise InputError(f"{where}: damaged: an array of {wanted} {shown(list(shape))}, but {size}")
        self.value = np.frombuffer(content, wanted).reshape(shape, order="F" if by_columns else "C")


class _Machine:
    def __init__(self, where: str):
        self.where = where
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: BinaryIO) -> Any:
        """What the pickle builds."""
        for step, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if operation.name == "STOP":
                break
            if step > MOST_STEPS:
                raise InputError(f"{self.where}: more than {MOST_STEPS:,} operations, expected a few arrays")
            if operation.name not in OPERATIONS:
                raise InputError(f"{self.where}: {_NOT_READ.format(f'the operation {operation.name}')}")
            OPERATIONS[operation.name](self, argument)
        return self.stack.pop()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """The last values."""
        if len(self.stack) < count:
            raise IndexError("the stack is too short")
        start = len(self.stack) - count
        values, self.stack[start:] = self.stack[start:], []
        return values

    def pop_marked(self) -> list[Any]:
        """The values since the last mark."""
        return self.pop(len(self.stack) - self.marks.pop())

    def name(self, written: str) -> None:
        """A name; only those of arrays are known, and they are not imported."""
        if written not in NAMES:
            named = printable(written.replace(" ", "."))[:100]
            raise InputError(f"{self.where}: {_NOT_READ.format(f'`{named}`')}")
        self.push(NAMES[written])

    def stack_name(self, _: None) -> None:
        module, name = self.pop(2)
        self.name(f"{module} {name}")

    def call(self, _: None) -> None:
        """Makes an empty array or a dtype; nothing else can be called."""
        function, arguments = self.pop(2)
        if function is RECONSTRUCT and type(arguments) is tuple and arguments[:1] == (NDARRAY,):
            self.push(_Array())
        elif function is DTYPE and type(arguments) is tuple and arguments and arguments[0] in (*DTYPES, OBJECTS):
            self.push(_Dtype(arguments[0]))
        else:
            what = f"an array of dtype {shown(arguments)}" if function is DTYPE else "a call"
            raise InputError(f"{self.where}: {_NOT_READ.format(what)}")

    def build(self, _: None) -> None:
        (state,) = self.pop(1)
        target = self.stack[-1]
        if not isinstance(target, (_Array, _Dtype)):
            raise InputError(f"{self.where}: {_NOT_READ.format('the state of an object')}")
        target.build(state, self.where)

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) is not str:
                raise InputError(f"{self.where}: a dictionary with the key {_kind(key)}, expected texts")
            if type(target) is not dict:
                raise TypeError("items of what is no dictionary")
            target[key] = value

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError("items of what is no list")
        target.extend(values)

    def keep(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


_NOT_READ = (
    "a pickle with {}, expected only arrays, numbers, texts and containers; it is not read, and nothing in it ran"
)


def _kind(value: Any) -> str:
    """The type of a value, in words that are short however deeply it is nested."""
    return "array" if isinstance(value, _Array) else type(value).__name__


_pushed: Callable[[_Machine, Any], None] = _Machine.push
OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _pushed),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), _pushed),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _pushed),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_marked())),
    "TUPLE1": lambda m, _: m.push(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop(3))),
    "SETITEM": lambda m, _: m.set_items(m.pop(2)),
    "SETITEMS": lambda m, _: m.set_items(m.pop_marked()),
    "APPEND": lambda m, _: m.append(m.pop(1)),
    "APPENDS": lambda m, _: m.append(m.pop_marked()),
    "MEMOIZE": lambda m, _: m.keep(len(m.memo)),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.keep),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, index: m.push(m.memo[index])),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
