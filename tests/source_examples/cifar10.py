"""CIFAR-10 in the python version, two images a batch, as the archive that is downloaded."""

from __future__ import annotations

from pathlib import Path

from oracles.array_files import cifar10_files, pictures, write_tar

from source_examples import Example

LABELS = [9, 0, 3, 3, 1, 2, 8, 7, 4, 5]


def make(where: Path) -> Example:
    images = pictures(12, 32)
    files = cifar10_files(images, [*LABELS, 6, 6], python=True)
    path = write_tar(where / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)
    names = [f"data_batch_{1 + k // 2}/{k % 2:05d}" for k in range(10)]
    return Example(path, list(images[:10].transpose(0, 2, 3, 1)), LABELS, names)
