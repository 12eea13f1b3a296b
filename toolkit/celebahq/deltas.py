"""Deltas: the difference between the image that the recipe gives and the released one, locked with the photograph.

A delta is a Fernet token around a bz2 stream of the bytes of a (3, side, side) array. Its key is derived from the bytes
of the original JPEG file, so only who has the photographs of CelebA can open it. It is added modulo 256, so it gives
the released image on top of exactly the pixels it was made for, and noise on top of others: compare MD5s, always.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import contextlib
import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.geometry import RESOLUTION

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_CHANNELS = 3
_MOST_BYTES = _CHANNELS * 2048 * 2048  # of the largest image there can be a delta for
_PIECE = 1 << 20
_TOKEN_VERSION = 0x80
_TOKEN_FRAME = 1 + 8 + 16 + 32  # bytes: version, time, initial vector, HMAC-SHA256; between them blocks of 16


class WrongKeyError(InputError):
    """A delta does not open with this key."""


def derive_key(jpeg: bytes, file_name: str, *, iterations: int = 100_000) -> bytes:
    """Key of a delta: PBKDF2 with HMAC-SHA256, 32 bytes, as URL-safe base64.

    Parameters
    ----------
    jpeg : bytes
        The original photograph of CelebA (in-the-wild), the whole file.
    file_name : str
        Its name, such as ``000001.jpg``; the salt.
    iterations : int
        100,000 in the released set.

    Raises
    ------
    InputError
        If the name has other characters than ASCII.
    """
    if not file_name.isascii():
        raise InputError(f"{file_name!r} cannot be the name of a CelebA photograph; names are like 000001.jpg")
    return base64.urlsafe_b64encode(hashlib.pbkdf2_hmac("sha256", jpeg, file_name.encode("ascii"), iterations, 32))


def decrypt(token: bytes, key: bytes, where: str, *, side: int = RESOLUTION) -> NDArray[np.uint8]:
    """Open a delta.

    Parameters
    ----------
    token : bytes
        Content of a ``deltaNNNNN.dat``.
    key : bytes
        From `derive_key`.
    where : str
        What the token is, for error messages.
    side : int
        Side of the image in pixels.

    Returns
    -------
    ndarray of uint8, shape (3, side, side)

    Raises
    ------
    WrongKeyError
        If the key is not its own, or the token is damaged.
    InputError
        If it is no token, or what it holds is not such an array; or if the package cryptography is not installed.
    """
    fernet = _fernet(key)
    from cryptography.fernet import InvalidToken  # after the line above, which says so if the package is missing

    if not _is_token(token):
        raise InputError(
            f"{where} is not a delta (a Fernet token): it is cut short, damaged or another file; get it again"
        )
    try:
        compressed = fernet.decrypt(token)
    except InvalidToken:
        raise WrongKeyError(
            f"{where} does not open: its photograph is not the original JPEG of CelebA (in-the-wild) byte for byte, or "
            "the delta is damaged or that of another image; use files that no program has saved again"
        ) from None
    content = _decompress(compressed, _CHANNELS * side * side, where)
    return np.frombuffer(content, np.uint8).reshape(_CHANNELS, side, side)


def encrypt(delta: NDArray[np.uint8], key: bytes) -> bytes:
    """Lock a delta, uint8 of shape (3, side, side); `decrypt` is the inverse. No two tokens are equal: they are salted.

    Raises
    ------
    InputError
        If the package cryptography is not installed.
    """
    return _fernet(key).encrypt(bz2.compress(np.ascontiguousarray(delta).data))


def apply(base: NDArray[np.uint8], delta: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Released image from the recipe's and the delta: ``base + delta`` modulo 256, uint8 of equal shapes."""
    _check_alike(base, delta)
    return base + delta


def difference(base: NDArray[np.uint8], final: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Delta that leads from one image to the other: ``final - base`` modulo 256, uint8 of equal shapes."""
    _check_alike(base, final)
    return final - base


def md5_of(pixels: NDArray[np.uint8]) -> str:
    """MD5 of the pixels in the order channel, row, column, as ``image_list.txt`` has it: 32 hexadecimal digits."""
    return hashlib.md5(np.ascontiguousarray(pixels).data, usedforsecurity=False).hexdigest()


def _fernet(key: bytes) -> Fernet:
    """Cipher of a key."""
    try:
        from cryptography.fernet import Fernet
    except ModuleNotFoundError:
        raise InputError(
            "deltas of CelebA-HQ need the package cryptography; install it with pip install 'growgan[celebahq]'"
        ) from None
    return Fernet(key)


def _is_token(token: bytes) -> bool:
    """True if the bytes have the frame of a Fernet token: whatever is cut short or no delta at all mostly has not."""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    blocks = len(raw) - _TOKEN_FRAME
    return blocks >= 16 and blocks % 16 == 0 and raw[0] == _TOKEN_VERSION


def _decompress(compressed: bytes, size: int, where: str) -> bytes:
    """Content of one bz2 stream, which must be of `size` bytes; of more, little is kept."""
    decompressor = bz2.BZ2Decompressor()
    try:
        content = decompressor.decompress(compressed, size + 1)
    except OSError:
        raise InputError(f"{where} holds no bz2 stream; it is not a delta of CelebA-HQ") from None
    length = len(content)
    with contextlib.suppress(OSError):  # a damaged stream is no image of another size
        while size < length <= _MOST_BYTES and not (decompressor.eof or decompressor.needs_input):
            length += len(decompressor.decompress(b"", _PIECE))
    side = math.isqrt(length // _CHANNELS)
    if length != size and decompressor.eof and length == _CHANNELS * side**2 and side & (side - 1) == 0 < side:
        raise InputError(f"{where} is the delta of an image of {side}x{side} pixels; pass --delta-side {side}")
    if length > size:
        raise InputError(f"{where} holds more than {size} bytes of pixels; it is not a delta of this resolution")
    if len(content) < size or not decompressor.eof or decompressor.unused_data:
        raise InputError(
            f"{where} holds {len(content)} bytes of pixels and not {size} in one whole bz2 stream; get it again"
        )
    return content


def _check_alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    """Other kinds would not wrap around, and other shapes would be broadcast."""
    if one.shape != other.shape or one.dtype != np.uint8 or other.dtype != np.uint8:
        raise ValueError(f"need uint8 of equal shapes, got {one.dtype} {one.shape} and {other.dtype} {other.shape}")
