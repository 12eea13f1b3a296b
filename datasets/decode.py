"""Image files to pixels: upright, sRGB, 8 bits a channel, without transparency, or one clear error.

Everything here goes through Pillow, restricted to the formats below: others can start programs (EPS) or hide a second
image format. Only the pixels of JPEGs come from libjpeg-turbo itself, in half of Pillow's time, if it has nothing to
remark on them; whatever it warns of or refuses is Pillow's to judge, so that which files are accepted, and as which
pixels, does not depend on this short cut. (PNG and WebP gain a tenth from another library; they stay with Pillow.)

What is done to an image is noted by name in `Decoded.applied`:

``first-frame``   an animation or a multi-page file; only the first picture is used
``exif``          turned or mirrored as its orientation tag says
``16-bit``        more than 8 bits a channel, scaled so that the largest value becomes 255, and rounded (CMYK, grey with
                  alpha, planes of a TIFF and other rare kinds lose their low byte inside Pillow: the same scale to
                  within one)
``1-bit``, ``grey``, ``palette``, ``cmyk``
                  expanded to RGB; CMYK without a profile by ``(255 - ink) * (255 - black) / 255``
``icc``           converted from its embedded profile to sRGB, perceptual intent
``icc-ignored``   its profile is damaged or belongs to another kind of image, so the pixels are taken as sRGB
``alpha``         composited on the background colour, in sRGB values

A profile that moves no colour by more than 1 is sRGB under another name; such pixels are left as they are. Float and
32-bit integer images are refused: they do not say which value is white. So are TIFFs in planes (all reds, then all
greens, then all blues) of the kinds that Pillow reads wrongly: uncompressed 16-bit ones, and grey with alpha.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import cast

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (  # these plug-ins by name, as Pillow would load all its forty when it meets a format that it lacks
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from datasets.colour import is_srgb, to_srgb
from datasets.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
WHITE = (255, 255, 255)
MAX_PIXELS = 1 << 28  # 16384 x 16384, 768 MiB once decoded

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274  # tag of EXIF and TIFF
_BITS_PER_SAMPLE, _PLANAR_CONFIGURATION, _IN_PLANES = 258, 284, 2  # tags of TIFF, and a value of the second
_QUARTER_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
# Pillow keeps the high byte of 16-bit colours. Read with the other byte order, the same file gives the low byte.
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_NO_WHITE = {"I": "32-bit or signed integers", "F": "floats", "LAB": "Lab colours"}  # by Pillow's mode


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What an image file was, and what was done to it.

    Attributes
    ----------
    format : str
        Pillow's name of the file format, such as ``JPEG``.
    mode : str
        Pillow's name of the stored pixels, such as ``RGB``, ``CMYK``, ``I;16``.
    width, height : int
        Size in pixels of the upright image.
    applied : tuple of str
        Names from the list at the top of this file, in the order in which they were done.
    """

    format: str
    mode: str
    width: int
    height: int
    applied: tuple[str, ...]


class _PillowGuard:
    """While any thread decodes: Pillow warns nobody, and its one global pixel limit gives way to ours per call.

    ``warnings.catch_warnings`` is not safe in threads, so the first thread in sets the state and the last one out
    restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._warnings.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self._limit


_guard = _PillowGuard()


def list_images(folder: Path) -> list[Path]:
    """Image files under `folder`, at any depth, known by their suffixes.

    Hidden files and folders are left out; links are followed, but never back up into a folder they lie in.

    Returns
    -------
    list of Path
        Sorted by the POSIX path relative to `folder`, code point by code point, which no locale changes.

    Raises
    ------
    InputError
        If `folder` is missing, cannot be read or holds no image; the message says what it holds instead.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder} does not exist; name a folder of images")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name a folder of images")
    try:
        files = list(_files_under(folder, frozenset()))
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; a folder of images must be readable") from None
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        others = Counter(file.suffix or "(no suffix)" for file in files).most_common(4)
        found = ", ".join(f"{number} {suffix}" for suffix, number in others) or "nothing"
        raise InputError(f"{folder} holds no images ({' '.join(SUFFIXES)}), but {found}; name a folder that does")
    return sorted(images, key=lambda file: file.relative_to(folder).as_posix())


def _files_under(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    state = folder.stat()
    if (state.st_dev, state.st_ino) in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_circular(entry):
                yield Path(entry.path)  # reported when it is decoded, as a dangling link is
            elif entry.is_dir():
                yield from _files_under(Path(entry.path), above | {(state.st_dev, state.st_ino)})
            elif entry.is_file() or entry.is_symlink():  # a dangling link is reported when it is decoded
                yield Path(entry.path)


def _is_circular(entry: os.DirEntry[str]) -> bool:
    """True for a link that leads to itself, perhaps through others."""
    try:
        entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return True
        raise
    return False


def looks_like_image(path: Path) -> bool:
    """True if the file at `path` begins like an image of a format that `decode` reads."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(12)
    return start.startswith(_SIGNATURES) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def upright_size(data: bytes | Path, where: str, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of the upright image, from the header alone.

    A PNG that tells its orientation only after its pixels counts as upright here; `decode` turns it all the same.

    Raises
    ------
    InputError
        As `decode` does, for what a header can tell.
    """
    with _guard, _open(data, where, max_pixels) as image:
        width, height = image.size
        if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
            return width, height  # Pillow has turned the size of a TIFF; in a PNG it would search behind the pixels
        return (height, width) if _orientation(image) in _QUARTER_TURNED else (width, height)


def decode(
    data: bytes | Path, where: str, *, background: tuple[int, int, int] = WHITE, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode an image file.

    Parameters
    ----------
    data : bytes or Path
        An image file, or its content.
    where : str
        Name of the image for error messages.
    background : tuple of int
        sRGB colour in 0..255 on which transparent images are composited; white, as browsers and printers have it.
    max_pixels : int
        An image of more pixels is refused before its pixels are read.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        Upright sRGB pixels in [0, 255], C-contiguous.

    Raises
    ------
    InputError
        If the file is missing, empty, not an image, damaged, cut short, too large, or of a kind that has no defined
        white (float, 32-bit integer).
    """
    return decode_with_notes(data, where, background=background, max_pixels=max_pixels)[0]


def decode_with_notes(
    data: bytes | Path, where: str, *, background: tuple[int, int, int] = WHITE, max_pixels: int = MAX_PIXELS
) -> tuple[NDArray[np.uint8], Decoded]:
    """Do as `decode` does, and tell what the file was and what was done to it."""
    with _guard, _open(data, where, max_pixels) as image:
        try:
            return _to_upright_srgb(image, data, where, background)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001  Pillow's decoders raise nearly every kind of error on damaged files
            raise _damaged(where, error) from None


def _open(data: bytes | Path, where: str, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header and refuse what needs no more than that."""
    try:
        if isinstance(data, bytes) and not data:
            raise InputError(f"{where} is empty, not an image; replace it or remove it")
        image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS)
    except InputError:
        raise
    except UnidentifiedImageError:
        if isinstance(data, Path) and data.stat().st_size == 0:
            raise InputError(f"{where} is empty, not an image; replace it or remove it") from None
        known = ", ".join(FORMATS)
        raise InputError(f"{where} is not an image or its header is damaged; images are {known}; remove it") from None
    except Exception as error:  # noqa: BLE001  as above
        raise _damaged(where, error) from None
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise InputError(
            f"{where} has {width}x{height} pixels, more than the {max_pixels} allowed; "
            "make it smaller, remove it or raise the limit"
        )
    if (kind := _misread_planes(image)) is not None:
        image.close()
        raise InputError(f"{where} is {kind}, which cannot be decoded; save it with interleaved channels")
    return image


def _misread_planes(image: ImageFile.ImageFile) -> str | None:
    """Name of the kind of a TIFF in planes for which Pillow would give other pixels without a word, else None."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR_CONFIGURATION) != _IN_PLANES or len(image.getbands()) == 1:
        return None
    # Pillow takes the 2 bytes of a stored value for two pixels; compressed planes are unpacked by libtiff, rightly.
    if max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8 and any(tile.codec_name == "raw" for tile in image.tile):
        return "an uncompressed 16-bit planar TIFF"
    # Compressed grey with alpha comes out wrong; uncompressed, Pillow refuses it itself, but calls it damaged.
    return None if image.mode in ("RGB", "RGBA", "CMYK") else f"a planar TIFF of {image.mode} pixels"


def _damaged(where: str, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.strerror:
        return InputError(f"{where}: {error.strerror}; replace it or remove it")
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{where} cannot be decoded ({reason}); it is damaged or cut short, replace it or remove it")


def _to_upright_srgb(
    image: ImageFile.ImageFile, data: bytes | Path, where: str, background: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], Decoded]:
    """The way of one image, from an opened file to pixels."""
    file_format, mode = str(image.format), image.mode
    if mode in _NO_WHITE:
        raise InputError(
            f"{where} stores {_NO_WHITE[mode]}, which have no defined white; save it as 8-bit or 16-bit grey or RGB"
        )
    applied = ["first-frame"] if getattr(image, "is_animated", False) else []
    deep = any(";16" in str(tile.args) or ";12" in str(tile.args) for tile in image.tile)
    tag = _orientation(image) if file_format == "TIFF" else 1  # load() turns a TIFF and drops its tag
    pixels = _jpeg(image, data)
    if pixels is not None:
        notes = ["grey"] if mode == "L" else []
    else:
        low = _low_bytes(image, data) if deep else None
        image.load()
        pixels, notes = to_srgb(image, background, low)
    if 2 <= (turn := _orientation(image)) <= 8:
        pixels = _turned(pixels, turn)
    if 2 <= max(turn, tag) <= 8:
        applied.append("exif")
    if deep:
        applied.append("16-bit")
    height, width = pixels.shape[:2]
    return pixels, Decoded(file_format, mode, width, height, (*applied, *notes))


def _jpeg(image: ImageFile.ImageFile, data: bytes | Path) -> NDArray[np.uint8] | None:
    """Pixels of a JPEG of the usual kind, shape (H, W, 3), or None if Pillow shall decode it."""
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return None
    if (profile := image.info.get("icc_profile")) and not (image.mode == "RGB" and is_srgb(profile)):
        return None
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data if isinstance(data, bytes) else data.read_bytes())
    except ValueError:  # a warning or an error of libjpeg-turbo
        return None
    return pixels if pixels.shape == (image.height, image.width, 3) else None


def _low_bytes(image: ImageFile.ImageFile, data: bytes | Path) -> Image.Image | None:
    """Low bytes of a picture of 16-bit RGB or RGBA that Pillow reads without them; None for other kinds."""
    other_order = []
    for tile in image.tile:
        mode, *others = (tile.args,) if isinstance(tile.args, str) else tile.args or ("",)
        if not mode.startswith(("RGB;16", "RGBA;16")):
            return None
        swapped = mode[:-1] + _OTHER_BYTE[mode[-1]]
        other_order.append(tile._replace(args=(swapped, *others) if others else swapped))
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS) as low:
        low.tile = other_order
        low.load()
        return low.copy()


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn stored pixels upright, shape (H, W, 3); EXIF 2.3, tag 274, values 2 to 8."""
    import cv2  # only now: it takes a tenth of a second, and few pictures need it

    mirrored = cv2.flip(pixels, 1) if orientation in (2, 4, 5, 7) else pixels
    rotation = {
        3: cv2.ROTATE_180,
        4: cv2.ROTATE_180,
        5: cv2.ROTATE_90_COUNTERCLOCKWISE,
        6: cv2.ROTATE_90_CLOCKWISE,
        7: cv2.ROTATE_90_CLOCKWISE,
        8: cv2.ROTATE_90_COUNTERCLOCKWISE,
    }.get(orientation)
    return cast(NDArray[np.uint8], mirrored if rotation is None else cv2.rotate(mirrored, rotation))


def _orientation(image: Image.Image) -> int:
    """Orientation tag, 1 if there is none or the tags are unreadable: damaged tags do not make a picture unusable."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  as above
        return 1
