"""Portraits from anyone's photographs, as a source of images: faces are found first, then each is cut out.

To the build this is a source like any other; an image of it is one face of a photograph, and reading it means all
stages from the photograph to the finished portrait. Faces are found once, before anything is counted: what was found
goes into the build's journal, so that a kill after hours of searching costs a second's work.

An image is called as its photograph, and ``photo.jpg#2`` is the second face from the left of one that has several.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Generator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import cv2
import numpy as np
import scipy
import simplejpeg
import xxhash
from numpy.typing import NDArray

from datasets.decode import MAX_PIXELS, decode_with_notes
from datasets.errors import InputError
from toolkit import sources
from toolkit.celebahq.faces.finder import NO_FACE as NONE_FOUND
from toolkit.celebahq.faces.finder import Face, FaceFinder
from toolkit.celebahq.faces.policy import FacePolicy, choose
from toolkit.celebahq.stages import Stages
from toolkit.engine.journal import Journal
from toolkit.engine.progress import Progress
from toolkit.engine.workers import Workers
from toolkit.selection import FACE, NO_FACE
from toolkit.sources import Item, Rendered, Source

_PER_TASK = 4  # photographs
_AS_STORED = "celeba5"  # landmarks for photographs that are not turned as their EXIF tags say
SAVE_SECONDS = 1.0  # between two writes of the journal

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Known:
    """A photograph that an interrupted build has searched: what it was like then."""

    index: int
    name: str = ""
    stamp: str | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found in a photograph.

    Attributes
    ----------
    index : int
        Number of the photograph.
    name, stamp : str
        Of its `toolkit.sources.Item`.
    size : tuple of int
        Width and height in pixels; 0 if it is bad.
    faces : tuple of Face
        From left to right.
    bad : str or None
        Why it could not be searched.
    """

    index: int
    name: str
    stamp: str
    size: tuple[int, int] = (0, 0)
    faces: tuple[Face, ...] = ()
    bad: str | None = None

    def record(self) -> dict[str, Any]:
        """What the journal is to say of it."""
        faces = [[face.points.tolist(), face.confidence, face.size] for face in self.faces]
        plain = {"name": self.name, "stamp": self.stamp, "size": self.size, "bad": self.bad}
        return {"found": self.index, **plain, "faces": faces}

    @classmethod
    def of(cls, record: dict[str, Any]) -> Found:
        """What the journal says."""
        faces = tuple(
            Face(np.array(points), confidence, None if size is None else (size[0], size[1]))
            for points, confidence, size in record["faces"]
        )
        width, height = record["size"]
        return cls(record["found"], record["name"], record["stamp"], (width, height), faces, record["bad"])


class Portraits(sources.Source):
    """The faces in the photographs of another source, each as a finished portrait.

    Parameters
    ----------
    photos : Source
        Where the photographs are.
    finder : FaceFinder
        Knows or finds the faces in them.
    policy : FacePolicy
        Which faces are wanted.
    stages : Stages
        What is done to a photograph.
    found : sequence of Found, optional
        What was found already; otherwise `prepare` finds it.
    """

    def __init__(
        self,
        photos: Source,
        finder: FaceFinder,
        policy: FacePolicy,
        stages: Stages,
        found: Sequence[Found] | None = None,
    ) -> None:
        self._photos, self._finder, self._policy, self._stages = photos, finder, policy, stages
        self.path, self.name = photos.path, photos.name
        self.settings = {
            "faces": {"finder": finder.name, **finder.details, **dataclasses.asdict(policy)},
            "stages": stages.settings,
            "libraries": {"opencv": cv2.__version__, "scipy": scipy.__version__},
        }
        self._found: list[Found] = []
        self._images: list[tuple[int, int, str | None]] = []  # photograph, face in it or -1, why it is left out
        if found is not None:
            self._take(found)

    @property
    def stamp(self) -> str:
        """Stamp of the photographs."""
        return self._photos.stamp

    def identity(self) -> dict[str, Any]:
        """See `toolkit.sources.Source.identity`."""
        finder = "" if "sha256" in self._finder.details else self._finder.stamp
        return {"portraits": self._photos.identity(), "finder": finder, "settings": dict(self.settings)}

    def __reduce__(self) -> tuple[Any, ...]:
        return Portraits, (self._photos, self._finder, self._policy, self._stages, self._found)

    def prepare(self, workers: Workers, journal: Journal | None, progress: Progress) -> None:
        """Find all faces, except in photographs that the journal knows as they are."""
        if not self._found:
            self._finder.check([self._photos[index].name for index in range(len(self._photos))])
            with contextlib.closing(self._search(workers, journal, progress)) as found:
                self._take(list(found))

    def _search(self, workers: Workers, journal: Journal | None, progress: Progress) -> Generator[Found, None, None]:
        numbers = iter(range(len(self._photos)))
        tasks = iter(lambda: [_known(journal, index) for index in islice(numbers, _PER_TASK)], [])
        new: list[dict[str, Any]] = []
        saved = time.monotonic()
        search = partial(find_faces, self._photos, self._finder)
        try:
            with (
                progress(len(self._photos), "finding faces") as bar,
                contextlib.closing(workers.in_order(search, tasks)) as results,
            ):
                for index, found in enumerate(itertools.chain.from_iterable(results)):
                    bar.update(1)
                    if found is not None:
                        new.append(found.record())
                    yield found or _recall(journal, index)
                    if journal is not None and time.monotonic() > saved + SAVE_SECONDS:
                        journal.append(new)
                        journal.sync()
                        new, saved = [], time.monotonic()
        finally:
            if journal is not None:
                with contextlib.suppress(InputError):  # it only saves time, and an error on its way says more
                    journal.append(new)

    def _take(self, found: Sequence[Found]) -> None:
        """Make the list of images from what was found."""
        self._found = list(found)
        self._images.clear()
        for number, photo in enumerate(self._found):
            if photo.bad is not None:
                self._images.append((number, -1, None))
            elif not photo.faces:
                self._images.append((number, -1, f"{NO_FACE}: {NONE_FOUND}"))
            else:
                chosen = choose(photo.faces, photo.size, self._policy, self._stages.geometry)
                self._images += [
                    (number, place, None if reason is None else f"{FACE}: {reason}")
                    for place, (_, reason) in enumerate(chosen)
                ]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, place, left_out = self._images[index]
        found = self._found[number]
        photo = self._photos[found.index]
        suffix = f"#{place + 1}" if len(found.faces) > 1 else ""
        stamp = photo.stamp
        if stamp not in ("", "missing"):
            points = b"".join(face.points.tobytes() for face in found.faces)
            stamp = f"{stamp}:{found.stamp}:{xxhash.xxh3_64_hexdigest(points)}"
        return Item(
            name=f"{photo.name}{suffix}",
            where=f"{photo.where}{suffix}",
            size=partial(self._size, index),
            read=partial(self._read, index),
            stamp=stamp,
            left_out=left_out,
            check=partial(self._check, index),
            preview=partial(self._preview, index),
        )

    # An item holds these and so, in a pickle, the source, which takes what was found along.

    def _size(self, index: int, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
        """Size of the portrait, once it is clear that there is a square for it in the photograph."""
        number, place, _ = self._images[index]
        found, photo = self._photo(number)
        photo.size(max_pixels=max_pixels)
        self._stages.square(found.faces[place].points, found.size, photo.where)
        return self._stages.resolution, self._stages.resolution

    def _check(self, index: int) -> None:
        """Decode the photograph; all else that can go wrong shows in its size."""
        self._size(index)
        pixels_of(self._photo(self._images[index][0])[1])

    def _read(self, index: int) -> Rendered:
        number, place, _ = self._images[index]
        found, photo = self._photo(number)
        pixels, applied, facts = self._pixels(photo)
        face = found.faces[place]
        square = self._stages.square(face.points, (pixels.shape[1], pixels.shape[0]), photo.where)
        done = self._stages.render(pixels, square, photo.where)
        where = {"number": place + 1, "of": len(found.faces), "confidence": face.confidence}
        details = {"photo": facts, "face": {**where, "landmarks": face.points.tolist()}, **done.details}
        return Rendered(done.pixels, (*applied, *done.applied), details)

    def _pixels(self, photo: Item) -> tuple[Pixels, tuple[str, ...], dict[str, Any]]:
        """Pixels as the landmarks count them: upright, but for those of CelebA, which knew nothing of EXIF."""
        pixels, applied, facts = pixels_of(photo)
        data = photo.read() if self._finder.name == _AS_STORED and "exif" in applied else None
        if not isinstance(data, bytes):
            return pixels, applied, facts
        from toolkit.celebahq.photographs import decode_photo  # only for the few that have such a tag

        pixels = decode_photo(data, photo.where)
        return pixels, (), {**facts, "width": pixels.shape[1], "height": pixels.shape[0]}

    def _preview(self, index: int) -> Pixels:
        return pixels_of(self._photos[self._found[self._images[index][0]].index])[0]

    def _photo(self, number: int) -> tuple[Found, Item]:
        """A good photograph that is what it was when its faces were found."""
        found = self._found[number]
        photo = self._photos[found.index]
        if found.bad is not None:
            raise InputError(found.bad.replace(found.name, photo.where, 1))
        if (photo.name, photo.stamp) != (found.name, found.stamp):
            raise InputError(f"{photo.where} has changed since its faces were found; run the same command again")
        return found, photo


def find_faces(photos: Source, finder: FaceFinder, known: Sequence[Known]) -> list[Found | None]:
    """Find the faces in some photographs; None for one that is as it was."""
    return [_find_faces(photos, finder, one) for one in known]


def _find_faces(photos: Source, finder: FaceFinder, known: Known) -> Found | None:
    photo = photos[known.index]
    if (photo.name, photo.stamp) == (known.name, known.stamp):
        return None
    size: list[tuple[int, int]] = []

    def pixels() -> Pixels:
        decoded = pixels_of(photo)[0]
        size.append((decoded.shape[1], decoded.shape[0]))
        return decoded

    try:
        faces = tuple(finder.find(photo.name, pixels))
        if not size:
            size.append(_stored_size(photo) if finder.name == _AS_STORED else photo.size())
        return Found(known.index, photo.name, photo.stamp, size[0], faces)
    except InputError as error:
        bad = str(error).replace(photo.where, photo.name)
    except OSError as error:
        bad = f"{photo.name} cannot be read ({error.strerror or error}); replace it or remove it"
    return Found(known.index, photo.name, photo.stamp, bad=bad)


def _stored_size(photo: Item) -> tuple[int, int]:
    """Width and height of a photograph that is not turned as its EXIF tags say."""
    width, height = photo.size()
    data = photo.read() if width != height else b""
    if isinstance(data, bytes) and data[:2] == b"\xff\xd8":
        with contextlib.suppress(ValueError):  # a JPEG that simplejpeg cannot read is left to the decoder
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return width, height


def pixels_of(photo: Item) -> tuple[Pixels, tuple[str, ...], dict[str, Any]]:
    """Pixels (H, W, 3) of a photograph, what was done to it to get them, and what the ledger says of its file."""
    data = photo.read()
    if isinstance(data, bytes):
        pixels, notes = decode_with_notes(data, photo.where)
        facts = {"bytes": len(data), "xxh3": xxhash.xxh3_128_hexdigest(data), "format": notes.format}
        applied = notes.applied
    else:
        array = data.pixels if isinstance(data, Rendered) else data
        pixels = np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else np.ascontiguousarray(array)
        facts = {"bytes": array.nbytes, "xxh3": xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).data)}
        applied = ("grey",) if array.ndim == 2 else ()
    return pixels, applied, {**facts, "width": pixels.shape[1], "height": pixels.shape[0]}


def _recall(journal: Journal | None, index: int) -> Found:
    record = None if journal is None else journal.find("found", index)
    if record is None:
        raise KeyError(f"photograph {index} was not searched")
    return Found.of(record)


def _known(journal: Journal | None, index: int) -> Known:
    record = journal.find("found", index) if journal is not None and journal.continued else None
    if record is None or record["bad"] is not None:  # it may have been mended by what changes no stamp, as chmod does
        return Known(index)
    return Known(index, record["name"], record["stamp"])
