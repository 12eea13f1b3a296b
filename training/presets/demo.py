"""The run of ``make demo``."""

from training.architectures.pggan import Config as Network
from training.config import Config, SnapshotConfig
from training.ema import Config as Average
from training.growth import Config as Growth


def preset() -> Config:
    """Galaxies at 32x32 from tiles of one Hubble photograph, in about five minutes on two CPU cores.

    Seen on 22 November 2026 (AMD EPYC, two cores): five minutes and a half of training, SWD x1000 of 38.1 against 512
    reals at the end, 350 before training, floor 14.7; MS-SSIM 0.352, reals 0.299.
    """
    return Config(
        network=Network(fmap_base=256, fmap_max=32),
        growth=Growth(
            fade_kimg=3,
            stabilize_kimg=3,
            total_kimg=30,
            batch=8,
            batch_by_resolution={4: 16},
            learning_rate=0.003,
            learning_rate_by_resolution={32: 0.002},
        ),
        ema=Average(decay=0.995),
        snapshots=SnapshotConfig(every_kimg=3, log_every_kimg=0.5, metric_images=512),
    )


PRESETS = {"demo": preset}
