"""``image_list.txt``: which photograph of CelebA every image of CelebA-HQ comes from, and the checksums of both steps.

Columns apart by white space: ``idx orig_idx orig_file proc_md5 final_md5``, named in the first line; then one line for
every image, in the order of their numbers. The released list has all from 0 to 29999; of a smaller set, some are left
out and the others keep their numbers, by which their deltas are found.
"""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from datasets.errors import InputError

COLUMNS = ("idx", "orig_idx", "orig_file", "proc_md5", "final_md5")

Split = Literal["train", "val", "test"]

_SHAPES = {
    "idx": (r"[0-9]{1,9}", "a whole number"),
    "orig_idx": (r"[0-9]{1,9}", "a whole number"),
    "orig_file": (r"[0-9]{6}\.jpg", "a name such as 000001.jpg"),
    "proc_md5": (r"[0-9a-f]{32}", "32 hexadecimal digits"),
    "final_md5": (r"[0-9a-f]{32}", "32 hexadecimal digits"),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of CelebA-HQ.

    Attributes
    ----------
    index : int
        Number of the image in CelebA-HQ, from 0; its delta is ``deltaNNNNN.dat``.
    original_index : int
        Number of the photograph in CelebA, from 0: one less than the number in its name.
    original_file : str
        Name of the photograph, such as ``000001.jpg``.
    proc_md5 : str
        MD5 of the pixels (3, 1024, 1024) before the delta is applied, 32 hexadecimal digits.
    final_md5 : str
        MD5 of the pixels of the finished image.
    line : int
        Number of the line in the list, from 1, for error messages.
    """

    index: int
    original_index: int
    original_file: str
    proc_md5: str
    final_md5: str
    line: int = dataclasses.field(default=0, compare=False)

    @property
    def split(self) -> Split:
        """Part of CelebA to which the photograph belongs."""
        return split_of(self.original_index)


def split_of(original_index: int, *, first_of_val: int = 162_770, first_of_test: int = 182_637) -> Split:
    """Part of CelebA to which photograph number `original_index`, from 0, belongs.

    The limits are those of CelebA's ``list_eval_partition.txt``. They divide CelebA-HQ into 24,183 / 2,993 / 2,824.
    """
    if original_index < first_of_val:
        return "train"
    return "val" if original_index < first_of_test else "test"


def read(path: Path) -> list[Row]:
    """Read a list of images; a list of fewer images than the released one (30,000) will do.

    Capital letters in an MD5, a byte order mark and blank lines at the end, as editors leave them, are put right.

    Raises
    ------
    InputError
        If the file cannot be read, holds no image, or a line is not as it should be; names the line and the column.
    """
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).rstrip().split(b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; name the image_list.txt of CelebA-HQ") from None
    rows = list(_rows(lines, path))
    if not rows:
        raise InputError(f"{path} lists no images; get the image_list.txt of CelebA-HQ again")
    return rows


def _rows(lines: Iterable[bytes], path: Path) -> Iterator[Row]:
    """Check and convert the lines of a file."""
    before = -1
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        cells = line.decode("ascii", "backslashreplace").split()
        if number == 1:
            if tuple(cells) != COLUMNS:
                raise InputError(
                    f"{where}: {_shown(cells)} is not the header {' '.join(COLUMNS)!r}; get the file again"
                )
            continue
        if len(cells) != len(COLUMNS):
            raise InputError(
                f"{where}: {len(cells)} columns, not {len(COLUMNS)} ({' '.join(COLUMNS)}); get the file again"
            )
        cells[3:] = [cell.lower() for cell in cells[3:]]
        for column, cell in zip(COLUMNS, cells, strict=True):
            shape, meaning = _SHAPES[column]
            if not re.fullmatch(shape, cell):
                raise _fault(where, column, cell, meaning)
        row = Row(int(cells[0]), int(cells[1]), cells[2], cells[3], cells[4], line=number)
        if row.index <= before:
            raise InputError(
                f"{where}, column idx: {row.index} follows {before}, but numbers must go up and none may come twice; "
                "sort the lines by idx and remove the copies"
            )
        before = row.index
        if row.original_index != int(row.original_file.removesuffix(".jpg")) - 1:
            raise _fault(where, "orig_idx", cells[1], f"one less than the number in {row.original_file}")
        yield row


def _fault(where: str, column: str, cell: str, meaning: str) -> InputError:
    return InputError(f"{where}, column {column}: {_shown([cell])} is not {meaning}; get the file again")


def _shown(cells: list[str], most: int = 60) -> str:
    """Quote what stands in a line, which may be a whole web page."""
    text = " ".join(cells)
    return repr(text if len(text) <= most else f"{text[:most]}...")
