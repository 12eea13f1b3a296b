"""What every pyramid format must do with damaged files: one clear error, never a crash, never other pixels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from format_variants import VARIANTS, some_images, write

from datasets import formats
from datasets.errors import InputError
from datasets.manifest import Manifest


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    return request.param


def largest_file(path):
    return path if path.is_file() else max(path.iterdir(), key=lambda file: file.stat().st_size)


def test_a_truncated_data_set_is_refused(variant, tmp_path):
    path = variant.path(tmp_path)
    write(variant, path, some_images(3, 16))
    file = largest_file(path)
    content = file.read_bytes()
    end = len(content) - 32 - int.from_bytes(content[-16:-8], "little")  # behind it are digests, for `toolkit verify`
    for size in [0, 1, 7, 8, 100, *range(end // 3, end, end // 7), end - 1]:
        file.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"cut short|cannot be read|is not a pyramid|has no manifest|damaged"):
            formats.open_pyramid(path)


FUZZED = """
import sys
import numpy as np
from pathlib import Path
from datasets import formats
from datasets.errors import InputError
from datasets.manifest import level_digest, names_digest, row_digest
from datasets.levels import name_of
path, file, content = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[2]).read_bytes()
generator = np.random.default_rng(int(sys.argv[3]))
original = formats.open_pyramid(path)
truth = {level: np.array(original.level(level)) for level in range(2, 6)}, original.sources(), original.labels()
found = silent = 0

def read():
    reader = formats.open_pyramid(path)
    manifest = reader.manifest
    pixels = {}
    for level in range(2, 6):
        pixels[level] = reader.level(level).gather(np.arange(manifest.num_images))
        digests = reader.row_digests(level)
        if level_digest(digests) != manifest.level_digests[name_of(level)]:
            raise InputError("digests")
        if any(row_digest(image) != digest.tobytes() for image, digest in zip(pixels[level], digests)):
            raise InputError("pixels")
    names = reader.sources()
    if names_digest(names) != manifest.sources_digest:
        raise InputError("names")
    return pixels, names, reader.labels()

for _ in range(int(sys.argv[4])):
    damaged = bytearray(content)
    if generator.random() < 0.7:  # in one of the pages or structures, which are few among the pixels
        start = int(generator.choice([0, 4096, 2048, len(content) - 20000, len(content) - 8192, 8192]))
        start += int(generator.integers(200))
    else:
        start = int(generator.integers(len(content)))
    for place in range(start, start + int(generator.integers(1, 5))):
        damaged[place % len(content)] = int(generator.integers(256))
    file.write_bytes(damaged)
    try:
        pixels, names, labels = read()
        assert names == truth[1] and np.array_equal(labels, truth[2])
        assert all(np.array_equal(pixels[level], truth[0][level]) for level in pixels)
        silent += 1
    except InputError as error:
        assert "\\n" not in str(error)
        found += 1
print(found, silent)
"""


def test_damaged_bytes_are_found_or_harmless(variant, tmp_path):
    """In a process of its own: reading a damaged file must end in an InputError, not in a crash or in wrong pixels."""
    path = variant.path(tmp_path)
    write(variant, path, some_images(12, 32), labels=[0, 1, 2] * 4)
    for file in {largest_file(path), formats.open_pyramid(path).files()[0]}:
        content = file.read_bytes()
        command = [sys.executable, "-c", FUZZED, str(path), str(file), "1", "70"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        assert int(run.stdout.split()[0]) > 10
        file.write_bytes(content)


def test_the_manifest_of_another_version_is_refused(variant, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "to_json", lambda self: '{"schema": "growgan.pyramid", "version": 3}')
        write(variant, variant.path(tmp_path), some_images())
    with pytest.raises(InputError, match="of version 3, this program reads 1 to 2"):
        formats.open_pyramid(variant.path(tmp_path))


def test_changed_labels_are_found(variant, tmp_path):
    labels = [1, 2, 3, 4, 5, 77]
    write(variant, variant.path(tmp_path), some_images(), labels=labels, label_names=[str(k) for k in range(100)])
    for file in formats.open_pyramid(variant.path(tmp_path)).files():
        content = file.read_bytes()
        place = content.find(np.array([5, 77], "<i8").tobytes())
        if place >= 0:
            file.write_bytes(content[:place] + b"\x06" + content[place + 1 :])
            break
    with pytest.raises(InputError, match="the labels do not match their digest"):
        formats.open_pyramid(variant.path(tmp_path)).labels()
