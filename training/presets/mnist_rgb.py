"""MNIST-RGB: 1000 modes and discriminators so small that modes get lost (Karras et al. 2018, appendix E, Table 4)."""

import functools

from training.architectures.mnist_modes import Config as Network
from training.config import Config, DataConfig, OptimizerConfig, SnapshotConfig
from training.growth import Config as Growth
from training.losses.wgan_gp import Config as Loss

_STEPS = ("", "_norm", "_stddev", "_growing")  # each of the paper's additions comes on top of those before it


def preset(divisor: int, additions: int) -> Config:
    """MNIST-RGB at 32x32 (``toolkit make-pyramid MNIST OUT --as mnist_rgb``).

    Five discriminator steps of 64 images for each of the generator, no drift term. Modes found of 1000, and the
    distance to their even distribution, as remembered from the paper, means over 8 seeds: with K = 4 640.1 / 1.97 as
    it is, 856.7 / 1.10 with the paper's normalization, 881.3 / 1.09 with the minibatch standard deviation too, and
    859.5 / 1.05 with growing too; with K = 2 772.4 / 1.35, 886.6 / 0.98, 918.3 / 0.89 and 919.8 / 0.82. Not run by us
    at full length.

    Parameters
    ----------
    divisor : int
        K: the discriminator has 1/K of the generator's feature maps.
    additions : int
        Number of additions: 1 is the paper's normalization, 2 the minibatch standard deviation, 3 growing.
    """
    own_normalization = additions >= 1
    growing = additions >= 3
    return Config(
        arch="mnist_modes",
        network=Network(
            discriminator_divisor=divisor,
            generator_norm="pixel" if own_normalization else "batch",
            discriminator_norm="none" if own_normalization else "batch",
            equalized=own_normalization,
            minibatch_stddev=additions >= 2,
        ),
        objective=Loss(drift=0),
        growth=Growth(
            initial_resolution=4 if growing else 32,
            stabilize_kimg=500 if growing else 0,
            fade_kimg=2000 if growing else 0,
            total_kimg=15000 if growing else 10000,
            batch=64,
        ),
        optimizer=OptimizerConfig(discriminator_steps=5),
        data=DataConfig(resolution=32),
        snapshots=SnapshotConfig(every_kimg=500, log_every_kimg=10, metric_images=2048),
    )


PRESETS = {
    f"mnist_rgb_k{divisor}{step}": functools.partial(preset, divisor, additions)
    for divisor in (4, 2)
    for additions, step in enumerate(_STEPS)
}
