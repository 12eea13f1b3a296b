"""The paper's CelebA-HQ 1024x1024 run."""

from training.config import Config, DataConfig, SnapshotConfig
from training.growth import Config as Growth


def preset() -> Config:
    """CelebA-HQ at 1024x1024 as in Karras et al. 2018, section 6.3, on one GPU with 16 GB.

    Batch 16, then 14, 6 and 3 from 256x256 on; 800 thousand images to fade each level in and 800 thousand to
    stabilize it; 19 million images in all; mirrored reals. Networks of 23.1 million parameters each. The paper's
    authors quote about 20 days on a Tesla P100 for this configuration, and at the end SWD x1000 of 5.44 (average of
    1024..16) and FID 7.30 (their Figure 11). Not run by us: no GPU at hand.
    """
    return Config(
        growth=Growth(
            fade_kimg=800,
            stabilize_kimg=800,
            total_kimg=19000,
            batch=16,
            batch_by_resolution={256: 14, 512: 6, 1024: 3},
            learning_rate=0.001,
        ),
        data=DataConfig(mirror=True),
        snapshots=SnapshotConfig(every_kimg=100, log_every_kimg=5, metric_images=2048),
    )
