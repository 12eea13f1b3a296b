"""Images are read by a thread of its own, one batch ahead of the metrics, and only those that are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from metrics.batches import Batch, one_ahead
from metrics.extraction import Extraction
from metrics.features import load
from metrics.image_files import open_image_files
from metrics.images import ArrayImageSet

Images = NDArray[np.uint8]


class Decoded(ArrayImageSet):
    """Images that take long to read, as those of a folder do."""

    def __init__(self, images: Images) -> None:
        super().__init__(images, kind="folder")
        self.calls: list[list[int]] = []

    def read(self, rows: NDArray[np.int64]) -> Images:
        self.calls.append(rows.tolist())
        return super().read(rows)


def batches(images: ArrayImageSet, size: int = 4) -> list[Batch]:
    return [Batch(images, np.arange(first, first + size), first) for first in range(0, images.num_images or 0, size)]


def test_the_next_batch_is_read_while_one_is_worked_on() -> None:
    begun = [threading.Event() for _ in range(4)]
    threads = set()

    def prepare(batch: Batch) -> None:
        threads.add(threading.get_ident())
        begun[batch.first // 4].set()

    order = []
    for batch in one_ahead(batches(Decoded(np.zeros((16, 3, 8, 8), np.uint8))), prepare):
        number = batch.first // 4
        order.append(number)
        assert number == 3 or begun[number + 1].wait(timeout=20)
        assert number >= 2 or not begun[number + 2].is_set()  # one batch, not all of them
    assert order == [0, 1, 2, 3]
    assert threading.get_ident() not in threads


def test_pixels_are_read_once(scenes: Callable[..., Images]) -> None:
    images = Decoded(scenes(8, 16))
    for batch in one_ahead(batches(images), lambda batch: batch.read_ahead(True, {})):
        np.testing.assert_array_equal(batch.pixels, scenes(8, 16)[batch.first : batch.first + 4])
    assert images.calls == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_images_whose_features_are_known_are_not_read(scenes: Callable[..., Images], tmp_path: Path) -> None:
    network = Extraction(load("random-projection")(None), tmp_path)
    images = Decoded(scenes(8, 16))
    known = Batch(images, np.array([1, 5, 6])).features(network, 3, logits=False)
    images.calls.clear()
    found = [
        batch.features(network, 4, logits=False)
        for batch in one_ahead(batches(images), lambda batch: batch.read_ahead(False, {network: 4}))
    ]
    assert images.calls == [[0, 2, 3], [4, 7]]
    np.testing.assert_array_equal(np.concatenate(found)[[1, 5, 6]], known)
    alone = Extraction(load("random-projection")(None))
    np.testing.assert_array_equal(
        np.concatenate(found), Batch(ArrayImageSet(scenes(8, 16)), np.arange(8)).features(alone, 8, logits=False)
    )


def test_a_damaged_image_stops_the_measurement(tmp_path: Path, scenes: Callable[..., Images]) -> None:
    for k, image in enumerate(scenes(6, 16)):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{k}.png")
    content = (tmp_path / "5.png").read_bytes()
    (tmp_path / "5.png").write_bytes(content[: len(content) - 40])
    images = open_image_files(tmp_path)
    assert images is not None
    found = one_ahead([Batch(images, np.arange(k, k + 2)) for k in (0, 2, 4)], lambda batch: batch.read_ahead(True, {}))
    assert next(found).pixels.shape == next(found).pixels.shape == (2, 3, 16, 16)
    with pytest.raises(InputError, match=r"5\.png"):
        next(found)
