"""The rows of the paper's Table 1: what each part of the method brings, at 128x128 (Karras et al. 2018, section 6.1).

Each row is the one before it with one change. Lengths, batches, rates and networks as in the Theano release; its fading
of reals in whole numbers, its scales as drawn and its place of Adam's epsilon stay options (docs/deviations.md). On
CelebA (cropped to 128x128) mirror the reals; on LSUN bedroom don't (``--set data.mirror=false``). SWD x1000 in the
docstrings is the average over 128, 64, 32 and 16 pixels on CelebA, with the paper's MS-SSIM. None was run by us at full
length: no GPU at hand.
"""

from dataclasses import replace

from training.architectures.pggan import Config as Network
from training.config import Config, DataConfig, OptimizerConfig, SnapshotConfig
from training.ema import Config as Average
from training.growth import Config as Growth
from training.losses.wgan_gp import Config as Loss


def row_a() -> Config:
    """Gulrajani et al. 2017: WGAN-GP as it was, without growing. SWD 9.28, MS-SSIM 0.2854."""
    grown = row_b()
    return replace(grown, growth=replace(grown.growth, initial_resolution=128, fade_kimg=0, stabilize_kimg=0))


def row_b() -> Config:
    """Row a, and growing. SWD 4.28, MS-SSIM 0.2838."""
    return Config(
        network=Network(
            fmap_base=2048,
            latent_size=128,
            normalize_latents=False,
            generator_norm="batch",
            generator_leak=0.0,
            tanh=True,
            discriminator_norm="layer",
            equalized=False,
            minibatch_stddev=False,
        ),
        objective=Loss(drift=0),
        growth=Growth(fade_kimg=800, stabilize_kimg=800, total_kimg=10000, batch=64, learning_rate=1e-4),
        optimizer=OptimizerConfig(beta2=0.9, discriminator_steps=5),
        ema=Average(unit="images"),
        data=DataConfig(resolution=128, mirror=True),
        snapshots=SnapshotConfig(every_kimg=100, log_every_kimg=5, metric_images=2048),
    )


def row_c() -> Config:
    """Row b, with a batch of 16 instead of 64. SWD 46.23, MS-SSIM 0.4065."""
    large = row_b()
    return replace(large, growth=replace(large.growth, batch=16))


def row_d() -> Config:
    """Row c, and revised training parameters: the paper's networks and Adam, but for what follows. 8.07, 0.3027."""
    before = row_c()
    network = Network(fmap_base=2048, generator_norm="none", equalized=False, minibatch_stddev=False)
    return replace(before, network=network, objective=Loss(), optimizer=OptimizerConfig(), ema=Average())


def row_e_star() -> Config:
    """Row d, and minibatch discrimination (Salimans et al. 2016). SWD 9.84, MS-SSIM 0.3057."""
    before = row_d()
    return replace(before, network=replace(before.network, minibatch_discrimination=100))


def row_e() -> Config:
    """Row d, and the minibatch standard deviation. SWD 7.04, MS-SSIM 0.2950."""
    before = row_d()
    return replace(before, network=replace(before.network, minibatch_stddev=True))


def row_f() -> Config:
    """Row e, and equalized learning rate (with a rate of 0.001). SWD 4.39, MS-SSIM 0.2902."""
    before = row_e()
    growth = replace(before.growth, learning_rate=0.001)
    return replace(before, network=replace(before.network, equalized=True), growth=growth)


def row_g() -> Config:
    """Row f, and pixel norm: the whole method. SWD 3.56, MS-SSIM 0.2845."""
    before = row_f()
    return replace(before, network=replace(before.network, generator_norm="pixel"))


def row_h() -> Config:
    """Row g, with networks of full width, trained until it no longer gets better. SWD 2.96, MS-SSIM 0.2828.

    The release has no settings for this row. The width is the paper's; twice the images of the other rows is our guess.
    """
    before = row_g()
    return replace(before, network=Network(), growth=replace(before.growth, total_kimg=20000))


PRESETS = {
    "table1_a": row_a,
    "table1_b": row_b,
    "table1_c": row_c,
    "table1_d": row_d,
    "table1_e_star": row_e_star,
    "table1_e": row_e,
    "table1_f": row_f,
    "table1_g": row_g,
    "table1_h": row_h,
}
