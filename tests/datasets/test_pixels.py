"""What is particular to the kinds of pixels; what all must do is in tests/contracts/test_formats.py."""

from pathlib import Path

import numpy as np
import pytest

from datasets import pixels as module
from datasets.errors import InputError
from datasets.mapping import FileMap
from datasets.pixels import EncodedPixels, MappedPixels, ScatteredPixels, SpanningPixels


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)


@pytest.fixture
def file(tmp_path, images):
    """Rows in one piece from byte 5 on, and then the same in reverse order, 3 bytes apart."""
    scattered = b"".join(image.tobytes() + b"..." for image in images[::-1])
    (tmp_path / "file").write_bytes(b"start" + images.tobytes() + scattered)
    return FileMap(tmp_path / "file")


def mapped(file):
    return MappedPixels(Path("x"), 3, 20, file, 5)


def scattered(file):
    return ScatteredPixels(Path("x"), 3, file, 5 + 20 * 192 + 195 * np.arange(19, -1, -1))


def spanning(file):
    one, two = mapped(file), scattered(file)
    parts = [MappedPixels(Path("x"), 3, 1, file, 5), MappedPixels(Path("x"), 3, 4, file, 5 + 192)]
    parts += [ScatteredPixels(Path("x"), 3, file, two.places[5:17]), MappedPixels(Path("x"), 3, 3, file, 5 + 17 * 192)]
    assert len(one) == 20
    return SpanningPixels(Path("x"), 3, parts)


def encoded(file):
    def decode(data, resolution, where):
        assert where.startswith("x: data8x8, row ")
        return np.frombuffer(data, np.uint8).reshape(3, resolution, resolution)

    return EncodedPixels(Path("x"), 3, file, scattered(file).places, np.full(20, 192), decode)


KINDS = [mapped, scattered, spanning, encoded]


@pytest.mark.parametrize("small_level", [0, 1 << 26])
@pytest.mark.parametrize("small_batch", [0, 1 << 16])
@pytest.mark.parametrize("small_row", [0, 1 << 14])
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_gather(kind, file, images, monkeypatch, rng, small_row, small_batch, small_level):
    monkeypatch.setattr(module, "_SMALL_ROW", small_row)
    monkeypatch.setattr(module, "_SMALL_BATCH", small_batch)
    monkeypatch.setattr(module, "_SMALL_LEVEL", small_level)
    pixels = kind(file)
    assert np.array_equal(pixels, images)
    for _ in range(40):  # often enough for a small level to be kept
        rows = rng.integers(-20, 20, int(rng.integers(0, 30)))
        before = rows.copy()
        assert np.array_equal(pixels.gather(rows), images[rows])
        assert np.array_equal(rows, before)
    for wrong in ([20], [-21], [0, 1, 20], np.array([1 << 63], np.uint64)):
        with pytest.raises(IndexError):
            pixels.gather(wrong)
    assert np.array_equal(pixels[-1], images[-1])
    assert np.array_equal(pixels[[3, -1], 1:], images[[3, -1], 1:])


def test_a_failed_gather_leaves_the_array_that_was_given(file, images):
    out = np.full((2, 3, 8, 8), 9, np.uint8)
    for kind in KINDS:
        with pytest.raises(IndexError):
            kind(file).gather([3, 20], out)
        assert (out == 9).all()


@pytest.mark.parametrize("kind", [scattered, spanning, encoded])
def test_a_small_level_is_kept_in_memory_once_half_of_it_was_read(kind, file, images):
    pixels = kind(file)
    pixels.gather(range(10))
    assert pixels._array is None
    pixels.gather([0])
    assert np.array_equal(pixels._array, images)
    assert not pixels._array.flags.writeable


def test_a_row_that_cannot_be_decoded_fails_alone(file, images):
    def decode(data, resolution, where):
        if where.endswith("row 7"):
            raise InputError("row 7 is damaged")
        return np.frombuffer(data, np.uint8).reshape(3, resolution, resolution)

    pixels = EncodedPixels(Path("x"), 3, file, scattered(file).places, np.full(20, 192), decode)
    others = [row for row in range(20) if row != 7]
    for _ in range(5):
        assert np.array_equal(pixels.gather(others), images[others])
    with pytest.raises(InputError, match="row 7 is damaged"):
        pixels.gather([7])


def test_rows_in_one_piece_are_not_copied_when_looked_at(file):
    pixels = mapped(file)
    for view in (pixels[3], pixels[2:5], np.asarray(pixels, copy=None)):
        assert np.shares_memory(view, file.bytes)
        assert not view.flags.writeable
    assert not np.shares_memory(pixels.gather([3]), file.bytes)
    assert np.shares_memory(scattered(file)[3], file.bytes)
