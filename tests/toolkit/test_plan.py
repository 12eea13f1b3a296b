import struct

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.errors import InputError
from toolkit.plan import Options, make_plan, rows_of_crops
from toolkit.sources import open_source
from toolkit.transforms import Crop


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 300), st.none() | st.integers(0, 2**64 - 1))
def test_rows_are_a_permutation(count, seed):
    assert sorted(rows_of_crops(count, seed).tolist()) == list(range(count))


def test_rows_without_a_seed_are_in_source_order():
    assert rows_of_crops(5, None).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_rows_are_what_the_documentation_says(seed):
    keys = [xxhash.xxh3_64(struct.pack("<Q", k), seed=seed).intdigest() for k in range(100)]
    assert rows_of_crops(100, seed).tolist() == [sorted(keys).index(key) for key in keys]


def test_rows_of_a_seed_never_change():
    # Our own values of 2026-11-22: data sets with the same --shuffle must stay equal from version to version.
    assert rows_of_crops(10, 0).tolist() == [8, 2, 1, 3, 9, 6, 4, 5, 7, 0]


def test_seeds_and_counts_matter():
    assert len({tuple(rows_of_crops(50, seed)) for seed in range(20)}) == 20


@pytest.fixture
def squares(tmp_path):
    folder = tmp_path / "squares"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


def plan(folder, bars, **options):
    return make_plan(open_source(folder), Options(**options), 2, bars)


def test_headers_are_enough(squares, bars):
    content = (squares / "1.png").read_bytes()
    (squares / "1.png").write_bytes(content[: len(content) // 2])
    found = plan(squares, bars)
    assert (found.resolution, [(image.index, image.first, image.count) for image in found.images]) == (
        32,
        [(0, 0, 1), (1, 1, 1), (2, 2, 1)],
    )
    assert [(bar.total, bar.count, bar.what) for bar in bars.bars] == [(3, 3, "reading headers")]


def test_the_common_side_is_the_default_resolution(squares, bars):
    assert plan(squares, bars).resolution == 32
    assert plan(squares, bars, crop=Crop("tile", 8, 8)).resolution == 8
    assert plan(squares, bars, resolution=16).resolution == 16


def test_sides_that_differ_need_a_resolution(squares, bars):
    Image.new("RGB", (50, 45)).save(squares / "a.png")
    with pytest.raises(InputError, match=r"the crops are 32 to 45 pixels wide.*pass --resolution 32 or less"):
        plan(squares, bars)


@pytest.mark.parametrize(
    ("side", "advice"), [(3, "--resolution and --allow-upscale"), (30, "16 or less"), (4096, "2048 or less")]
)
def test_a_side_that_no_pyramid_has_needs_a_resolution(tmp_path, bars, side, advice):
    Image.new("L", (side, side)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"the crops are {side} pixels wide.*{advice}"):
        plan(tmp_path, bars)


def test_a_resolution_that_no_pyramid_has(squares, bars):
    with pytest.raises(InputError, match="--resolution 48 is not a side a pyramid can have"):
        plan(squares, bars, resolution=48)


def test_bad_images_end_the_plan_with_their_name(squares, bars):
    (squares / "1.png").write_text("hello")
    with pytest.raises(
        InputError, match=r"squares/1\.png is not an image.*; or pass --skip-bad to leave such images out"
    ):
        plan(squares, bars)


def test_the_first_bad_image_is_named_whatever_the_threads(squares, bars):
    for name in ("0.png", "2.png"):
        (squares / name).write_text("hello")
    for _ in range(5):
        with pytest.raises(InputError, match=r"0\.png"):
            plan(squares, bars)


def test_enlarging_must_be_allowed(squares, bars):
    with pytest.raises(InputError, match=r"0\.png would have to be enlarged from 32 to 64 pixels; pass a smaller"):
        plan(squares, bars, resolution=64)
    assert plan(squares, bars, resolution=64, allow_upscale=True).resolution == 64


def test_skipped_images_have_a_reason_and_no_rows(squares, bars):
    content = (squares / "1.png").read_bytes()
    (squares / "1.png").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (5, 9)).save(squares / "3.png")
    found = plan(squares, bars, skip_bad=True, resolution=8)
    assert [image.count for image in found.images] == [1, 0, 1, 0]
    assert (len(found.rows), found.num_skipped) == (2, 2)
    cut_short, too_small = found.images[1].skipped, found.images[3].skipped
    assert cut_short.skipped.startswith("1.png cannot be decoded (image file is truncated")
    assert cut_short.bytes == len(content) // 2
    assert cut_short.xxh3 == xxhash.xxh3_128(content[: len(content) // 2]).hexdigest()
    assert cut_short.width is None
    assert too_small.skipped.startswith("3.png would have to be enlarged from 5 to 8")
    assert (too_small.width, too_small.height, too_small.mode) == (5, 9, "RGB")
    assert bars.bars[0].what == "checking images"


def test_none_left(squares, bars):
    for path in squares.iterdir():
        path.write_text("hello")
    with pytest.raises(InputError, match=r"none of its 3 images can be used; the first: 0\.png is not an image"):
        plan(squares, bars, skip_bad=True)


def test_the_first_images_that_are_not_bad(squares, bars):
    assert len(plan(squares, bars, max_images=2).images) == 2
    (squares / "0.png").write_text("hello")
    found = plan(squares, bars, max_images=1, skip_bad=True)
    assert [image.count for image in found.images] == [0, 1]
    assert len(plan(squares, bars, max_images=99, skip_bad=True).images) == 3


def test_tiles_are_counted_over_all_images(squares, bars):
    Image.new("RGB", (40, 33)).save(squares / "a.png")
    found = plan(squares, bars, crop=Crop("tile", 16, 8))
    assert [(image.first, image.count) for image in found.images] == [(0, 9), (9, 9), (18, 9), (27, 12)]
    assert len(found.rows) == 39


def test_a_file_that_cannot_be_read(squares, bars, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(InputError, match=r"the first: 0\.png cannot be read \(Permission denied\)"):
        plan(squares, bars, skip_bad=True)


def test_the_manifest_says_every_option_that_matters():
    options = Options(
        crop=Crop("tile", 32, 8), resample="area", allow_upscale=True, background=(1, 2, 255), shuffle=5, max_images=9
    )
    assert options.for_manifest() == {
        "crop": "tile",
        "tile": 32,
        "stride": 8,
        "filter": "area",
        "allow_upscale": True,
        "background": "#0102ff",
        "shuffle": 5,
        "max_images": 9,
    }
    assert np.array_equal(Options().background, (255, 255, 255))
