"""CIFAR-100, binary or python version: its .tar.gz or folder (training images), or one of its files."""

from __future__ import annotations

from pathlib import Path

from toolkit.layouts import cifar

_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
LAYOUT = cifar.Layout(
    train=("train",),
    test="test",
    others=frozenset({"meta", "file.txt", "file.txt~", "coarse_label_names.txt", "fine_label_names.txt"}),
    label_key="fine_labels",
    label_limits=(20, 100),  # coarse, fine
    meta="meta",
    meta_key="fine_label_names",
    names_file="fine_label_names.txt",
    class_names=tuple(_CLASSES.split()),
)


def recognises(path: Path) -> bool:
    """True for the archive, the folder, or the file ``train`` or ``test``."""
    return cifar.recognises(path, LAYOUT)


class Source(cifar.CifarSource):
    """The 50,000 training images with their fine labels; or the images of one file, such as ``test``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, LAYOUT)
