"""CelebA-HQ as it was released: the photographs of CelebA, their landmarks, and a delta for each of 30,000 of them.

For every row of ``image_list.txt``: the photograph is decoded and rendered by the recipe of 2017, which gives
``proc``; its delta is opened with a key made from the photograph's bytes, and added. Two checksums decide what the
result is:

``exact``
    The result has the ``final_md5`` of the list: it is the released image, to the bit.
``near``
    Ours has not the ``proc_md5`` of the list, since another decoder or resampler was at work, but is near it. The delta
    is applied so that nothing wraps around, see `toolkit.celebahq.nearness`, and the ledger holds the evidence, such as
    whether the delta is seen to belong where it was applied (``place_confirmed``).

Anything else is a bad image: a wrong photograph or delta never ends up as noise in a data set. Wrong landmarks are
found out where the delta shows them; where it does not, the row is near and its place not confirmed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.decode import MAX_PIXELS, decode, upright_size
from datasets.errors import InputError
from datasets.levels import level_of, pyramid
from toolkit import sources
from toolkit.celebahq import deltas, image_list, originals
from toolkit.celebahq.bases import Bases
from toolkit.celebahq.delta_files import DeltaFiles, member_name
from toolkit.celebahq.geometry import RESOLUTION
from toolkit.celebahq.image_list import Row
from toolkit.celebahq.nearness import apply_near
from toolkit.celebahq.originals import ALIGNED_SIZE
from toolkit.sources import Item, Rendered, file_stamp

LIST = "image_list.txt"
RELEASED_LIST_MD5 = "775f1ed78779f521f3229ca4c986799d"
_END_OF_JPEG = b"\xff\xd9"
_NEIGHBOURS = (-1, 1, -1000, 1000)  # images whose delta may have been mistaken for this one


class Released(sources.Source):
    """The images of ``image_list.txt``, in its order. An image is called as its photograph.

    Parameters
    ----------
    celeba : Path
        Folder of CelebA, see `toolkit.celebahq.originals.find`; also where the landmarks are.
    folder : Path
        Folder of the deltas and of ``image_list.txt``, which may also lie in `celeba`.
    landmarks : Path, optional
        Landmarks of the photographs, if they are not ``list_landmarks_celeba.txt`` in the folder or ``Anno`` in it.
    strict : bool
        Refuse images that are near.
    resolution : int, optional
        Side of the images that are given: by default that of the deltas; or less, reduced by the box filter as the
        levels of a pyramid are.
    side : int
        Side of the images that the deltas were made for; the released ones have 1024, tests are quicker with less.

    Raises
    ------
    InputError
        If there are no photographs, landmarks, list or deltas, or they cannot be read.
    """

    def __init__(
        self,
        celeba: Path,
        folder: Path,
        *,
        landmarks: Path | None = None,
        strict: bool = False,
        resolution: int | None = None,
        side: int = RESOLUTION,
    ) -> None:
        self.path, self.folder, self.strict = celeba, folder, strict
        self.side, self.resolution = side, resolution or side
        level_of(self.resolution, "--resolution")
        if self.resolution > side:
            raise InputError(f"--resolution {resolution}: the deltas are for {side}x{side} pixels; give {side} or less")
        self.name = celeba.resolve().name
        self.list_path = _list_in(folder, celeba)
        self.rows = image_list.read(self.list_path)
        self.bases = Bases(celeba, landmarks, side)
        self.originals = self.bases.originals
        self.deltas = DeltaFiles(folder)
        files = [row.original_file for row in self.rows]
        self._unique = len(set(files)) == len(files)
        self.list_md5 = hashlib.md5(self.list_path.read_bytes(), usedforsecurity=False).hexdigest()
        self.settings = {
            "released": {"image_list_md5": self.list_md5, "strict": strict, "side": side},
            "landmarks": dict(self.bases.landmarks.details),
        }

    @property
    def stamp(self) -> str:
        """Stamps of the list and the landmarks; photographs and deltas have their own."""
        text = f"{file_stamp(self.list_path)} {self.bases.landmarks.stamp}"
        return xxhash.xxh3_128_hexdigest(text.encode())

    def __reduce__(self) -> tuple[Callable[..., Released], tuple[Any, ...]]:
        paths = (self.path.absolute(), self.folder.absolute(), self.bases.landmarks_path.absolute())
        return _reopen, (*paths, self.strict, self.resolution, self.side, self.stamp)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self.rows[index]
        where = self.originals.where(row.original_file)
        return Item(
            row.original_file if self._unique else f"{row.index:05d}/{row.original_file}",
            where,
            size=self._size,
            read=partial(self.render, index),
            stamp=f"{self.originals.stamp(row.original_file)}/{self.deltas.stamp(row.index)}",
            preview=partial(self._preview, index),
        )

    def _size(self, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:  # noqa: ARG002  they are what we make them
        return self.resolution, self.resolution

    def _preview(self, index: int) -> NDArray[np.uint8]:
        row = self.rows[index]
        return decode(self.originals.read(row.original_file), self.originals.where(row.original_file))

    def open_delta(self, index: int) -> tuple[bytes, NDArray[np.uint8]]:
        """Bytes of the photograph of image number `index`, and its delta, uint8 of shape (3, side, side).

        Raises
        ------
        InputError
            If one of them is missing or damaged, or they do not belong together; says which, as far as can be told.
        OSError
            If one of them cannot be read.
        """
        row = self.rows[index]
        where = self.originals.where(row.original_file)
        jpeg = self.bases.jpeg(row.original_file)
        token = self.deltas.read(row.index)
        key = deltas.derive_key(jpeg, row.original_file)
        try:
            return jpeg, deltas.decrypt(token, key, self.deltas.where(row.index), side=self.side)
        except deltas.WrongKeyError as error:
            raise self._why_locked(row, token, where, error) from None

    def render(self, index: int) -> Rendered:
        """Image number `index`, and in its details what ``image_list.txt`` says of it, and whether it is exact.

        Raises
        ------
        InputError
            If it is neither exact nor near; or near, if that is not wanted.
        OSError
            If a file cannot be read.
        """
        row = self.rows[index]
        where = self.originals.where(row.original_file)
        jpeg, delta = self.open_delta(index)
        base = self.bases.render(row.original_file, jpeg)
        planes = np.ascontiguousarray(base.pixels.transpose(2, 0, 1))
        base_md5 = deltas.md5_of(planes)
        details = {
            "idx": row.index,
            "orig_idx": row.original_index,
            "file": row.original_file,
            "split": row.split,
            "proc_md5": row.proc_md5,
            "final_md5": row.final_md5,
        }
        if base_md5 == row.proc_md5:
            final, evidence = deltas.apply(planes, delta), None
            if deltas.md5_of(final) != row.final_md5:
                raise InputError(
                    f"{where}: image and delta have their checksums, but their sum has not the final_md5 of line "
                    f"{row.line} of {self.list_path}; list and deltas must be of one set, get {LIST} again"
                )
        else:
            final, evidence = self._near(planes, delta, row, base_md5, where)
        details["match"] = "exact" if evidence is None else "near"
        if evidence is not None:
            details["near"] = {"base_md5": base_md5, "result_md5": deltas.md5_of(final), **evidence}
        applied = [*base.applied, "delta"]
        if self.resolution < self.side:
            applied.append(f"box-{self.side // self.resolution}")
        pixels = pyramid(final)[level_of(self.resolution)]
        return Rendered(np.ascontiguousarray(pixels.transpose(1, 2, 0)), tuple(applied), details)

    def _near(
        self, base: NDArray[np.uint8], delta: NDArray[np.uint8], row: Row, base_md5: str, where: str
    ) -> tuple[NDArray[np.uint8], dict[str, Any] | None]:
        """Image from a base that is not the recipe's to the bit; no evidence if it is the released one all the same."""
        plain = deltas.apply(base, delta)
        if deltas.md5_of(plain) == row.final_md5:  # then proc_md5 in the list is wrong
            return plain, None
        final, evidence = apply_near(base, delta, where)
        if deltas.md5_of(final) == row.final_md5:  # all differences lay in values that clipping put right
            return final, None
        if self.strict:
            raise InputError(
                f"{where}: the MD5 of the pixels before the delta is {base_md5}, not the proc_md5 {row.proc_md5}; they "
                "are near the released ones, which --strict refuses; leave it out, or --skip-bad to keep the exact ones"
            )
        return final, evidence

    def _why_locked(self, row: Row, token: bytes, where: str, error: InputError) -> InputError:
        """Better reason for a delta that does not open, if one is to be found."""
        jpeg = self.originals.read(row.original_file)
        if not jpeg.rstrip(b"\0\r\n").endswith(_END_OF_JPEG):
            return InputError(
                f"{where} ends in the middle of the picture: its download or copy was cut short at {len(jpeg)} bytes; "
                f"get it again from {originals.SOURCE}"
            )
        width, height = upright_size(jpeg, where)
        if (width, height) == ALIGNED_SIZE:
            return InputError(
                f"{where} is an aligned image of {width}x{height} pixels; the deltas open with the photographs in the "
                f"wild alone; get them from {originals.SOURCE}"
            )
        neighbours = {row.index + step for step in _NEIGHBOURS}
        for other in self.rows:
            if other.index in neighbours and self._opens(other, token):
                return InputError(
                    f"{self.deltas.where(row.index)} is the delta of image {other.index} under a wrong name; it should "
                    f"be called {member_name(other.index)}; get it again as it was released"
                )
        return InputError(f"{where}: {error}")

    def _opens(self, row: Row, token: bytes) -> bool:
        """Whether a token opens with the photograph of another row."""
        try:
            key = deltas.derive_key(self.originals.read(row.original_file), row.original_file)
            deltas.decrypt(token, key, "", side=self.side)
        except (InputError, OSError, KeyError):
            return False
        return True


def _list_in(folder: Path, celeba: Path) -> Path:
    """The list of images."""
    place = folder.parent if folder.is_file() else folder
    for candidate in (place / LIST, celeba / LIST):
        if candidate.is_file():
            return candidate
    raise InputError(f"there is no {LIST} in {place}; put the one beside the deltas of CelebA-HQ there")


@functools.lru_cache(maxsize=2)
def _reopen(
    celeba: Path, folder: Path, landmarks: Path, strict: bool, resolution: int, side: int, stamp: str
) -> Released:
    """Open it in another process, once for all images."""
    source = Released(celeba, folder, landmarks=landmarks, strict=strict, resolution=resolution, side=side)
    if source.stamp != stamp:
        raise InputError(f"{celeba} has changed since the build began; run the same command again")
    return source
