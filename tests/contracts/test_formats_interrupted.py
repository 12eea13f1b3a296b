"""What every pyramid format must do when its writer is interrupted, killed, or resumed."""

from __future__ import annotations

import dataclasses
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from format_variants import SHARDED, VARIANTS, bytes_of, names_in, some_images, write
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import formats
from datasets.levels import name_of, pyramid
from datasets.manifest import level_digest, row_digest


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    return request.param


def test_a_kept_writer_is_resumed(variant, tmp_path):
    path, images = variant.path(tmp_path), some_images(9)
    packs = pyramid(images)
    with pytest.raises(RuntimeError), variant.create(path, 9, 16, keep=True) as writer:  # noqa: PT012
        writer.write([1, 2, 7], writer.pack({level: pixels[[1, 2, 7]] for level, pixels in packs.items()}))
        assert writer.stored(1) is None
        writer.flush()
        assert writer.stored(1) is not None
        writer.write([4], writer.pack({level: pixels[[4]] for level, pixels in packs.items()}))
        raise RuntimeError
    assert names_in(tmp_path) == [f".{path.name}.partial"]
    assert not any(formats.is_pyramid(left) for left in tmp_path.rglob("*"))
    with variant.create(path, 9, 16, keep=True, resume=True) as writer:
        assert [row for row in range(9) if writer.stored(row) is not None] == [1, 2, 7]
        for level, digests in zip(
            packs, np.transpose([writer.stored(row) for row in (1, 2, 7)], (1, 0, 2)), strict=True
        ):
            assert [bytes(digest) for digest in digests] == [row_digest(packs[level][row]) for row in (1, 2, 7)]
        rest = [0, 3, 4, 5, 6, 8]
        writer.write(rest, writer.pack({level: pixels[rest] for level, pixels in packs.items()}))
        manifest = writer.finish([f"{row}.png" for row in range(9)], options={"crop": "centre"})
    assert names_in(tmp_path) == [path.name]
    assert np.array_equal(formats.open_pyramid(path).level(4), images)
    (tmp_path / "again").mkdir()
    assert manifest == write(variant, variant.path(tmp_path / "again"), images)
    if variant.suffix == ".h5":
        assert bytes_of(path) == bytes_of(variant.path(tmp_path / "again"))


def leave_half(variant, path, images, rows):
    with variant.create(path, len(images), images.shape[-1], keep=True) as writer:
        writer.write(rows, writer.pack(pyramid(images[rows])))
        writer.flush()


def test_without_resume_the_leftovers_are_not_used(variant, tmp_path):
    path, images = variant.path(tmp_path), some_images()
    leave_half(variant, path, images, [0, 1, 5])
    with variant.create(path, 6, 16) as writer:
        assert all(writer.stored(row) is None for row in range(6))
    assert names_in(tmp_path) == []


def test_leftovers_of_another_pyramid_are_not_used(variant, tmp_path):
    path, images = variant.path(tmp_path), some_images()
    others = [(7, 16, variant), (6, 32, variant), (6, 8, variant)]
    others += [
        (6, 16, other) for other in VARIANTS if other.suffix == variant.suffix and other.shards == variant.shards
    ]
    for count, side, other in others:
        leave_half(variant, path, images, [0, 1, 5])
        with other.create(path, count, side, resume=True) as writer:
            fits = (count, side, other) == (6, 16, variant)
            assert (writer.stored(0) is not None) == fits
        assert names_in(tmp_path) == []


def test_a_different_number_of_shards_begins_anew(tmp_path):
    for variant in SHARDED:
        path, images = variant.path(tmp_path), some_images()
        leave_half(variant, path, images, [0, 1, 5])
        with dataclasses.replace(variant, shards=2).create(path, 6, 16, resume=True) as writer:
            assert all(writer.stored(row) is None for row in range(6))
            writer.write(range(6), writer.pack(pyramid(images)))
            writer.finish(["x"] * 6)
        assert len(formats.open_pyramid(path).files()) == len(names_in(path)) == 3


def test_a_kept_writer_can_be_discarded(variant, tmp_path):
    path = variant.path(tmp_path)
    leave_half(variant, path, some_images(), [3])
    with variant.create(path, 6, 16, keep=True, resume=True) as writer:
        assert writer.stored(3) is not None
        writer.discard()
    assert names_in(tmp_path) == []


def test_a_row_can_be_written_again(variant, tmp_path):
    path, images = variant.path(tmp_path), some_images()
    others = 255 - images
    leave_half(variant, path, others, [0, 1, 2, 5])
    with variant.create(path, 6, 16, keep=True, resume=True) as writer:
        writer.write([1, 2, 3], writer.pack(pyramid(others[[1, 2, 3]])))
        writer.write([0, 1, 2], writer.pack(pyramid(images[[0, 1, 2]])))
        assert writer.stored(1) is None
        assert writer.stored(5) is not None
    with variant.create(path, 6, 16, keep=True, resume=True) as writer:
        for row in range(6):  # never a digest of other pixels than those that are there
            assert writer.stored(row) is None or bytes(writer.stored(row)[-1]) == row_digest(others[row])
        writer.write(range(6), writer.pack(pyramid(images)))
        writer.finish(["x"] * 6)
    assert np.array_equal(formats.open_pyramid(path).level(4), images)


@pytest.mark.parametrize("cut", ["before the name", "before the last file"])
def test_a_finish_that_was_cut_off_is_made_up_for(variant, tmp_path, monkeypatch, cut):
    path, images = variant.path(tmp_path), some_images(7)
    names = [str(row) for row in range(7)]

    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), variant.create(path, 7, 16, keep=True) as writer:  # noqa: PT012
        writer.write(range(7), writer.pack(pyramid(images)))
        monkeypatch.setattr(Path, "rename" if cut == "before the name" else "replace", interrupted)
        if variant.shards == 1:
            monkeypatch.setattr(Path, "replace", interrupted)
        writer.finish(names)
    monkeypatch.undo()
    assert not path.exists()
    with variant.create(path, 7, 16, keep=True, resume=True) as writer:
        assert not any(formats.is_pyramid(left) for left in tmp_path.rglob("*"))
        assert all(writer.stored(row) is not None for row in range(7))
        writer.finish(names)
    assert names_in(tmp_path) == [path.name]
    assert np.array_equal(formats.open_pyramid(path).level(4), images)


KILLED = """
import sys
import numpy as np
from datasets import formats
from datasets.levels import pyramid
path, shards, encoding, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
images = np.random.default_rng(7).integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
how = dict(shards=shards, encoding=encoding, keep=True, resume=True)
with formats.create(path, 60, 32, **how) as writer:
    rows = [row for row in np.random.default_rng(seed).permutation(60).tolist() if writer.stored(row) is None]
    print("open", flush=True)
    for row in rows:
        writer.write([row], writer.pack(pyramid(images[[row]])))
        if row % 4 == 0:
            writer.flush()
            print(*[k for k in range(60) if writer.stored(k) is not None], flush=True)
    writer.finish([str(row) for row in range(60)], labels=[row % 5 for row in range(60)])
"""


def test_killed_at_random_moments_and_resumed(variant, tmp_path):
    """SIGKILL again and again; what was promised stays, nothing looks whole, and the end is as if nothing happened."""
    path = variant.path(tmp_path)
    images = np.random.default_rng(7).integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
    levels = pyramid(images)
    chance = random.Random(str(variant))
    for attempt in range(60):
        command = [sys.executable, "-c", KILLED, str(path), str(variant.shards), variant.encoding, str(attempt)]
        last = attempt > 3
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "open\n"
            if not last:
                time.sleep(chance.choice([0, 0.002, 0.01, 0.02]))
                process.send_signal(signal.SIGKILL)
            said = process.stdout.read().splitlines()
        if path.exists():
            break
        assert not last
        assert names_in(tmp_path) == [f".{path.name}.partial"]
        with variant.create(path, 60, 32, keep=True, resume=True) as writer:
            stored = {row for row in range(60) if writer.stored(row) is not None}
            for row in stored:
                assert [bytes(digest) for digest in writer.stored(row)] == [row_digest(p[row]) for p in levels.values()]
        for line in said[:-1]:  # the last one may be cut off
            assert {int(row) for row in line.split()} <= stored
    assert names_in(tmp_path) == [path.name]
    reader = formats.open_pyramid(path)
    for level, pixels in levels.items():
        assert np.array_equal(reader.level(level), pixels)
        assert level_digest(reader.row_digests(level)) == reader.manifest.level_digests[name_of(level)]
    assert reader.labels().tolist() == [row % 5 for row in range(60)]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(VARIANTS),
    st.integers(1, 12),
    st.sampled_from([4, 8, 32]),
    st.randoms(use_true_random=False),
    st.integers(0, 2**32),
)
def test_any_parts_in_any_order_with_interruptions(tmp_path_factory, variant, count, side, chance, seed):
    """Rows written in random pieces, some twice, flushed, closed and opened again at random: the same pyramid."""
    path = variant.path(tmp_path_factory.mktemp("any"))
    images = np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    manifest = None
    while manifest is None:
        with variant.create(path, count, side, keep=True, resume=True) as writer:
            rows = [row for row in range(count) if writer.stored(row) is None or chance.random() < 0.1]
            chance.shuffle(rows)
            while rows and chance.random() < 0.9:
                part = [rows.pop() for _ in range(min(len(rows), chance.randint(1, 4)))]
                writer.write(part, writer.pack(pyramid(images[part])))
                if chance.random() < 0.3:
                    writer.flush()
            if not rows:
                manifest = writer.finish([str(row) for row in range(count)])
    reader = formats.open_pyramid(path)
    assert reader.manifest == manifest
    assert all(np.array_equal(reader.level(level), pixels) for level, pixels in pyramid(images).items())
