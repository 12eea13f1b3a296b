"""Pickles of plain data and numpy arrays, read without running anything that is in them.

A pickle is a program for a small stack machine, and Python's own machine lets it call whatever can be imported. This
one knows the instructions that make plain values, and a handful of names that stand for numpy arrays, which are built
here; everything else is refused by name. No instruction repeats or allocates ahead: memory and time are bounded by the
length of the pickle and a limit on the number of instructions. Protocols 2 to 5 are read, which is what programs of
the last twenty years write unless they take trouble.

The instructions are described in pickletools.py of Python's library; the parts of an array are those that
``numpy.ndarray.__reduce__`` gives.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

MAX_INSTRUCTIONS = 1 << 23  # CIFAR-100 takes 300,000; one can cost some 100 bytes of memory


class Record:
    """An object of a class that is not ours to make: its name, and what it was made of. It does nothing.

    Attributes
    ----------
    name : str
        Module and class, such as ``tfutil.Network``.
    arguments : tuple
        What the class would have been called with.
    state : object
        What its ``__setstate__`` would have been given, or None.
    """

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name = name
        self.arguments = arguments
        self.state: Any = None


class RefusedError(Exception):
    """A pickle mentions what is not allowed, or is not whole. The text says which, without the name of the file."""


def loads(data: bytes, where: str, *, records: Collection[str] = ()) -> Any:
    """Read a pickle.

    Parameters
    ----------
    data : bytes
        The pickle.
    where : str
        What it is, for error messages.
    records : collection of str
        Names of classes, such as ``tfutil.Network``, whose objects are read as a `Record`.

    Returns
    -------
    object
        Made of None, bool, int, float, bytes, str, list, tuple, dict, read-only numpy arrays, and `Record`. Strings of
        Python 2 are bytes; numpy scalars are numbers. A list or a dict can hold itself, and one value can be in many
        places, so never follow all of it without a limit.

    Raises
    ------
    InputError
        If it is damaged, cut short, or mentions anything else.
    """
    try:
        return _Machine(data, frozenset(records)).run()
    except RefusedError as error:
        raise InputError(f"{where}: {error}") from None
    except (IndexError, TypeError, ValueError, KeyError, OverflowError) as error:
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise InputError(
            f"{where}: the pickle makes no sense ({reason}); it is damaged, copy or download it again"
        ) from None


class _Mark:
    """On the stack: what lies above belongs together."""


class _Name:
    """A name that stands for one of `_FUNCTIONS`, or for a class of records."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Type:
    """A numpy dtype; its byte order is told after it was made, and may have been referred to before."""

    def __init__(self, value: np.dtype[Any]) -> None:
        self.value = value


class _Array:
    """A numpy array; likewise, all that is in it is told after it was made."""

    value: NDArray[Any] | None = None


class _Machine:
    """One run over one pickle."""

    def __init__(self, data: bytes, records: frozenset[str]) -> None:
        self.data = data
        self.place = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.records = records
        # Bytes that may still be made from text. A pickle needs each once, but could ask for the same again and again.
        self.room = 2 * len(data)

    def run(self) -> Any:
        if len(self.data) < 2 or self.data[0] != 0x80 or not 2 <= self.data[1] <= 5:
            raise RefusedError("not a pickle of protocol 2 to 5; save it again with one of these")
        for _ in range(MAX_INSTRUCTIONS):
            code = self.take(1)
            if code == b".":
                return settled(self.stack.pop())
            if code not in _INSTRUCTIONS:
                raise RefusedError(
                    f"the pickle has the instruction {code!r}, which plain data do not need; it is refused or damaged"
                )
            _INSTRUCTIONS[code](self)
        raise RefusedError(f"the pickle has more than {MAX_INSTRUCTIONS} instructions; it is refused")

    def take(self, length: int) -> bytes:
        """Return the next bytes of the pickle."""
        start, end = self.place, self.place + length
        if end > len(self.data):
            raise RefusedError("the pickle is cut short; copy or download it again")
        self.place = end
        return self.data[start:end]

    def number(self, length: int) -> int:
        """Return the next bytes as a number."""
        return int.from_bytes(self.take(length), "little")

    def line(self) -> str:
        end = self.data.index(b"\n", self.place, self.place + 512)
        return (self.take(end + 1 - self.place)[:-1]).decode()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def above_mark(self) -> list[Any]:
        """Take everything off the stack down to the last mark."""
        values = []
        while not isinstance(value := self.stack.pop(), _Mark):
            values.append(settled(value))
        return values[::-1]

    def top(self, count: int) -> tuple[Any, ...]:
        """Take so many values off the stack."""
        return tuple(settled(self.stack.pop()) for _ in range(count))[::-1]

    def mention(self, name: str) -> None:
        """Push a name of `_FUNCTIONS` or of a record; refuse any other."""
        known = name.replace("numpy._core.", "numpy.core.", 1).replace("__builtin__.", "builtins.", 1)
        if known in _FUNCTIONS:
            self.push(_Name(known))
        elif name in self.records:
            self.push(_Name(name))
        else:
            raise RefusedError(
                f"the pickle mentions {ascii(name)[1:-1][:100]}, which plain data and arrays do not need; "
                "it is refused, and nothing of it was run"
            )

    def stack_global(self) -> None:
        module, name = self.top(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is no text")
        self.mention(f"{module}.{name}")

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or not isinstance(function, _Name):
            raise TypeError("a call of what is no function")
        if function.name in self.records:
            self.push(Record(function.name, arguments))
        else:
            self.push(_FUNCTIONS[function.name](self, *arguments))

    def build(self) -> None:
        """Give the value on top its state."""
        (state,) = self.top(1)
        target = self.stack[-1]
        if isinstance(target, _Array) and target.value is None:
            _, shape, dtype, fortran, content = state
            target.value = array(content, dtype, shape, "F" if fortran else "C")
        elif isinstance(target, _Type):
            order, structure = text(state[1]), state[2:5]
            if structure != (None, None, None) or order not in ("<", ">", "|"):
                raise TypeError("an array that is not of plain numbers")
            target.value = np.dtype(order + target.value.str[1:])
        elif isinstance(target, Record):
            target.state = state
        else:
            raise TypeError("a state for a value that has none")

    def append(self, values: list[Any] | tuple[Any, ...]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError("items for a value that is no list")
        target.extend(values)

    def set_items(self, values: list[Any] | tuple[Any, ...]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError("entries for a value that is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # No tuples: hashing one of a million levels would overflow the interpreter's own stack.
            if not isinstance(key, str | bytes | int | float | None):
                raise TypeError("a key that is neither text nor a number")
            target[key] = value

    def encode(self, content: str, encoding: bytes | str) -> bytes:
        """How Python 3 writes bytes for Python 2: as text of 256 letters."""
        if text(encoding) != "latin1" or not isinstance(content, str):
            raise TypeError("text in an encoding other than latin1")
        self.room -= len(content)
        if self.room < 0:
            raise RefusedError("the pickle repeats its own text; it is refused")
        return content.encode("latin1")


def settled(value: Any) -> Any:
    """A value that may lie in another, or be given out."""
    if isinstance(value, _Array):
        if value.value is None:
            raise TypeError("an array without content")
        return value.value
    if isinstance(value, _Mark):
        raise TypeError("a mark where a value is needed")
    return value


def text(value: Any) -> str:
    """Text of either Python, which is bytes if Python 2 wrote it."""
    result = value.decode("latin1") if isinstance(value, bytes) else value
    if not isinstance(result, str):
        raise TypeError("a value that should be text")
    return result


def array(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """Array that shares the bytes of `content`."""
    if not isinstance(dtype, _Type) or not isinstance(content, bytes):
        raise TypeError("an array that is not of plain numbers")
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise TypeError("an array without a shape")
    return np.frombuffer(content, dtype.value).reshape(shape, order="F" if text(order) == "F" else "C")


def _dtype(_: _Machine, code: Any, *__: Any) -> _Type:
    if not re.fullmatch("[biuf][1248]", text(code)):
        raise TypeError("an array that is not of plain numbers")
    return _Type(np.dtype(text(code)))


def _empty_array(_: _Machine, kind: Any, *__: Any) -> _Array:
    if not isinstance(kind, _Name) or kind.name != "numpy.ndarray":
        raise TypeError("an array of a class of its own")
    return _Array()


def _not_callable(_: _Machine, *__: Any) -> None:
    raise TypeError("an array that is made in an unknown way")


# Everything that a pickle may call, and what it gets. Newer names of modules are brought to these in `mention`.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _Machine.encode,
    "builtins.bytes": lambda _: b"",
    "collections.OrderedDict": lambda _: {},
    "numpy.ndarray": _not_callable,  # it is only mentioned
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy.core.multiarray.scalar": lambda _, dtype, content: array(content, dtype, (), "C").item(),
    "numpy.core.numeric._frombuffer": lambda _, content, *rest: array(content, *rest),
}


def _binary_float(machine: _Machine) -> None:
    machine.push(struct.unpack(">d", machine.take(8))[0])


def _signed(machine: _Machine, length: int) -> None:
    machine.push(int.from_bytes(machine.take(length), "little", signed=True))


def _bytes(machine: _Machine, width: int) -> None:
    machine.push(machine.take(machine.number(width)))


def _text(machine: _Machine, width: int) -> None:
    machine.push(machine.take(machine.number(width)).decode("utf-8", "surrogatepass"))


def _tuple(machine: _Machine, count: int) -> None:
    machine.push(machine.top(count))


def _put(machine: _Machine, width: int) -> None:
    machine.memo[machine.number(width)] = machine.stack[-1]


def _get(machine: _Machine, width: int) -> None:
    machine.push(machine.memo[machine.number(width)])


def _memoize(machine: _Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda machine: machine.take(1),  # PROTO
    b"\x95": lambda machine: machine.take(8),  # FRAME: a hint for readers of streams
    b"(": lambda machine: machine.push(_Mark()),
    b"0": lambda machine: machine.stack.pop(),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"K": lambda machine: machine.push(machine.number(1)),
    b"M": lambda machine: machine.push(machine.number(2)),
    b"J": lambda machine: _signed(machine, 4),
    b"\x8a": lambda machine: _signed(machine, machine.number(1)),  # LONG1
    b"G": _binary_float,
    b"U": lambda machine: _bytes(machine, 1),  # strings of Python 2: SHORT_BINSTRING, BINSTRING
    b"T": lambda machine: _bytes(machine, 4),
    b"C": lambda machine: _bytes(machine, 1),
    b"B": lambda machine: _bytes(machine, 4),
    b"\x8e": lambda machine: _bytes(machine, 8),
    b"\x96": lambda machine: _bytes(machine, 8),  # BYTEARRAY8
    b"\x8c": lambda machine: _text(machine, 1),
    b"X": lambda machine: _text(machine, 4),
    b"\x8d": lambda machine: _text(machine, 8),
    b"]": lambda machine: machine.push([]),
    b"}": lambda machine: machine.push({}),
    b")": lambda machine: machine.push(()),
    b"t": lambda machine: machine.push(tuple(machine.above_mark())),
    b"\x85": lambda machine: _tuple(machine, 1),
    b"\x86": lambda machine: _tuple(machine, 2),
    b"\x87": lambda machine: _tuple(machine, 3),
    b"a": lambda machine: machine.append(machine.top(1)),
    b"e": lambda machine: machine.append(machine.above_mark()),
    b"s": lambda machine: machine.set_items(machine.top(2)),
    b"u": lambda machine: machine.set_items(machine.above_mark()),
    b"q": lambda machine: _put(machine, 1),
    b"r": lambda machine: _put(machine, 4),
    b"\x94": _memoize,
    b"h": lambda machine: _get(machine, 1),
    b"j": lambda machine: _get(machine, 4),
    b"c": lambda machine: machine.mention(f"{machine.line()}.{machine.line()}"),
    b"\x93": lambda machine: machine.stack_global(),
    b"R": lambda machine: machine.call(),
    b"\x81": lambda machine: machine.call(),  # NEWOBJ
    b"b": lambda machine: machine.build(),
}
