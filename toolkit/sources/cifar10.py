"""CIFAR-10, binary or python version: its .tar.gz or folder (training images), or one of its files."""

from __future__ import annotations

from pathlib import Path

from toolkit.layouts import cifar

LAYOUT = cifar.Layout(
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    others=frozenset({"batches.meta", "batches.meta.txt", "readme.html"}),
    label_key="labels",
    label_limits=(10,),
    meta="batches.meta",
    meta_key="label_names",
    names_file="batches.meta.txt",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)


def recognises(path: Path) -> bool:
    """True for the archive, the folder, or one file of batches."""
    return cifar.recognises(path, LAYOUT)


class Source(cifar.CifarSource):
    """The 50,000 training images in the order of the five batches; or those of one batch, such as ``test_batch``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, LAYOUT)
