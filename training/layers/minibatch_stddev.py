"""Minibatch standard deviation: lets the discriminator see how much the images of a batch vary.

Karras et al. 2018, section 3: standard deviation over the batch for each feature and position, averaged into one
number, appended as one more constant feature map.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.layers.precision import at_least_single


def minibatch_stddev(x: Tensor, group_size: int | None = None, epsilon: float = 1e-8) -> Tensor:
    """Append the minibatch standard deviation as the last channel.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
        Feature maps.
    group_size : int, optional
        Statistics are taken within groups of this many images. None, the paper's and the Theano code's choice, takes
        the whole minibatch as one group; the TensorFlow release takes 4. A group's members are strided over the
        batch: with M groups, image n belongs to group n mod M.
    epsilon : float
        Added to the (population) variance.

    Returns
    -------
    Tensor, shape (N, C + 1, H, W)
        Of the type of `x`; computed in float32 at least.

    Raises
    ------
    ValueError
        If N is larger than the group size and not a multiple of it.
    """
    count, channels, height, width = x.shape
    size = count if group_size is None else min(group_size, count)
    if count % size:
        raise ValueError(f"a batch of {count} images does not divide into minibatch-stddev groups of {size}")
    groups = at_least_single(x).view(size, count // size, channels, height, width)
    variance = (groups - groups.mean(dim=0)).square().mean(dim=0)
    statistic = (variance + epsilon).sqrt().mean(dim=(1, 2, 3))  # one number per group
    plane = statistic.to(x.dtype).repeat(size).view(count, 1, 1, 1).expand(count, 1, height, width)
    return torch.cat([x, plane], dim=1)
