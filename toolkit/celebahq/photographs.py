"""Photographs of CelebA as they were decoded in 2017: by libjpeg 8d, unturned, without colour management.

libjpeg from version 7 on enlarges colours that are stored at half the resolution by an inverse DCT of 16x16; the
libjpeg-turbo in everyone's hands today interpolates between them, as version 6b did. In a typical photograph a third of
the pixels differ, by half a level on average and by up to 40 at the edges of colours, which is too much for a delta.
Files whose colours are stored at the full resolution are decoded alike by both.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from datasets.decode import decode
from datasets.errors import InputError
from toolkit.celebahq import old_jpeg

_COLOURS = ("Gray", "RGB", "YCbCr")  # that libjpeg turns into RGB


def decode_photo(data: bytes, where: str) -> NDArray[np.uint8]:
    """Decode a photograph as the released recipe did.

    Parameters
    ----------
    data : bytes
        An image file. All of CelebA's are JPEG; another format, or a JPEG for printing (CMYK), which the recipe could
        not use, is decoded as `datasets.decode.decode` does.
    where : str
        Name of the image for error messages.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        RGB. A turn that the EXIF tags ask for is not done, and a colour profile is not applied.

    Raises
    ------
    InputError
        If the file is damaged, cut short or no image; or if the package jpeglib is not installed.
    """
    modern = decode(data, where)  # refuses whatever is damaged, which the old library would fill with grey
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return modern
    if colours not in _COLOURS:
        return modern
    return _decoders.decode(data, height, width, where)


class _Decoder:
    """A process of `toolkit.celebahq.old_jpeg`. It ends when this object does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(old_jpeg.__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        weakref.finalize(self, _end, self._process)
        self.is_loaded = self._read(1) == old_jpeg.DONE

    def decode(self, data: bytes, height: int, width: int) -> NDArray[np.uint8] | None:
        """Pixels, shape (height, width, 3); None if the library refused the file or crashed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(old_jpeg.HEADER.pack(len(data), height, width) + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        if self._read(1) != old_jpeg.DONE:
            return None
        pixels = self._read(height * width * 3)
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3) if len(pixels) == height * width * 3 else None

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(size)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a decoder end, by the end of its input."""
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except BrokenPipeError:  # it has ended already, with something unsaid
            pass
    process.wait()


class _Decoders:
    """As many decoders as are used at a time; threads borrow them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []

    def decode(self, data: bytes, height: int, width: int, where: str) -> NDArray[np.uint8]:
        """Pixels of a JPEG, shape (height, width, 3); see `decode_photo`."""
        with self._lock:
            decoder = self._idle.pop() if self._idle else None
        decoder = decoder or _started()
        pixels = decoder.decode(data, height, width)
        if pixels is None:
            raise InputError(f"{where} cannot be decoded by libjpeg 8d; it is damaged, replace it or remove it")
        with self._lock:
            self._idle.append(decoder)
        return pixels

    def forget(self) -> None:
        """After a fork: the decoders belong to the other process."""
        self._lock = threading.Lock()
        self._idle = []


def _started() -> _Decoder:
    if importlib.util.find_spec("jpeglib") is None:
        raise InputError(
            "photographs of CelebA are decoded by the libjpeg 8d in the package jpeglib; "
            "install it with pip install 'growgan[celebahq]'"
        )
    decoder = _Decoder()
    if not decoder.is_loaded:
        raise InputError("libjpeg 8d in the package jpeglib cannot be loaded; install jpeglib again")
    return decoder


_decoders = _Decoders()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoders.forget)
