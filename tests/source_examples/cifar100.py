"""CIFAR-100 in the binary version, extracted."""

from __future__ import annotations

from pathlib import Path

from oracles.array_files import cifar100_files, pictures, write_folder

from source_examples import Example

LABELS = [99, 0, 42]


def make(where: Path) -> Example:
    images = pictures(6, 32)
    files = cifar100_files(images, [1, 2, 3, 19, 0, 7], [4, 5, 6, *LABELS], python=False)
    names = [f"train/{k:05d}" for k in range(3)]
    return Example(
        write_folder(where / "cifar-100-binary", files), list(images[3:].transpose(0, 2, 3, 1)), LABELS, names
    )
