"""The run of ``make demo``."""

from training.architectures.pggan import Config as Network
from training.config import Config, SnapshotConfig
from training.ema import Config as Average
from training.growth import Config as Growth


def preset() -> Config:
    """Galaxies at 32x32 in about four minutes on two CPU cores, from tiles of one Hubble photograph."""
    return Config(
        network=Network(fmap_base=256, fmap_max=32),
        growth=Growth(
            fade_kimg=4, stabilize_kimg=4, total_kimg=32, batch=8, batch_by_resolution={4: 16}, learning_rate=0.002
        ),
        ema=Average(decay=0.995),
        snapshots=SnapshotConfig(every_kimg=4, log_every_kimg=0.5, metric_images=1024),
    )
