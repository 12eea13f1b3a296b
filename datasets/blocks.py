"""Digests of the parts of a file that nothing else answers for, kept behind its end: no byte may change unnoticed.

Pixels, names and labels have digests of their own. The rest (the structure of an HDF5 file; of LMDB, where values are
encoded and pages have unused ends, simply everything) is cut into blocks, and a trailer behind the last byte that the
format knows of says what each block was:

    JSON {"schema", "end", "blocks": [[offset, length, XXH3-128], ...]}, XXH3-128 of that text, its length (8 bytes,
    little-endian), ``GGBLOCKS``

Neither the HDF5 nor the LMDB library minds bytes behind the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import xxhash

from datasets.atomic import write_all

SCHEMA = "growgan.blocks"
_MAGIC = b"GGBLOCKS"
_DIGEST_BYTES = 16
_BLOCK_BYTES = 1 << 20

Range = tuple[int, int]  # offset and end


def uncovered(end: int, covered: Iterable[Range]) -> list[Range]:
    """Parts of the first `end` bytes that lie in none of the `covered` ranges, which do not overlap."""
    found, position = [], 0
    for start, stop in sorted(covered):
        if min(start, end) > position:
            found.append((position, min(start, end)))
        position = max(position, stop)
    if position < end:
        found.append((position, end))
    return found


def append(
    descriptor: int, end: int, ranges: Iterable[Range], patch: Callable[[int, bytes], bytes] = lambda _, data: data
) -> None:
    """Write the trailer of a file that ends at `end`.

    Parameters
    ----------
    descriptor : int
        The open file; whatever lies behind `end` is cut off first.
    end : int
    ranges : iterable of (int, int)
        What the trailer answers for.
    patch : callable, optional
        ``patch(offset, data)`` gives what a block will be, if that is not what it is yet.
    """
    os.ftruncate(descriptor, end)
    blocks = [
        [offset, length, xxhash.xxh3_128_hexdigest(patch(offset, _read(descriptor, offset, length)))]
        for offset, length in _cut(ranges)
    ]
    text = json.dumps({"schema": SCHEMA, "end": end, "blocks": blocks}).encode("ascii")
    trailer = text + xxhash.xxh3_128_digest(text) + len(text).to_bytes(8, "little") + _MAGIC
    write_all(descriptor, memoryview(trailer), end)


def faults(path: Path) -> Iterator[str]:
    """One line for each block that is not what it was, or for a trailer that cannot be trusted."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        tail = _read(file.fileno(), max(0, size - 16), min(16, size))
        length = int.from_bytes(tail[:8], "little")
        start = size - 16 - _DIGEST_BYTES - length
        if tail[8:] != _MAGIC or start < 0:
            yield f"{path.name}: the digests of its blocks, at its end, are missing or damaged"
            return
        text = _read(file.fileno(), start, length)
        if xxhash.xxh3_128_digest(text) != _read(file.fileno(), start + length, _DIGEST_BYTES):
            yield f"{path.name}: the digests of its blocks, at bytes {start} to {size}, are damaged"
            return
        found = json.loads(text)
        if found["schema"] != SCHEMA or found["end"] != start:
            yield f"{path.name}: the digests of its blocks are of another file or version"
            return
        for offset, extent, digest in found["blocks"]:
            if xxhash.xxh3_128_hexdigest(_read(file.fileno(), offset, extent)) != digest:
                yield f"{path.name}: bytes {offset} to {offset + extent} do not match their digest"


def _cut(ranges: Iterable[Range]) -> Iterator[tuple[int, int]]:
    """Offset and length of every block."""
    for start, end in ranges:
        for offset in range(start, end, _BLOCK_BYTES):
            yield offset, min(_BLOCK_BYTES, end - offset)


def _read(descriptor: int, offset: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.pread(descriptor, length, offset)
        if not part:
            break
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)
