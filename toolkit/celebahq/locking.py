"""Make deltas: publish images derived from CelebA without publishing its photographs.

The inverse of `toolkit.celebahq.released`: for every derived image, the recipe's base of its photograph is subtracted,
and the difference is locked with the photograph's bytes. ``OUT/deltas00000.zip`` and so on and ``OUT/image_list.txt``
are of the released layout.

Tokens are salted with the time and random numbers, so two runs differ in every byte, though both open to the same
images. A run that is killed goes on where it was: finished tokens lie in a hidden folder beside `OUT`, and a hidden
journal says what they were made of.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.atomic import claim_folder, empty_folder, publish_folder, replacing, system_errors
from datasets.errors import InputError
from toolkit.celebahq import deltas, image_list
from toolkit.celebahq.bases import Bases
from toolkit.celebahq.delta_files import PER_ZIP, member_name, zip_name
from toolkit.celebahq.subset import celeba_number
from toolkit.engine import process
from toolkit.engine.journal import Journal
from toolkit.engine.meter import Meter
from toolkit.engine.output import to_be_continued
from toolkit.engine.progress import Progress
from toolkit.engine.versions import deciding_versions
from toolkit.engine.workers import hired
from toolkit.options import Options
from toolkit.sources import Source

_LIST = "image_list.txt"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A derived image and its photograph.

    Attributes
    ----------
    image : int
        Number of the derived image in its source.
    photo : str
        Name of the photograph, such as ``000001.jpg``.
    """

    image: int
    photo: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Locked:
    """What was done: the folder, the number of deltas and zip archives, their bytes, and deltas made before a kill."""

    path: Path
    deltas: int
    zips: int
    bytes: int
    kept: int

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def pairs_by_name(derived: Source) -> list[Pair]:
    """Photograph of every derived image by its name: ``any/folder/000001.png`` is made from ``000001.jpg``.

    Raises
    ------
    InputError
        If an image is not called by the number of a photograph.
    """
    pairs = []
    for index in range(len(derived)):
        name = derived[index].name
        number = celeba_number(name)
        if number is None:
            raise InputError(
                f"{derived.path} holds {name}, which is not called as a photograph of CelebA (000001.png for "
                "000001.jpg); rename it, or say what it is made from: --table FILE"
            )
        pairs.append(Pair(index, f"{number + 1:06d}.jpg"))
    return pairs


def pairs_in_table(path: Path, derived: Source) -> list[Pair]:
    """Photographs from a CSV table with a header: ``file`` is the photograph, ``row`` or ``image`` the derived image.

    An image may be listed once; a photograph, of which there are several images, more often.

    ``row`` is its number in the source, from 0, as in ``OUT.mapping.csv``; ``image`` its name. The order of the table
    is that of the deltas.

    Raises
    ------
    InputError
        If the table cannot be read, or a line names no image or photograph, or an image once more; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # as spreadsheets save it
            table = csv.DictReader(file)
            columns = table.fieldnames or []
            lines = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}); name a CSV table with the columns file and row") from None
    if "file" not in columns or not {"row", "image"} & set(columns):
        raise InputError(
            f"{path}, line 1: the columns are {', '.join(columns)[:100] or 'none'}; there must be file (000001.jpg) "
            "and row (from 0) or image (name)"
        )
    by_name = {derived[index].name: index for index in range(len(derived))} if "row" not in columns else {}
    pairs = []
    line_of: dict[int, int] = {}  # image -> where it stands
    for number, line in enumerate(lines, start=2):
        photo, cell = str(line["file"] or ""), str(line.get("row") or line.get("image") or "")
        image = (int(cell) if cell.isdecimal() else -1) if "row" in columns else by_name.get(cell, -1)
        if not 0 <= image < len(derived):
            raise InputError(f"{path}, line {number}: {derived.path} holds no image {cell!r}; mend the table")
        if celeba_number(photo) is None or not photo.endswith(".jpg") or "/" in photo:
            raise InputError(f"{path}, line {number}: {photo[:60]!r} is no photograph of CelebA, such as 000001.jpg")
        if line_of.setdefault(image, number) != number:
            raise InputError(
                f"{path}, line {number}: image {cell!r} stands in line {line_of[image]} already; list every image once"
            )
        pairs.append(Pair(image, photo))
    if not pairs:
        raise InputError(f"{path} has no lines below its header; name every derived image and its photograph")
    return pairs


def make_deltas(
    bases: Bases,
    derived: Source,
    pairs: Sequence[Pair],
    out: Path,
    *,
    jobs: int,
    progress: Progress,
    say: Callable[[str], None] = lambda _: None,
) -> Locked:
    """Make the folder `out` of deltas; it appears when it is whole.

    Parameters
    ----------
    bases : Bases
        Of the photographs.
    derived : Source
        The derived images, as large as the bases.
    pairs : sequence of Pair
        Delta number k is that of pair number k.
    out : Path
        Folder to make.
    jobs : int
        Number of threads, at least 1.
    progress : callable
        Makes progress bars.
    say : callable, optional
        Told, in one line, if the work goes on where it was interrupted.

    Raises
    ------
    InputError
        If `out` exists, an image or a photograph is bad, or the disk is full.
    """
    if os.path.lexists(out):
        raise InputError(f"{out} exists already; choose another name or remove it")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(f"cannot write {out}: there is no folder {out.parent} that can be written to; create it first")
    for pair in pairs:
        bases.check(pair.photo)
    key = {
        "deltas": out.name,
        "versions": deciding_versions(),
        "derived": derived.identity(),
        "landmarks": bases.landmarks.stamp,
        "side": bases.side,
        "pairs": [[pair.image, pair.photo] for pair in pairs],
    }
    with Journal(out, key) as journal, system_errors(out):
        folder, descriptor = claim_folder(out)
        try:
            work = _Work(bases, derived, pairs, folder, journal)
            if not journal.continued:
                empty_folder(folder)
            locked = work.run(out, jobs, progress, say)
            publish_folder(folder, out)
        except BaseException as error:
            if not journal.has_rows:
                shutil.rmtree(folder, ignore_errors=True)
                journal.discard()
            elif isinstance(error, InputError):
                raise to_be_continued(error) from None
            raise
        finally:
            os.close(descriptor)
        journal.discard()
    return locked


class _Work:
    """The folder under way."""

    def __init__(self, bases: Bases, derived: Source, pairs: Sequence[Pair], folder: Path, journal: Journal) -> None:
        self._bases, self._derived, self._pairs = bases, derived, pairs
        self._folder, self._journal = folder, journal

    def run(self, out: Path, jobs: int, progress: Progress, say: Callable[[str], None]) -> Locked:
        """Make what is missing."""
        total = len(self._pairs)
        missing = [number for number in range(total) if not self._is_done(number)]
        kept = total - len(missing)
        if kept:
            say(f"going on where it was interrupted: {kept} of {total} deltas are there")
        make = partial(lock, self._bases, self._derived)
        tasks: Iterator[Pair] = (self._pairs[number] for number in missing)
        pending = dict.fromkeys(map(zip_name, missing), 0)
        for number in missing:
            pending[zip_name(number)] += 1
        with (
            hired(jobs) as workers,
            progress(total, "making deltas", initial=kept) as bar,
            contextlib.closing(workers.in_order(make, tasks)) as results,
        ):
            meter = Meter(bar)
            for number, (token, md5s) in zip(missing, results, strict=True):
                with replacing(self._folder / member_name(number)) as temporary:
                    temporary.write_bytes(token)
                record = {"done": number, "stamp": self._stamp(number), "md5s": md5s}
                self._journal.append([record])
                self._journal.sync()
                meter.add(1, len(token))
                pending[zip_name(number)] -= 1
                if not pending[zip_name(number)]:
                    self._pack(zip_name(number))
        for first in range(0, total, PER_ZIP):
            self._pack(zip_name(first))
        self._write_list()
        for leftover in self._folder.glob(".*"):  # of a write that was killed
            leftover.unlink()
        zips = sorted(self._folder.glob("*.zip"))
        size = sum(file.stat().st_size for file in zips)
        return Locked(path=out, deltas=total, zips=len(zips), bytes=size, kept=kept)

    def _stamp(self, number: int) -> str:
        """Text that changes when the derived image or the photograph does."""
        pair = self._pairs[number]
        item = self._derived[pair.image]
        return f"{item.stamp or self._derived.stamp} {self._bases.originals.stamp(pair.photo)}"

    def _is_done(self, number: int) -> bool:
        record = self._journal.find("done", number)
        if record is None or record["stamp"] != self._stamp(number):
            return False
        return (self._folder / member_name(number)).is_file() or (self._folder / zip_name(number)).is_file()

    def _pack(self, name: str) -> None:
        """Move finished deltas into their zip archive, which appears whole."""
        first = int(name.removeprefix("deltas").removesuffix(".zip"))
        members = [member_name(number) for number in range(first, min(first + PER_ZIP, len(self._pairs)))]
        loose = [name for name in members if (self._folder / name).is_file()]
        if not loose:
            return
        place = self._folder / name
        with contextlib.ExitStack() as stack:
            old = stack.enter_context(zipfile.ZipFile(place)) if place.is_file() else None
            temporary = stack.enter_context(replacing(place))
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:  # what is encrypted is not deflated
                for member in members:
                    if member in loose:
                        archive.write(self._folder / member, member)
                    elif old is not None:
                        archive.writestr(member, old.read(member))
        for member in loose:
            (self._folder / member).unlink()

    def _write_list(self) -> None:
        lines = [" ".join(image_list.COLUMNS)]
        for number, pair in enumerate(self._pairs):
            record = self._journal.find("done", number)
            assert record is not None, f"delta {number} was not made"
            original = celeba_number(pair.photo)
            lines.append(f"{number} {original} {pair.photo} {' '.join(record['md5s'])}")
        with replacing(self._folder / _LIST) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def lock(bases: Bases, derived: Source, pair: Pair) -> tuple[bytes, tuple[str, str]]:
    """Token of one derived image, and the MD5s of the base and of the image.

    Raises
    ------
    InputError
        If the image is bad or of another size, or its photograph or landmarks are.
    """
    item = derived[pair.image]
    try:
        pixels, _ = process.read(item, Options())
        final = _planes(pixels)
        if final.shape[1:] != (bases.side, bases.side):
            raise InputError(
                f"{item.where} has {final.shape[2]}x{final.shape[1]} pixels, not {bases.side}x{bases.side}; resize it, "
                "or say which side all images have: --delta-side N"
            )
        jpeg = bases.jpeg(pair.photo)
        base = _planes(bases.render(pair.photo, jpeg).pixels)
    except OSError as error:
        raise InputError(f"{error.filename or item.where} cannot be read ({error.strerror or error})") from None
    token = deltas.encrypt(deltas.difference(base, final), deltas.derive_key(jpeg, pair.photo))
    return token, (deltas.md5_of(base), deltas.md5_of(final))


def _planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
