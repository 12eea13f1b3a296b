"""A run of one or two minutes for tests and first looks."""

from training.architectures.pggan import Config as Network
from training.config import Config, SnapshotConfig
from training.ema import Config as Average
from training.growth import Config as Growth


def preset() -> Config:
    """Any data set of 32x32 or more, grown to its resolution (meant for 32x32), on two CPU cores."""
    return Config(
        network=Network(fmap_base=512, fmap_max=64),
        growth=Growth(fade_kimg=4, stabilize_kimg=4, total_kimg=36, batch=16, learning_rate=0.002),
        ema=Average(decay=0.99),
        snapshots=SnapshotConfig(every_kimg=6, log_every_kimg=1, metric_images=512),
    )
