"""Images as the TFRecord files of the 2017 tools, written without TensorFlow.

A file is a row of frames: length of the payload (8 bytes, little endian), masked CRC32C of these 8 bytes, payload,
masked CRC32C of the payload. A payload is a ``tf.train.Example``, a protocol buffer, with two features: ``shape``, the
integers (C, H, W), and ``data``, the pixels as one string of bytes.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

# Numbers of the fields in TensorFlow's example.proto and feature.proto.
_FEATURES_OF_EXAMPLE = _ENTRY_OF_FEATURES = _KEY_OF_ENTRY = _VALUES_OF_LIST = 1
_VALUE_OF_ENTRY = 2
_BYTES_OF_FEATURE, _INTEGERS_OF_FEATURE = 1, 3

_LENGTH_DELIMITED = 2  # wire type: a length, then so many bytes


def frame(pixels: NDArray[np.uint8]) -> bytes:
    """One record, ready to be appended to a file.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (C, H, W)

    Returns
    -------
    bytes
        Of the same length for all images of a shape.
    """
    payload = _example(pixels)
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _masked_crc(length), payload, _masked_crc(payload)))


def _example(pixels: NDArray[np.uint8]) -> bytes:
    """Serialized ``tf.train.Example`` of one image."""
    shape = _field(_VALUES_OF_LIST, b"".join(map(_varint, pixels.shape)))
    data = _field(_VALUES_OF_LIST, np.ascontiguousarray(pixels).tobytes())
    features = _feature("shape", _field(_INTEGERS_OF_FEATURE, shape)) + _feature(
        "data", _field(_BYTES_OF_FEATURE, data)
    )
    return _field(_FEATURES_OF_EXAMPLE, features)


def _feature(name: str, value: bytes) -> bytes:
    """One entry of the map from names to features."""
    return _field(_ENTRY_OF_FEATURES, _field(_KEY_OF_ENTRY, name.encode()) + _field(_VALUE_OF_ENTRY, value))


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes, a message or packed integers."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Integer in groups of 7 bits, the lowest first, each but the last with the top bit set."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _masked_crc(content: bytes) -> bytes:
    """CRC32C (Castagnoli), masked: turned right by 15 bits, plus a constant; 4 bytes, little endian."""
    from google_crc32c import value  # here, so that commands that do not export start without it

    checksum: int = value(content)
    turned = checksum >> 15 | checksum << 17 & 0xFFFFFFFF
    return struct.pack("<I", turned + 0xA282EAD8 & 0xFFFFFFFF)
