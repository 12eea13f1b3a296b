"""Images as records of the 2017 TFRecord files, written and read without TensorFlow.

A file is a row of records: length of the payload (8 bytes, little endian), masked CRC32C of these 8 bytes, payload,
masked CRC32C of the payload. A payload is a ``tf.train.Example``, a protocol buffer, with two features: ``shape``, the
integers (C, H, W), and ``data``, the pixels as one string of bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

HEADER_BYTES = 12  # of a record: length, and its checksum
OVERHEAD_BYTES = HEADER_BYTES + 4  # with the checksum of the payload

# Numbers of the fields in TensorFlow's example.proto and feature.proto.
_FEATURES_OF_EXAMPLE = _ENTRY_OF_FEATURES = _KEY_OF_ENTRY = _VALUES_OF_LIST = 1
_VALUE_OF_ENTRY = 2
_BYTES_OF_FEATURE, _INTEGERS_OF_FEATURE = 1, 3

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types

_Field = tuple[int, int | bytes]  # number, and content: an integer or a string of bytes


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


def payload_length(header: bytes) -> int | None:
    """Length of the payload from the first `HEADER_BYTES` of a record; None if they are not what begins a record."""
    if len(header) != HEADER_BYTES or _masked_crc(header[:8]) != header[8:]:
        return None
    return int(struct.unpack("<Q", header[:8])[0])


def image_of(record: bytes, where: str) -> NDArray[np.uint8]:
    """Pixels of a whole record, as `frame` writes it.

    Parameters
    ----------
    record : bytes
        Header, payload and checksum.
    where : str
        What the record is, for error messages.

    Returns
    -------
    ndarray of uint8, shape (C, H, W)
        Read-only.

    Raises
    ------
    InputError
        If a checksum is wrong, or the payload is not an image of the 2017 tools.
    """
    length = payload_length(record[:HEADER_BYTES])
    payload, checksum = record[HEADER_BYTES:-4], record[-4:]
    if length is None or length != len(payload) or _masked_crc(payload) != checksum:
        raise InputError(f"{where}: the record does not match its checksum; it is damaged, make or copy it again")
    try:
        features = _features(payload)
    except ValueError as error:
        raise InputError(f"{where}: the record is not a tf.train.Example ({error}); make the file again") from None
    if not {"shape", "data"} <= features.keys():
        found = ", ".join(sorted(features)[:8]) or "none"
        raise InputError(
            f"{where}: the record has the features {found[:200]!r}, not the 'shape' and 'data' of the 2017 tools; "
            "extract its images into a folder with the program that wrote it"
        )
    shape, data = features["shape"], features["data"]
    if not isinstance(shape, tuple) or not isinstance(data, bytes) or len(shape) != 3:
        raise InputError(f"{where}: 'shape' and 'data' are not three integers and one string; make the file again")
    channels, height, width = shape
    if min(shape) < 1 or channels * height * width != len(data):
        raise InputError(f"{where}: {len(data)} bytes of pixels for the shape {shape}; make the file again")
    return np.frombuffer(data, np.uint8).reshape(shape)


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


def _features(payload: bytes) -> Mapping[str, bytes | tuple[int, ...] | None]:
    """Features by name: the one string, or the integers; None for whatever else a feature can hold."""
    features: dict[str, bytes | tuple[int, ...] | None] = {}
    for message in _messages(payload, _FEATURES_OF_EXAMPLE):
        for entry in _messages(message, _ENTRY_OF_FEATURES):
            key = b"".join(_messages(entry, _KEY_OF_ENTRY)[-1:]).decode("utf-8", "replace")
            features[key] = _value(b"".join(_messages(entry, _VALUE_OF_ENTRY)[-1:]))
    return features


def _value(feature: bytes) -> bytes | tuple[int, ...] | None:
    strings = [text for part in _messages(feature, _BYTES_OF_FEATURE) for text in _messages(part, _VALUES_OF_LIST)]
    if len(strings) == 1:
        return strings[0]
    integers: list[int] = []
    for part in _messages(feature, _INTEGERS_OF_FEATURE):
        for number, content in _fields(part):
            if number == _VALUES_OF_LIST and isinstance(content, int):
                integers.append(content)
            elif number == _VALUES_OF_LIST and isinstance(content, bytes):  # packed, as proto3 writes them
                place = 0
                while place < len(content):
                    value, place = _read_varint(content, place)
                    integers.append(value)
    return tuple(integers) or None


def _messages(message: bytes, number: int) -> list[bytes]:
    """Contents of all fields of a message that have this number and a length."""
    return [content for found, content in _fields(message) if found == number and isinstance(content, bytes)]


def _fields(message: bytes) -> Iterator[_Field]:
    """Every field of a message. Unknown ones can be skipped, as every reader of protocol buffers does."""
    place = 0
    while place < len(message):
        tag, place = _read_varint(message, place)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, place = _read_varint(message, place)
            yield number, value
            continue
        if wire_type == _LENGTH_DELIMITED:
            length, place = _read_varint(message, place)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {wire_type}")
        if length > len(message) - place:
            raise ValueError("a field is cut short")
        yield number, message[place : place + length]
        place += length


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    """Integer that starts at `place`, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):  # at most 64 bits
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("an integer is cut short or too long")


def _masked_crc(content: bytes) -> bytes:
    """CRC32C (Castagnoli), masked: turned right by 15 bits, plus a constant; 4 bytes, little endian."""
    from google_crc32c import value  # here, so that what needs no TFRecord starts without it

    checksum: int = value(content)
    turned = checksum >> 15 | checksum << 17 & 0xFFFFFFFF
    return struct.pack("<I", turned + 0xA282EAD8 & 0xFFFFFFFF)
