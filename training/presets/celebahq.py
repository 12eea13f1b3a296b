"""CelebA-HQ at 1024x1024: the paper's run, and those of the TensorFlow release for one to eight GPUs."""

import functools
from collections.abc import Mapping

from training.architectures.pggan import Config as Network
from training.config import Config, DataConfig, OptimizerConfig, SnapshotConfig
from training.ema import Config as Average
from training.growth import Config as Growth
from training.guards import Config as Guards


def paper() -> Config:
    """CelebA-HQ at 1024x1024 as in Karras et al. 2018, section 6.3, on one GPU with 16 GB.

    Batch 16, then 14, 6 and 3 from 256x256 on; 800 thousand images to fade each level in and 800 thousand to
    stabilize it; 19 million images in all; mirrored reals. Networks of 23.1 million parameters each. The paper's
    authors quote about 20 days on a Tesla P100 for this configuration, and at the end SWD x1000 of 5.44 (average of
    1024..16) and FID 7.30 (their Figure 11). The warm-up of the Theano run behind these figures is not in the paper and
    not in this preset (``growth.warmup_kimg=40``). Not run by us: no GPU at hand.
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
        data=DataConfig(resolution=1024, mirror=True),
        snapshots=SnapshotConfig(every_kimg=100, log_every_kimg=5, metric_images=2048),
    )


_BATCHES = {
    1: {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4, 1024: 4},
    2: {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 8, 1024: 8},
    4: {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 16, 512: 16, 1024: 16},
    8: {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 32, 256: 32, 512: 32, 1024: 32},
}
_RATES: dict[int, dict[int, float]] = {
    1: {1024: 0.0015},
    2: {512: 0.0015, 1024: 0.002},
    4: {256: 0.0015, 512: 0.002, 1024: 0.003},
    8: {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
}


def released(gpus: int) -> Config:
    """CelebA-HQ at 1024x1024 as in the TensorFlow release of 2018, for so many GPUs of 16 GB (``torchrun``).

    Larger batches at low resolutions, higher rates at the last ones; 600 thousand images to fade each level in and 600
    thousand to stabilize it; 12 million in all; the minibatch standard deviation in groups of four; and that release's
    choice in every other row of docs/deviations.md that is an option. Its authors quote
    about 2 weeks on one Tesla V100, 1 week on two, 3 days on four and 2 days on eight, with results like the paper's.
    Not run by us: no GPU at hand.
    """
    return Config(
        network=Network(stddev_group=4, mean_before_activation=True, normalize_labels=True),
        growth=Growth(
            fade_kimg=600,
            stabilize_kimg=600,
            total_kimg=12000,
            batch_by_resolution=_BATCHES[gpus],
            learning_rate_by_resolution=_RATES[gpus],
            hold_minibatches=4,
        ),
        optimizer=OptimizerConfig(bias_correction="rate"),
        ema=Average(after="discriminator"),
        guards=Guards(non_finite="go_on"),
        data=DataConfig(resolution=1024, mirror=True),
        snapshots=SnapshotConfig(every_kimg=100, log_every_kimg=5, metric_images=2048),
    )


PRESETS: Mapping[str, functools.partial[Config]] = {
    "celebahq": functools.partial(paper),
    **{f"celebahq_{gpus}gpu": functools.partial(released, gpus) for gpus in _BATCHES},
}
