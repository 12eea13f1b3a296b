"""Equal is equal and different is different, said where and how many; proven on the raw arrays."""

import json

import h5py
import numpy as np
import pytest
from pyramids import noise, write

from datasets.errors import InputError
from datasets.levels import pyramid
from toolkit.comparison import check_equal, compare


def run(one, two, bars, *, digests=False, pixels_only=False, jobs=2):
    return compare(one, two, digests_only=digests, pixels_only=pixels_only, jobs=jobs, progress=bars)


@pytest.mark.parametrize("storage", [{}, {"encoding": "png"}, {"shards": 3, "encoding": "webp"}])
@pytest.mark.parametrize("digests", [False, True])
def test_equal_content_in_other_formats(tmp_path, bars, storage, digests):
    one = write(tmp_path / "a.h5", noise(7), labels=[0] * 7, label_names=["x"])
    two = write(tmp_path / "b.lmdb", noise(7), labels=[0] * 7, label_names=["x"], **storage)
    found = run(one, two, bars, digests=digests)
    assert found.equal
    assert found.differences == []
    assert (found.num_images, found.resolutions) == (7, [4, 8, 16])
    assert found.bytes == (0 if digests else 2 * 7 * 3 * (16 + 64 + 256))
    assert (bars.bars[-1].total, bars.bars[-1].count) == (21, 21)
    check_equal(found)


@pytest.mark.parametrize("digests", [False, True])
def test_rows_that_differ_are_counted_at_every_level(tmp_path, bars, digests):
    images = noise(600, 8)
    other = images.copy()
    other[3] = 255 - other[3]
    other[500, 2, 7, 7] ^= 1  # too little to be seen at 4x4, perhaps
    one, two = write(tmp_path / "a.h5", images), write(tmp_path / "b.lmdb", other)
    levels, others = pyramid(images), pyramid(other)
    expected = {
        f"data{1 << level}x{1 << level}": [
            row for row in range(600) if not np.array_equal(levels[level][row], others[level][row])
        ]
        for level in (2, 3)
    }
    found = run(one, two, bars, digests=digests)
    assert {difference.what: difference.count for difference in found.differences} == {
        name: len(rows) for name, rows in expected.items()
    }
    for difference in found.differences:
        rows = expected[difference.what]
        assert [text.split(" (")[0] for text in difference.first] == [f"row {row}" for row in rows[:5]]
    assert not found.equal
    assert json.loads(json.dumps(found.to_json()))["equal"] is False


def test_how_much_a_row_differs(tmp_path, bars):
    images = noise(3, 4)
    other = images.copy()
    images[1, 0, 0, :2], other[1, 0, 0, :2] = (0, 9), (255, 5)
    found = run(write(tmp_path / "a.h5", images), write(tmp_path / "b.h5", other), bars)
    assert found.differences[0].first == ["row 1 (image001.png): 2 of 48 values differ, by 255 at most"]
    message = r"a\.h5 and .*b\.h5 differ in data4x4; the first: data4x4: row 1 \(image001\.png\): 2 of 48"
    with pytest.raises(InputError, match=message):
        check_equal(found)


def test_pixels_are_really_read(tmp_path, bars):
    """Damage that the digests do not know of."""
    one, two = write(tmp_path / "a.h5", noise(7)), write(tmp_path / "b.h5", noise(7))
    with h5py.File(two, "r+") as file:
        file["data8x8"][5, 2, 1, 7] ^= 4
    assert run(one, two, bars, digests=True).equal
    (difference,) = run(one, two, bars).differences
    assert (difference.what, difference.count) == ("data8x8", 1)
    assert difference.first[0].startswith("row 5 (image005.png)")


def test_more_rows_and_more_levels(tmp_path, bars):
    one = write(tmp_path / "a.h5", noise(7, 16))
    few = write(tmp_path / "b.h5", noise(7, 16)[:5])
    levels = pyramid(noise(7, 16))
    coarse = write(tmp_path / "c.h5", levels[3], levels={2: levels[2], 3: levels[3]})
    found = run(one, few, bars)
    assert [(difference.what, difference.first) for difference in found.differences] == [("images", ["7 and 5"])]
    assert found.num_images == 5
    found = run(coarse, one, bars)
    assert [(difference.what, difference.first) for difference in found.differences] == [("resolution", ["8 and 16"])]
    assert found.resolutions == [4, 8]


def test_names_and_labels(tmp_path, bars):
    one = write(tmp_path / "a.h5", noise(4), names=list("abcd"), labels=[0, 1, 1, 0], label_names=["x", "y"])
    two = write(tmp_path / "b.h5", noise(4), names=list("abxy"), labels=[0, 1, 0, 0], label_names=["x", "z"])
    none = write(tmp_path / "c.h5", noise(4), names=list("abcd"))
    found = {difference.what: (difference.count, difference.first) for difference in run(one, two, bars).differences}
    assert found == {
        "names": (2, ["row 2: c and x", "row 3: d and y"]),
        "classes": (1, ["2 classes (x, y) and 2 classes (x, z)"]),
        "labels": (1, ["row 2 (c): 1 and 0"]),
    }
    (difference,) = run(one, none, bars).differences
    assert (difference.what, difference.first) == ("classes", ["2 classes (x, y) and no labels"])
    assert run(one, two, bars, pixels_only=True).equal


def test_what_is_no_pyramid(tmp_path, bars):
    one = write(tmp_path / "a.h5", noise(4))
    (tmp_path / "b.h5").write_text("hello")
    with pytest.raises(InputError, match="is not a pyramid"):
        run(one, tmp_path / "b.h5", bars)
