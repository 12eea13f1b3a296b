"""Images are read by a thread of its own, one batch ahead of the metrics, and only those that are needed."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from metrics.batches import Batch, Steps, one_ahead
from metrics.evaluate import evaluate
from metrics.extraction import Extraction
from metrics.features import load
from metrics.image_files import open_image_files
from metrics.images import ArrayImageSet
from metrics.measuring import measure
from metrics.networks import Networks

Images = NDArray[np.uint8]
ROOT = Path(__file__).parents[2]


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


class Places:
    """A progress bar that writes down where it was."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def update(self, n: float | None = 1) -> None:
        self.seen.append((self.seen[-1] if self.seen else 0) + (n or 0))


def test_rows_are_kept_and_told_of_block_by_block(scenes: Callable[..., Images], tmp_path: Path) -> None:
    """Whatever the batch, no more than one block of the network is lost to a kill."""
    network = Extraction(load("random-projection")(None), tmp_path)
    size = network.extractor.block_size
    images, count = ArrayImageSet(scenes(3 * size + 2, 16)), 3 * size + 2
    told: list[int] = []
    unknown: list[int] = []

    def done(number: int) -> None:
        told.append(number)
        unknown.append(len(network.unknown(images, np.arange(count))))

    found = Batch(images, np.arange(count)).features(network, count, logits=False, done=done)
    assert told == [0, size, size, size, 2]
    assert unknown == [count, count - size, count - 2 * size, 2, 0]
    told.clear()
    again = Batch(images, np.arange(count)).features(network, count, logits=False, done=done)
    assert told == [count]
    np.testing.assert_array_equal(found, again)
    assert (network.num_computed, network.num_known) == (count, count)
    alone = load("random-projection")(None)
    np.testing.assert_array_equal(found, alone(images.read(np.arange(count))).pool.numpy())


def test_a_bar_moves_through_a_batch_and_ends_where_it_should() -> None:
    bar = Places()
    steps = Steps(bar, 20, 30)  # two networks on 20 and 10 of 20 images
    for number in (0, 8, 8, 4, 8, 2):
        steps(number)
    assert bar.seen == [5, 10, 13, 18, 20]
    steps.finish()
    assert bar.seen[-1] == 20
    bar = Places()
    Steps(bar, 7, 0).finish()  # metrics on pixels alone
    assert bar.seen == [7]


def test_the_bar_of_a_measurement_moves_within_a_batch(scenes: Callable[..., Images]) -> None:
    bars: list[tuple[int | None, Places]] = []

    @contextlib.contextmanager
    def progress(total: int | None, what: str, unit: str = "img") -> Iterator[Places]:
        if what.endswith("images"):
            bars.append((total, Places()))
            yield bars[-1][1]
        else:
            yield Places()

    real, fake = (ArrayImageSet(scenes(70, 16, seed=seed)) for seed in (0, 1))
    evaluate(
        ["fid", "swd"],
        real,
        fake,
        batch_size=64,
        networks=Networks(),
        extractor="random-projection",
        options={"swd": {"memory": 0.1}},
        progress=progress,
    )
    assert [total for total, _ in bars] == [70, 70]
    for _, bar in bars:
        assert bar.seen[-1] == 70
        block = load("random-projection")(None).block_size
        assert max(np.diff([0, *bar.seen])) <= max(block, 6)


SLOW = """
import sys, time
from pathlib import Path
from metrics.features import random_projection
from metrics.measuring import measure

quick = random_projection.Network._features_of_block
def slow(self, block):
    time.sleep(0.3)
    return quick(self, block)
random_projection.Network._features_of_block = slow
folder = Path(sys.argv[1])
print("begun", flush=True)
measure(["fid"], folder / "real.npy", folder / "fake.npy", extractor="random-projection", cache=folder / "cache",
        batch_size=256)
"""


def test_a_kill_loses_one_block(tmp_path: Path, scenes: Callable[..., Images]) -> None:
    """SIGKILL in the midst of the first batch, which holds all images; then the same measurement again."""
    count = 200
    for seed, name in enumerate(("real", "fake")):
        np.save(tmp_path / f"{name}.npy", scenes(count, 16, seed=seed))
    files = tmp_path / "real.npy", tmp_path / "fake.npy"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], env=environment, cwd=ROOT)
    try:
        until = time.monotonic() + 120
        while sum(file.stat().st_size for file in tmp_path.glob("cache/*/digests")) < 8 * 8:
            assert process.poll() is None, "it was over before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    options: dict[str, Any] = {"extractor": "random-projection", "batch_size": 256}
    found = measure(["fid"], *files, cache=tmp_path / "cache", **options)
    told = re.search(r"(\d+) computed, (\d+) taken", found.notes[0])
    assert told is not None
    assert int(told[1]) + int(told[2]) == 2 * count
    assert 0 < int(told[2]) < count  # within the first batch
    expected = measure(["fid"], *files, no_cache=True, **options)
    assert found.results[0]["value"] == expected.results[0]["value"]


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
