"""LSUN at 256x256: one network for each of the 30 categories (Karras et al. 2018, section 6.4)."""

import dataclasses

from training.config import Config, DataConfig, SnapshotConfig
from training.growth import Config as Growth


def category() -> Config:
    """100 thousand images of one category of LSUN, mirrored, on one GPU.

    Batch 16 throughout, 800 thousand images to fade and 800 thousand to stabilize each level, 20 million in all. FID
    of the paper's networks, as an index of papers lists them: cat 37.52, churchoutdoor 6.42. Not run by us: no GPU.
    """
    return Config(
        growth=Growth(fade_kimg=800, stabilize_kimg=800, total_kimg=20000, batch=16),
        data=DataConfig(resolution=256, mirror=True),
        snapshots=SnapshotConfig(every_kimg=100, log_every_kimg=5, metric_images=2048),
    )


def whole_category() -> Config:
    """All images of a category, not mirrored, as the Theano release trains on bedroom and dog.

    FID of the paper's network for bedroom, likewise: 8.34. Not run by us: no GPU at hand.
    """
    return dataclasses.replace(category(), data=DataConfig(resolution=256))


PRESETS = {"lsun": category, "lsun_whole": whole_category}
