"""Members of a large JSON file, one after the other, so that only one of them is in memory besides the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.errors import InputError

_BLANK = re.compile(r"[ \t\r\n]*")


def members(path: Path) -> Iterator[tuple[str | int, Any]]:
    """Key and value of each member of the outermost object; of an array or of JSON lines: number, from 0, and value.

    Raises
    ------
    InputError
        If the file is no such JSON.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text, so it is no JSON; write it again as UTF-8") from None
    try:
        yield from _lines(text) if _is_lines(text) else _members(text)
    except (ValueError, RecursionError) as error:  # ValueError: JSONDecodeError, and numbers of too many digits
        place = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "bad value"
        raise InputError(f"{path} is damaged or no JSON ({place}); get it or write it again") from None


def _is_lines(text: str) -> bool:
    """True for JSON lines: the first line is an object of its own, and another one follows."""
    first, _, rest = text.lstrip().partition("\n")
    return first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def _lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(filter(str.strip, text.split("\n"))):
        yield number, json.loads(line)


def _members(text: str) -> Iterator[tuple[str | int, Any]]:
    decoder = json.JSONDecoder()
    place = _skip(text, 0)
    opening = text[place : place + 1]
    if opening not in ("{", "["):
        raise json.JSONDecodeError("neither an object nor an array", text, place)
    closing = "}" if opening == "{" else "]"
    place = _skip(text, place + 1)
    number = 0
    while text[place : place + 1] != closing or number:
        key: str | int = number
        if opening == "{":
            key, place = decoder.raw_decode(text, place)
            if not isinstance(key, str):
                raise json.JSONDecodeError("a key is no text", text, place)
            place = _skip(text, place)
            if text[place : place + 1] != ":":
                raise json.JSONDecodeError("no colon after a key", text, place)
            place = _skip(text, place + 1)
        value, place = decoder.raw_decode(text, place)
        yield key, value
        number += 1
        place = _skip(text, place)
        if text[place : place + 1] == closing:
            break
        if text[place : place + 1] != ",":
            raise json.JSONDecodeError("no comma between members", text, place)
        place = _skip(text, place + 1)
    if _skip(text, place + 1) != len(text):
        raise json.JSONDecodeError("something follows the end", text, place + 1)


def _skip(text: str, place: int) -> int:
    match = _BLANK.match(text, place)
    return place if match is None else match.end()
