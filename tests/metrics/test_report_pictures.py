"""Pictures of the report: the right cells, the right pixels, and damaged files left out by name."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic_run import write_run

from metrics.report.pictures import Extent, evenly, read_gallery, reduce_grid
from metrics.report.run_directory import Grid, read_run


def decode(picture):
    kind, _, data = picture.uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == f"data:image/{image.format.lower()}"
    return np.asarray(image)


def sheet(columns, rows, cell):
    """A grid whose every pixel differs from its neighbours and whose every cell differs from the others."""
    pixels = np.random.default_rng(3).integers(0, 256, (rows * cell, columns * cell, 3), dtype=np.uint8)
    return pixels, Image.fromarray(pixels)


def test_small_cells_keep_every_pixel_of_the_first_columns_and_rows():
    pixels, image = sheet(5, 4, 8)
    picture = reduce_grid(image, Grid(columns=5, rows=4, cell=8), Extent(columns=3, rows=2, cell=8))
    assert (picture.columns, picture.rows, picture.cell, picture.source_cell) == (3, 2, 8, 8)
    np.testing.assert_array_equal(decode(picture), pixels[:16, :24])


def test_cells_are_reduced_by_the_mean_of_whole_blocks():
    pixels, image = sheet(2, 3, 16)
    picture = reduce_grid(image, Grid(columns=2, rows=3, cell=16), Extent(columns=2, rows=3, cell=4))
    blocks = pixels.reshape(12, 4, 8, 4, 3).mean((1, 3))
    assert (picture.width, picture.height) == (8, 12)
    assert np.abs(decode(picture) - blocks).max() <= 0.5 + 1e-6


def test_large_cells_are_close_to_the_original():
    y, x = np.mgrid[0:64, 0:128]
    pixels = np.stack([2 * x, 4 * y, 255 - 2 * x], axis=-1).clip(0, 255).astype(np.uint8)
    picture = reduce_grid(Image.fromarray(pixels), Grid(columns=2, rows=1, cell=64), Extent(columns=8, rows=8, cell=64))
    assert picture.uri.startswith("data:image/jpeg")
    assert np.abs(decode(picture).astype(int) - pixels).mean() < 2


@pytest.mark.parametrize(("cell", "space", "width"), [(32, 544, 512), (64, 544, 512), (8, 544, 512), (128, 544, 544)])
def test_is_shown_at_whole_multiples_of_its_pixels(cell, space, width):
    _, image = sheet(8, 1, cell)
    picture = reduce_grid(image, Grid(columns=8, rows=1, cell=cell), Extent(columns=8, rows=8, cell=128))
    assert picture.shown_width(space) == width


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=60), st.integers(2, 12))
def test_snapshots_are_chosen_evenly_with_both_ends(moments, count):
    snapshots = [(images, Path(str(images))) for images in sorted(moments)]
    chosen = evenly(snapshots, count)
    assert len(chosen) <= count
    assert chosen[0] == snapshots[0]
    assert chosen[-1] == snapshots[-1]
    assert chosen == sorted(set(chosen))


def test_snapshots_follow_images_shown_not_their_number():
    crowded = [(images, Path(str(images))) for images in [*range(50), 500, 1000]]
    assert [images for images, _ in evenly(crowded, 3)] == [0, 500, 1000]


def test_reads_reals_the_latest_samples_and_their_stages(tmp_path):
    run = read_run(write_run(tmp_path / "run", snapshots=5, columns=3, rows=2))
    gallery = read_gallery(run)
    np.testing.assert_array_equal(decode(gallery.reals), np.asarray(Image.open(run.reals)))
    np.testing.assert_array_equal(decode(gallery.latest.picture), np.asarray(Image.open(run.snapshots[-1][1])))
    stages = [(moment.images, moment.stage) for moment in gallery.development]
    assert stages == [
        (0, (2, 1.0)),
        (100_000, (3, 1.0)),
        (200_000, (5, pytest.approx(1 / 3))),
        (300_000, (5, 1.0)),
        (400_000, (5, 1.0)),
    ]
    assert gallery.notes == []


def test_stage_of_a_moment_without_a_tick_follows_the_plan(tmp_path):
    run = read_run(write_run(tmp_path / "run", ticks=1, snapshots=1))
    assert run.stage(40_000) == (2, 1.0)  # the last image of 4x4, not the first of 8x8
    assert run.stage(55_000) == (3, 0.5)
    assert run.stage(100_000) == (3, 1.0)
    assert run.stage(500_000) is None


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read as PNG"),
        (lambda path: path.write_bytes(b""), "cannot be read as PNG"),
        (lambda path: path.write_text("no picture"), "cannot be read as PNG"),
        (lambda path: Image.new("RGB", (96, 64)).save(path, "JPEG"), "cannot be read as PNG"),
        (lambda path: Image.new("RGB", (64, 64)).save(path), "64x64 pixels where the grid of run.json makes 96x64"),
        (lambda path: Image.new("RGB", (96, 96)).save(path), "96x96 pixels where the grid of run.json makes 96x64"),
        (lambda path: Image.new("RGB", (96, 40)).save(path), "96x40 pixels where"),
    ],
)
def test_a_picture_that_cannot_be_read_is_left_out_by_name(tmp_path, damage, note):
    run = read_run(write_run(tmp_path / "run", snapshots=3, columns=3, rows=2))
    damage(run.snapshots[-1][1])
    gallery = read_gallery(run)
    assert [moment.images for moment in gallery.development] == [0, 200_000]
    assert gallery.latest.images == 200_000
    assert len(gallery.notes) == 1
    assert gallery.notes[0].startswith("fakes-000400000.png is left out: ")
    assert note in gallery.notes[0]


def test_reals_of_a_set_smaller_than_the_grid_fill_fewer_rows(tmp_path):
    run = read_run(write_run(tmp_path / "run", snapshots=1, columns=3, rows=2))
    Image.new("RGB", (96, 32), (9, 8, 7)).save(run.reals)
    gallery = read_gallery(run)
    assert (gallery.reals.columns, gallery.reals.rows) == (3, 1)
    assert gallery.notes == []


def test_a_picture_too_large_to_open_is_not_decoded(tmp_path):
    path = write_run(tmp_path / "run", snapshots=1, columns=1, rows=1)
    (path / "run.json").write_text('{"grid": {"columns": 1000, "rows": 1000, "cell": 1024}}')
    gallery = read_gallery(read_run(path))
    assert gallery.reals is None
    assert "1024000x1024000 pixels is beyond what a report opens" in gallery.notes[0]
