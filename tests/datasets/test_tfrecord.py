"""The wire format of the 2017 TFRecord files, against a reader and a writer made from its description."""

import numpy as np
import pytest
from oracles import array_files
from oracles import tfrecord as oracle

from datasets.errors import InputError
from datasets.tfrecord import HEADER_BYTES, frame, image_of, payload_length

# reference: sizes of the files listed by the released tools for CIFAR-10 (50,000 x 98 = 4,900,000 bytes and so on),
# and the same arithmetic above
RECORD_BYTES = {4: 98, 8: 247, 16: 823, 32: 3127, 64: 12343, 128: 49214, 256: 196670, 512: 786494, 1024: 3145795}


@pytest.mark.parametrize("side", RECORD_BYTES)
def test_record_sizes_are_those_of_the_released_files(side):
    assert len(frame(np.zeros((3, side, side), np.uint8))) == RECORD_BYTES[side]


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 8, 8), (3, 16, 2)])
def test_bytes_are_those_of_the_oracle(shape, rng):
    image = rng.integers(0, 256, shape, np.uint8)
    record = frame(image)
    assert record == array_files.record(image)
    (payload,) = oracle.payloads(record)
    assert oracle.example(payload) == (shape, image.tobytes())
    assert payload_length(record[:HEADER_BYTES]) == len(payload)
    assert np.array_equal(image_of(record, "x"), image)


def test_features_in_another_order_unknown_fields_and_unpacked_integers(rng):
    image = rng.integers(0, 256, (3, 4, 5), np.uint8)
    message, varint = array_files._message, array_files._varint
    shape = b"".join(b"\x08" + varint(side) for side in image.shape)  # one field each, as proto2 writes them
    entries = [
        message(1, b"label") + message(2, message(2, message(1, b"\0\0\x80?"))),  # a float
        message(1, b"data") + message(2, message(1, message(1, image.tobytes()))),
        message(2, message(3, shape)) + message(1, b"shape"),
    ]
    features = b"".join(message(1, entry) for entry in entries)
    payload = b"\x78\x05" + b"\x7d\0\0\0\0" + b"\x79" + bytes(8) + message(1, features)  # fields 15 of other types
    assert np.array_equal(image_of(array_files.framed(payload), "x"), image)


def test_every_flipped_bit_is_found(rng):
    record = frame(rng.integers(0, 256, (1, 4, 4), np.uint8))
    for place in range(8 * len(record)):
        flipped = bytearray(record)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(InputError, match="r: the record does not match its checksum; it is damaged"):
            image_of(bytes(flipped), "r")
    with pytest.raises(InputError, match="does not match its checksum"):
        image_of(record[:-1], "r")
    with pytest.raises(InputError, match="does not match its checksum"):
        image_of(b"", "r")


def payload_of(**features):
    message, varint = array_files._message, array_files._varint
    entries = []
    for name, value in features.items():
        strings = message(1, message(1, value)) if isinstance(value, bytes) else b""
        integers = message(3, message(1, b"".join(map(varint, value)))) if isinstance(value, tuple) else b""
        entries.append(message(1, name.encode()) + message(2, strings + integers))
    return message(1, b"".join(message(1, entry) for entry in entries))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (payload_of(**{"image/encoded": b"jpeg"}), "has the features 'image/encoded', not the 'shape' and 'data'"),
        (b"", "has the features 'none'"),
        (payload_of(shape=(3, 4), data=b"x" * 12), "are not three integers and one string"),
        (payload_of(shape=b"abc", data=b"x" * 12), "are not three integers and one string"),
        (payload_of(shape=(3, 2, 2), data=b"x" * 11), r"11 bytes of pixels for the shape \(3, 2, 2\)"),
        (payload_of(shape=(0, 2, 2), data=b""), "bytes of pixels for the shape"),
        (payload_of(shape=(1 << 62, 1 << 62, 4), data=b""), "bytes of pixels for the shape"),
        (b"\x0a\xff\xff\xff\xff\x0f", "a field is cut short"),
        (b"\x0b", "unknown wire type 3"),
        (b"\xff" * 12, "an integer is cut short or too long"),
        (b"\x0a", "an integer is cut short or too long"),
    ],
)
def test_other_records_are_refused_in_one_line(payload, message):
    with pytest.raises(InputError, match=message) as caught:
        image_of(array_files.framed(payload), "train.tfrecords: record 0")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("train.tfrecords: record 0")
