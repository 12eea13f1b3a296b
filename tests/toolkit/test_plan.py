import contextlib
import struct

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.errors import InputError
from toolkit.engine import process
from toolkit.engine.journal import Journal
from toolkit.engine.workers import Threads
from toolkit.options import Options
from toolkit.plan import make_plan, recall, rows_of_crops
from toolkit.selection import Criteria
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


@pytest.fixture
def journal(tmp_path):
    place = tmp_path / "journals"
    place.mkdir()
    with Journal(place / "set.h5", {}) as opened:
        yield opened


@pytest.fixture
def plan(bars, journal):
    def plan(folder, **options):
        return make_plan(open_source(folder), Options(**options), Threads(2), journal, bars)

    return plan


def test_headers_are_enough(squares, plan, bars):
    content = (squares / "1.png").read_bytes()
    (squares / "1.png").write_bytes(content[: len(content) // 2])
    found = plan(squares)
    assert (found.resolution, found.num_crops.tolist(), found.first_crops().tolist()) == (32, [1, 1, 1], [0, 1, 2, 3])
    assert [(bar.total, bar.count, bar.what) for bar in bars.bars] == [(3, 3, "reading headers")]


def test_the_common_side_is_the_default_resolution(squares, plan):
    assert plan(squares).resolution == 32
    assert plan(squares, crop=Crop("tile", 8, 8)).resolution == 8
    assert plan(squares, resolution=16).resolution == 16


def test_sides_that_differ_need_a_resolution(squares, plan):
    Image.new("RGB", (50, 45)).save(squares / "a.png")
    with pytest.raises(InputError, match=r"the crops are 32 to 45 pixels wide.*pass --resolution 32 or less"):
        plan(squares)


@pytest.mark.parametrize(
    ("side", "advice"), [(3, "--resolution and --allow-upscale"), (30, "16 or less"), (4096, "2048 or less")]
)
def test_a_side_that_no_pyramid_has_needs_a_resolution(tmp_path, plan, side, advice):
    (tmp_path / "images").mkdir()
    Image.new("L", (side, side)).save(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match=rf"the crops are {side} pixels wide.*{advice}"):
        plan(tmp_path / "images")


def test_a_resolution_that_no_pyramid_has(squares, plan):
    with pytest.raises(InputError, match="--resolution 48 is not a side a pyramid can have"):
        plan(squares, resolution=48)


def test_bad_images_end_the_plan_with_their_name(squares, plan):
    (squares / "1.png").write_text("hello")
    with pytest.raises(
        InputError, match=r"squares/1\.png is not an image.*; or pass --skip-bad to leave such images out"
    ):
        plan(squares)


def test_the_first_bad_image_is_named_whatever_the_threads(squares, plan):
    for name in ("0.png", "2.png"):
        (squares / name).write_text("hello")
    for _ in range(5):
        with pytest.raises(InputError, match=r"0\.png"):
            plan(squares)


def test_enlarging_must_be_allowed(squares, plan):
    with pytest.raises(InputError, match=r"0\.png would have to be enlarged from 32 to 64 pixels; pass a smaller"):
        plan(squares, resolution=64)
    assert plan(squares, resolution=64, allow_upscale=True).resolution == 64


def test_skipped_images_have_a_reason_and_no_rows(squares, plan, journal, bars):
    content = (squares / "1.png").read_bytes()
    (squares / "1.png").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (5, 9)).save(squares / "3.png")
    found = plan(squares, skip_bad=True, resolution=8)
    assert found.num_crops.tolist() == [1, 0, 1, 0]
    assert (len(found.rows), found.num_images, found.num_bad) == (2, 2, 2)
    assert found.skipped[1].startswith("1.png cannot be decoded (image file is truncated")
    assert found.skipped[3].startswith("3.png would have to be enlarged from 5 to 8")
    cut_short, too_small = recall(journal, 1), recall(journal, 3)
    assert (cut_short.facts, cut_short.width) == ({}, 0)
    assert (too_small.width, too_small.height, too_small.facts["mode"]) == (5, 9, "RGB")
    assert too_small.facts["xxh3"] == xxhash.xxh3_128((squares / "3.png").read_bytes()).hexdigest()
    assert bars.bars[0].what == "checking images"


def test_no_more_bad_images_than_allowed(squares, plan):
    (squares / "1.png").write_text("hello")
    assert plan(squares, skip_bad=True, max_skipped=1).num_bad == 1
    (squares / "2.png").write_text("hello")
    with pytest.raises(
        InputError, match=r"squares has more than 1 bad images, the last one found: 2\.png is not an im"
    ):
        plan(squares, skip_bad=True, max_skipped=1)


def test_images_are_chosen_in_source_order(squares, plan):
    generator = np.random.default_rng(0)
    for number in (0, 1):
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(squares / f"{number}.png")
    (squares / "2.png").write_bytes((squares / "0.png").read_bytes())
    Image.new("RGB", (64, 31)).save(squares / "3.png")
    found = plan(squares, criteria=Criteria(near_duplicates=4, min_size=32), resolution=32, allow_upscale=True)
    assert found.num_crops.tolist() == [1, 1, 0, 0]
    assert found.num_bad == 0
    assert found.skipped[2].startswith("near-duplicate")
    assert found.skipped[2].endswith("0.png")
    assert found.skipped[3].startswith("too small: 64x31")
    only_size = plan(squares, criteria=Criteria(min_size=32), resolution=32, allow_upscale=True)
    assert only_size.num_crops.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("options", [{}, {"skip_bad": True}, {"criteria": Criteria(near_duplicates=0)}])
def test_what_was_seen_is_not_looked_at_again(squares, bars, tmp_path, monkeypatch, options):
    """An interrupted plan goes on; images that changed are looked at again, and bad ones, whatever their stamp says."""
    generator = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(squares / f"{number}.png")
    (squares / "1.png").write_text("hello")
    seen = []
    real = process._look

    def watching(source, options, known):
        found = real(source, options, known)
        seen.append((known.index, found is not None))
        return found

    monkeypatch.setattr(process, "_look", watching)

    def plan():
        seen.clear()
        with Journal(tmp_path / "set.h5", {}) as journal:
            return make_plan(open_source(squares), Options(resolution=16, **options), Threads(1), journal, bars)

    with contextlib.suppress(InputError):
        plan()
    Image.new("RGB", (32, 48)).save(squares / "0.png")
    with contextlib.suppress(InputError):
        plan()
    new = "skip_bad" not in options  # otherwise the plan ended with image 1
    assert sorted(seen) == [(0, True), (1, True), (2, new)]
    Image.new("RGB", (40, 40), "red").save(squares / "1.png")
    found = plan()
    assert sorted(seen) == [(0, False), (1, True), (2, new)]
    assert found.num_crops.tolist() == [1, 1, 1]


def test_none_left(squares, plan):
    for path in squares.iterdir():
        path.write_text("hello")
    with pytest.raises(InputError, match=r"none of its 3 images can be used; the first: 0\.png is not an image"):
        plan(squares, skip_bad=True)


def test_the_first_images_that_are_not_bad(squares, plan):
    assert plan(squares, max_images=2).num_crops.tolist() == [1, 1]
    (squares / "0.png").write_text("hello")
    assert plan(squares, max_images=1, skip_bad=True).num_crops.tolist() == [0, 1]
    assert plan(squares, max_images=99, skip_bad=True).num_crops.tolist() == [0, 1, 1]


def test_tiles_are_counted_over_all_images(squares, plan):
    Image.new("RGB", (40, 33)).save(squares / "a.png")
    found = plan(squares, crop=Crop("tile", 16, 8))
    assert (found.num_crops.tolist(), found.first_crops().tolist()) == ([9, 9, 9, 12], [0, 9, 18, 27, 39])
    assert len(found.rows) == 39


def test_a_file_that_cannot_be_read(squares, plan, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(InputError, match=r"the first: 0\.png cannot be read \(Permission denied\)"):
        plan(squares, skip_bad=True)


def test_the_manifest_says_every_option_that_matters():
    options = Options(
        kind="folder",
        crop=Crop("tile", tile=32, stride=8),
        resample="area",
        allow_upscale=True,
        background=(1, 2, 255),
        shuffle=5,
        max_images=9,
        criteria=Criteria(min_size=3, min_sharpness=0.5, near_duplicates=7),
    )
    assert options.for_manifest() == {
        "as": "folder",
        "labels": True,
        "crop": "tile",
        "box": None,
        "tile": 32,
        "stride": 8,
        "filter": "area",
        "allow_upscale": True,
        "background": "#0102ff",
        "shuffle": 5,
        "max_images": 9,
        "min_size": 3,
        "min_sharpness": 0.5,
        "near_duplicates": 7,
    }
    assert Options(crop=Crop("box", left=1, top=2, side=3)).for_manifest()["box"] == [1, 2, 3]
    assert Options().squares == Crop("centre")
