"""What the recipe makes of a photograph of CelebA: the base that a delta is made for, and is added to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from datasets.errors import InputError
from toolkit.celebahq import originals
from toolkit.celebahq.faces import FaceFinder
from toolkit.celebahq.faces.files import open_file
from toolkit.celebahq.geometry import RESOLUTION, oriented_square
from toolkit.sources import Rendered

LANDMARKS: Final = "list_landmarks_celeba.txt"
_ALIGNED_LANDMARKS = "list_landmarks_align_celeba.txt"
_LEAST_JPEG = 100  # bytes; its headers alone have more


class Bases:
    """Bases by the names of their photographs, such as ``000001.jpg``.

    Parameters
    ----------
    celeba : Path
        Folder of CelebA, see `toolkit.celebahq.originals.find`; also where the landmarks are.
    landmarks : Path, optional
        Landmarks of the photographs, if they are not ``list_landmarks_celeba.txt`` in the folder or ``Anno`` in it.
    side : int
        Side of the bases in pixels.

    Raises
    ------
    InputError
        If there are no photographs or landmarks, or they cannot be read.
    """

    def __init__(self, celeba: Path, landmarks: Path | None = None, side: int = RESOLUTION) -> None:
        self.side = side
        self.originals = originals.find(celeba)
        self.landmarks_path = landmarks or find_landmarks(celeba)
        self.landmarks: FaceFinder = open_file(self.landmarks_path)

    def check(self, name: str) -> None:
        """See that a photograph is there, and begins as a JPEG file does.

        Raises
        ------
        InputError
            If not.
        OSError
            If it cannot be read.
        """
        where = self.originals.where(name)
        if name not in self.originals:
            raise InputError(f"{where} is missing; get it from {originals.SOURCE}")
        _check_jpeg(self.originals.head(name, _LEAST_JPEG), where)

    def jpeg(self, name: str) -> bytes:
        """Bytes of a photograph; raises what `check` does."""
        self.check(name)
        return self.originals.read(name)

    def render(self, name: str, jpeg: bytes) -> Rendered:
        """Base from the bytes of a photograph.

        Raises
        ------
        InputError
            If it cannot be decoded, or its landmarks are missing or not its own.
        """
        from toolkit.celebahq import recipe  # only now: they load compiled code
        from toolkit.celebahq.photographs import decode_photo

        where = self.originals.where(name)
        photo = decode_photo(jpeg, where)
        faces = self.landmarks.find(name, lambda: photo)
        if len(faces) != 1:
            raise InputError(
                f"{where} has {len(faces)} faces in {self.landmarks_path}, not one; use {LANDMARKS} of CelebA"
            )
        square = oriented_square(faces[0].points, where)
        return recipe.render(photo, square, where, resolution=self.side, direct=True)


def find_landmarks(celeba: Path) -> Path:
    """The landmarks of the photographs in the wild, in a folder of CelebA or up to two above.

    Raises
    ------
    InputError
        If they are not there; says so if those of the aligned images are.
    """
    around = celeba if celeba.is_dir() else celeba.parent
    for folder in (around, around.parent, around.parent.parent):
        for candidate in (folder / "Anno" / LANDMARKS, folder / LANDMARKS):
            if candidate.is_file():
                return candidate
    for candidate in (around / "Anno" / _ALIGNED_LANDMARKS, around / _ALIGNED_LANDMARKS):
        if candidate.is_file():
            raise InputError(
                f"{candidate} belongs to the aligned images; get {LANDMARKS}, that of the photographs in the wild, "
                "from the folder Anno of CelebA"
            )
    raise InputError(
        f"there is no {LANDMARKS} in {around} or in {around / 'Anno'}; get it from the folder Anno of CelebA"
    )


def _check_jpeg(head: bytes, where: str) -> None:
    """Refuse what does not begin as a JPEG file, before a key is made of it that opens nothing."""
    if len(head) < _LEAST_JPEG:
        what = f"has {len(head)} bytes, so its download or copy failed"
    elif head[:3] == b"\xff\xd8\xff":
        return
    elif head[:8] == b"\x89PNG\r\n\x1a\n":
        what = "is a PNG file under this name, a conversion; the bytes of the JPEG file are the key to the delta"
    elif head.lstrip()[:1] == b"<":
        what = "is a web page under this name"
    else:
        what = "is no JPEG file"
    raise InputError(f"{where} {what}; get the original from {originals.SOURCE}")
