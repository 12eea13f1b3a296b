import json

import h5py
import numpy as np
import pytest

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit.verification import verify


@pytest.fixture
def built(photos, make):
    return make(photos)


def offset_of(path, name):
    with h5py.File(path, "r") as file:
        return file[name].id.get_offset()


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_a_whole_data_set_has_no_fault(built, bars):
    found = verify(built.path, bars)
    assert found.faults == []
    assert found.ledger == "matches"
    assert found.num_images == 9
    assert found.bytes == 9 * 3 * (16 + 64 + 256)
    assert found.content_digest == built.manifest.content_digest
    assert (bars.bars[-1].total, bars.bars[-1].count) == (27, 27)
    assert json.loads(json.dumps(found.to_json()))["ok"] is True


@pytest.mark.parametrize(("name", "side"), [("data4x4", 4), ("data8x8", 8), ("data16x16", 16)])
@pytest.mark.parametrize("row", [0, 4, 8])
def test_a_flipped_byte_is_found_and_said_where(built, bars, name, side, row, rng):
    position = offset_of(built.path, name) + row * 3 * side * side + int(rng.integers(3 * side * side))
    flip(built.path, position, int(rng.integers(8)))
    source = open_pyramid(built.path).sources()[row]
    found = verify(built.path, bars)
    assert found.faults == [f"{name}, row {row} ({source}): the pixels do not match their digest"]
    assert found.to_json()["ok"] is False


def test_several_faults_are_all_found(built, bars):
    for name, side, row in (("data4x4", 4, 3), ("data16x16", 16, 1), ("data16x16", 16, 2)):
        flip(built.path, offset_of(built.path, name) + row * 3 * side * side)
    assert [fault.split(" (")[0] for fault in verify(built.path, bars).faults] == [
        "data4x4, row 3",
        "data16x16, row 1",
        "data16x16, row 2",
    ]


def test_exchanged_rows_are_found(built, bars):
    offset = offset_of(built.path, "data4x4")
    content = bytearray(built.path.read_bytes())
    content[offset : offset + 48], content[offset + 48 : offset + 96] = (
        content[offset + 48 : offset + 96],
        content[offset : offset + 48],
    )
    built.path.write_bytes(content)
    assert len(verify(built.path, bars).faults) == 2


def test_damaged_digests_are_found(built, bars):
    flip(built.path, offset_of(built.path, "digests/data8x8") + 16 * 5)
    faults = verify(built.path, bars).faults
    assert faults[0] == "data8x8: the digests of its rows do not match the manifest"
    assert faults[1].startswith("data8x8, row 5 (")


def test_pixels_and_digest_changed_together_are_found(built, bars):
    """Someone who mends the digest of a row as well is found out by the manifest."""
    from datasets.manifest import row_digest

    with h5py.File(built.path, "r+") as file:
        file["data4x4"][2] = 7
        digest = row_digest(np.full((3, 4, 4), 7, np.uint8))
        file["digests/data4x4"][2] = np.frombuffer(digest, np.uint8)
    assert verify(built.path, bars).faults == ["data4x4: the digests of its rows do not match the manifest"]


def test_changed_names_are_found(built, bars):
    offset = offset_of(built.path, "sources")
    flip(built.path, offset + 3)  # a letter
    assert verify(built.path, bars).faults == ["the names of the sources do not match their digest"]
    flip(built.path, offset, 3)  # the bracket
    faults = verify(built.path, bars).faults
    assert len(faults) == 1
    assert "cannot be read" in faults[0]


def test_a_changed_manifest_is_refused(built, bars):
    content = built.path.read_bytes()
    built.path.write_bytes(content.replace(b'"crop": "centre"', b'"crop": "center"'))
    with pytest.raises(InputError, match="the manifest does not match its own digest"):
        verify(built.path, bars)


def test_the_ledger_is_checked_if_it_is_there(built, bars):
    text = built.ledger.read_text()
    built.ledger.write_text(text.replace("cropped", "zropped", 1))
    found = verify(built.path, bars)
    assert found.ledger == "differs"
    assert found.faults == ["set.h5.ledger.jsonl is not the ledger of this data set, or was changed"]
    built.ledger.unlink()
    found = verify(built.path, bars)
    assert (found.ledger, found.faults) == ("missing", [])


def state(path):
    reader = open_pyramid(path)
    levels = range(2, reader.manifest.top_level + 1)
    pixels = [(reader.level(level).tobytes(), reader.row_digests(level).tobytes()) for level in levels]
    return reader.manifest, reader.sources(), pixels


def test_any_flipped_byte_is_found_or_changes_nothing_that_is_read(built, bars, tmp_path):
    """All over the file, structure included, nothing else than a fault or one clear error, and no hanging.

    The bytes that change nothing are the ones that the HDF5 library leaves unused.
    """
    built.ledger.unlink()
    good, before = built.path.read_bytes(), state(built.path)
    positions = range(0, len(good), len(good) // 250)
    outcomes = {"fault": 0, "refused": 0, "nothing": 0}
    for position in positions:
        content = bytearray(good)
        content[position] ^= 1 << position % 8
        built.path.write_bytes(content)
        try:
            faults = verify(built.path, bars).faults
        except InputError:
            outcomes["refused"] += 1
            continue
        outcomes["fault" if faults else "nothing"] += 1
        assert faults or state(built.path) == before
    assert outcomes["fault"] > 100
    assert outcomes["refused"] > 30
