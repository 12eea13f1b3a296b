"""A reader of TFRecord files, from the descriptions of the format and of protocol buffers: slow, strict and small."""

from __future__ import annotations

import struct
from collections.abc import Iterator

CASTAGNOLI = 0x1EDC6F41  # generator polynomial, RFC 3720, highest power first


def crc32c(content: bytes) -> int:
    """Remainder of the division by the polynomial, bit after bit; bytes enter and leave with their lowest bit first."""
    register = 0xFFFFFFFF
    for byte in content:
        for bit in range(8):
            feedback = (register >> 31) ^ (byte >> bit & 1)
            register = (register << 1) & 0xFFFFFFFF
            if feedback:
                register ^= CASTAGNOLI
    return int(f"{register ^ 0xFFFFFFFF:032b}"[::-1], 2)


def unmasked(stored: int) -> int:
    """Checksum from its stored form: take the constant off, turn left by 15 bits."""
    bits = f"{(stored - 0xA282EAD8) % 2**32:032b}"
    return int(bits[15:] + bits[:15], 2)


def payloads(content: bytes, check: bool = True) -> Iterator[bytes]:
    """Payloads of a file; both checksums of every record are checked, unless they are known to be right."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        payload = content[12 : 12 + length]
        assert len(content) >= length + 16
        if check:
            assert unmasked(struct.unpack("<I", content[8:12])[0]) == crc32c(content[:8])
            assert unmasked(struct.unpack("<I", content[12 + length : 16 + length])[0]) == crc32c(payload)
        yield payload
        content = content[16 + length :]


def fields(message: bytes) -> list[tuple[int, bytes]]:
    """Number and content of every field of a message that has nothing but fields with a length."""
    found = []
    while message:
        tag, message = varint(message)
        assert tag % 8 == 2
        length, message = varint(message)
        assert len(message) >= length
        found.append((tag // 8, message[:length]))
        message = message[length:]
    return found


def varint(content: bytes) -> tuple[int, bytes]:
    """Integer at the start of some bytes, and what follows it."""
    value = 0
    for place, byte in enumerate(content):
        value += byte % 128 * 128**place
        if byte < 128:
            return value, content[place + 1 :]
    raise AssertionError("ends within an integer")


def example(payload: bytes) -> tuple[tuple[int, ...], bytes]:
    """The features ``shape`` and ``data`` of a ``tf.train.Example`` that has exactly these two."""
    ((one, features),) = fields(payload)
    assert one == 1
    values = {}
    for number, entry in fields(features):
        assert number == 1
        (key_number, key), (value_number, value) = fields(entry)
        assert (key_number, value_number) == (1, 2)
        ((kind, value_list),) = fields(value)
        ((item, content),) = fields(value_list)
        assert item == 1
        values[key.decode()] = (kind, content)
    assert set(values) == {"shape", "data"}
    (integers, packed), (strings, data) = values["shape"], values["data"]
    assert (integers, strings) == (3, 1)  # int64_list and bytes_list of feature.proto
    shape = []
    while packed:
        side, packed = varint(packed)
        shape.append(side)
    return tuple(shape), data
