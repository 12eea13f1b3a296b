import json

import h5py
import numpy as np
import pytest
from pyramids import noise, write

from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.levels import pyramid
from toolkit.verification import verify


def run(path, bars, *, rebuild_levels=False, jobs=2):
    return verify(path, rebuild_levels=rebuild_levels, jobs=jobs, progress=bars)


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
    found = run(built.path, bars)
    assert found.faults == []
    assert found.ledger == "matches"
    assert found.num_images == 9
    assert found.bytes == 9 * 3 * (16 + 64 + 256)
    assert found.content_digest == built.manifest.content_digest
    assert (bars.bars[-1].total, bars.bars[-1].count) == (27, 27)
    assert json.loads(json.dumps(found.to_json()))["ok"] is True
    assert found.levels_rebuilt is False
    assert found.mb_per_sec > 0


@pytest.mark.parametrize(("name", "side"), [("data4x4", 4), ("data8x8", 8), ("data16x16", 16)])
@pytest.mark.parametrize("row", [0, 4, 8])
def test_a_flipped_byte_is_found_and_said_where(built, bars, name, side, row, rng):
    position = offset_of(built.path, name) + row * 3 * side * side + int(rng.integers(3 * side * side))
    flip(built.path, position, int(rng.integers(8)))
    source = open_pyramid(built.path).sources()[row]
    found = run(built.path, bars)
    assert found.faults == [f"{name}, row {row} ({source}): the pixels do not match their digest"]
    assert found.to_json()["ok"] is False


def test_several_faults_are_all_found(built, bars):
    for name, side, row in (("data4x4", 4, 3), ("data16x16", 16, 1), ("data16x16", 16, 2)):
        flip(built.path, offset_of(built.path, name) + row * 3 * side * side)
    assert [fault.split(" (")[0] for fault in run(built.path, bars).faults] == [
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
    assert len(run(built.path, bars).faults) == 2


def test_damaged_digests_are_found(built, bars):
    flip(built.path, offset_of(built.path, "digests/data8x8") + 16 * 5)
    faults = run(built.path, bars).faults
    assert faults[0] == "data8x8: the digests of its rows do not match the manifest"
    assert faults[1].startswith("data8x8, row 5 (")


def test_pixels_and_digest_changed_together_are_found(built, bars):
    """Someone who mends the digest of a row as well is found out by the manifest."""
    from datasets.manifest import row_digest

    with h5py.File(built.path, "r+") as file:
        file["data4x4"][2] = 7
        digest = row_digest(np.full((3, 4, 4), 7, np.uint8))
        file["digests/data4x4"][2] = np.frombuffer(digest, np.uint8)
    assert run(built.path, bars).faults == ["data4x4: the digests of its rows do not match the manifest"]


def test_changed_names_are_found(built, bars):
    offset = offset_of(built.path, "sources")
    flip(built.path, offset + 3)  # a letter
    assert run(built.path, bars).faults == ["the names of the sources do not match their digest"]
    flip(built.path, offset, 3)  # the bracket
    faults = run(built.path, bars).faults
    assert len(faults) == 1
    assert "cannot be read" in faults[0]


def test_a_changed_manifest_is_refused(built, bars):
    content = built.path.read_bytes()
    built.path.write_bytes(content.replace(b'"crop": "centre"', b'"crop": "center"'))
    with pytest.raises(InputError, match="the manifest does not match its own digest"):
        run(built.path, bars)


def test_the_ledger_is_checked_if_it_is_there(built, bars):
    text = built.ledger.read_text()
    built.ledger.write_text(text.replace("cropped", "zropped", 1))
    found = run(built.path, bars)
    assert found.ledger == "differs"
    assert found.faults == ["set.h5.ledger.jsonl is not the ledger of this data set, or was changed"]
    built.ledger.unlink()
    found = run(built.path, bars)
    assert (found.ledger, found.faults) == ("missing", [])


def state(path):
    reader = open_pyramid(path)
    levels = range(2, reader.manifest.top_level + 1)
    pixels = [(reader.level(level)[:].tobytes(), reader.row_digests(level).tobytes()) for level in levels]
    labels = reader.labels()
    return reader.manifest, reader.sources(), pixels, None if labels is None else labels.tolist()


def test_any_flipped_byte_is_found(built, bars, tmp_path):
    """All over the file, structure and unused bytes included: a fault or one clear error, and no hanging."""
    built.ledger.unlink()
    good = built.path.read_bytes()
    positions = range(0, len(good), len(good) // 150)
    outcomes = {"fault": 0, "refused": 0}
    for position in positions:
        content = bytearray(good)
        content[position] ^= 1 << position % 8
        built.path.write_bytes(content)
        try:
            faults = run(built.path, bars).faults
        except InputError:
            outcomes["refused"] += 1
            continue
        outcomes["fault"] += 1
        assert faults, f"byte {position}"
    assert outcomes["fault"] > 60
    assert outcomes["refused"] > 8


STORED = {
    "set.h5": {},
    "set.lmdb": {},
    "png.lmdb": {"encoding": "png"},
    "webp.lmdb": {"encoding": "webp"},
    "shards.h5": {"shards": 3},
    "shards.lmdb": {"shards": 2},
}


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("jobs", [1, 3])
def test_every_format_is_verified(tmp_path, bars, name, jobs):
    path = write(tmp_path / name, noise(7), labels=[0, 1, 0, 1, 0, 1, 0], **STORED[name])
    found = run(path, bars, rebuild_levels=True, jobs=jobs)
    assert (found.faults, found.ledger, found.levels_rebuilt) == ([], "missing", True)
    assert found.bytes == 7 * 3 * (16 + 64 + 256 + 256)
    assert (bars.bars[-1].total, bars.bars[-1].count) == (28, 28)


@pytest.mark.parametrize("name", STORED)
def test_a_flipped_byte_is_found_in_every_format(tmp_path, bars, name):
    """In the pixels of row 5 of the finest level, wherever they are stored."""
    path = write(tmp_path / name, noise(7), **STORED[name])
    reader = open_pyramid(path)
    raw = reader.encoding == "raw"
    found = []
    for file in reader.files():
        content = bytearray(file.read_bytes())
        if raw:
            pixels = noise(7)[5].tobytes()
        else:
            from datasets.codecs import ENCODERS

            pixels = ENCODERS[reader.encoding](noise(7)[5])
        place = bytes(content).find(pixels)
        while place >= 0:  # LMDB may hold an older copy of a page
            content[place + len(pixels) // 2] ^= 1
            found.append(file)
            place = bytes(content).find(pixels)
        file.write_bytes(content)
    assert found
    faults = run(path, bars).faults
    assert len(faults) == 1
    assert faults[0].startswith("data16x16, row 5 (image005.png): ")


@pytest.mark.parametrize("name", [name for name in STORED if name != "set.h5"])
def test_any_flipped_byte_of_any_format_is_found(tmp_path, bars, name):
    path = write(tmp_path / name, noise(7, 32), labels=[0, 1, 2, 0, 1, 2, 0], **STORED[name])
    outcomes = []
    files = open_pyramid(path).files()
    for file in files:
        good = file.read_bytes()
        for position in range(0, len(good), 1 + len(good) * len(files) // 60):
            content = bytearray(good)
            content[position] ^= 1 << position % 8
            file.write_bytes(content)
            try:
                faults = run(path, bars, jobs=1).faults
            except InputError:
                outcomes.append("refused")
                continue
            assert faults, f"{file.name}, byte {position}"
            outcomes.append("fault")
        file.write_bytes(good)
    assert outcomes.count("fault") + outcomes.count("refused") > 20


@pytest.mark.parametrize("name", ["png.lmdb", "webp.lmdb"])
def test_rows_that_cannot_be_decoded_are_faults(tmp_path, bars, name):
    path = write(tmp_path / name, noise(7), **STORED[name])
    content = path.read_bytes()
    for magic in (b"IDAT", b"VP8L"):
        content = content.replace(magic, b"XXXX")
    path.write_bytes(content)
    faults = run(path, bars, rebuild_levels=True).faults
    assert len(faults) == 21
    assert all(fault.endswith("is damaged and cannot be decoded") for fault in faults)
    assert all(f"row {row} (image00{row}.png): " in faults[row] for row in range(7))


def test_levels_that_are_no_box_filters_are_found(tmp_path, bars):
    """Made by rounding at every level, as tools do that know no better; the digests are right."""
    images = noise(6, 16)
    right = pyramid(images)
    wrong = dict(right)
    wrong[2] = pyramid(right[3])[2]
    rows = [row for row in range(6) if not np.array_equal(wrong[2][row], right[2][row])]
    wrong[3] = right[3].copy()
    wrong[3][4, 0, 1, 2] += 1
    path = write(tmp_path / "set.h5", images, levels=wrong)
    assert run(path, bars).faults == []
    faults = run(path, bars, rebuild_levels=True).faults
    assert rows
    assert faults == [
        *(f"data4x4, row {row} (image00{row}.png): not the box filter of data16x16" for row in rows),
        "data8x8, row 4 (image004.png): not the box filter of data16x16",
    ]


def test_changed_labels_are_found(tmp_path, bars):
    path = write(tmp_path / "set.h5", noise(4), labels=[0, 1, 1, 0])
    with h5py.File(path, "r+") as file:
        file["labels"][2] = 0
    (fault,) = run(path, bars).faults
    assert "labels" in fault


@pytest.mark.parametrize("kind", ["missing", "exchanged", "damaged"])
def test_shards_that_are_missing_or_not_in_their_place(tmp_path, bars, kind):
    path = write(tmp_path / "set.h5", noise(6), shards=3)
    one, two = path / "shard-00001.h5", path / "shard-00002.h5"
    if kind == "missing":
        one.unlink()
    elif kind == "exchanged":
        one.rename(path / "x")
        two.rename(one)
        (path / "x").rename(two)
    else:
        one.write_bytes(one.read_bytes()[:-3000])
    with pytest.raises(InputError, match=r"shard-00001\.h5"):
        run(path, bars)
