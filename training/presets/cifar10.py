"""CIFAR-10 at 32x32, the run of the paper's inception scores (Karras et al. 2018, section 6.5)."""

from training.architectures.pggan import Config as Network
from training.config import Config, DataConfig, OptimizerConfig, SnapshotConfig
from training.growth import Config as Growth
from training.losses.wgan_gp import Config as Loss


def preset() -> Config:
    """CIFAR-10 without labels, on one GPU.

    Networks of 1.3 million parameters each (at most 128 feature maps), the gradient penalty's target 750 instead of 1,
    both networks updated from one pass over the same fakes, 20 million images. Inception score of the paper: 8.80 +-
    0.05 in the best of ten runs, 8.56 +- 0.06 over all ten. Not run by us at full length.
    """
    return Config(
        network=Network(fmap_base=4096, fmap_max=128, latent_size=128),
        objective=Loss(target_norm=750),
        growth=Growth(fade_kimg=400, stabilize_kimg=400, total_kimg=20000, batch=16),
        optimizer=OptimizerConfig(updates="joint"),
        data=DataConfig(resolution=32),
        snapshots=SnapshotConfig(every_kimg=200, log_every_kimg=5, metric_images=8192),
    )


PRESETS = {"cifar10": preset}
