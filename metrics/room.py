"""How SWD divides the memory it is given: patches, and projections at work.

Patches lie in memory if they fit into half of it, and in a temporary file otherwise. Projections of two sets at a time
take a quarter beside them, half without them; a trainer keeps those of the reals in another quarter.
"""

from __future__ import annotations

import dataclasses

from metrics.patches import GIB, bytes_per_image

_MOST_DIRECTIONS = 256  # at a time: fewer starve the product, more gain less than fresh memory costs


@dataclasses.dataclass(frozen=True)
class Room:
    """Shares of the memory.

    Attributes
    ----------
    patches : int
        Bytes of patches in memory; 0 if they lie in a file.
    file : int
        Bytes of patches in the temporary file.
    directions : int
        Directions along which both sets are projected at a time.
    projections : int
        Bytes of these projections.
    kept : int
        Bytes of projections that may stay for the next fakes.
    """

    patches: int
    file: int
    directions: int
    projections: int
    kept: int

    @property
    def in_memory(self) -> bool:
        """Whether the patches lie in memory."""
        return self.file == 0


def divide(memory: float, num_images: int, all_images: int, resolution: int, directions: int, **sizes: int) -> Room:
    """Divide the memory.

    Parameters
    ----------
    memory : float
        GiB for everything.
    num_images : int
        Images of each side of the distance.
    all_images : int
        Images whose patches are needed, those for the floor included.
    resolution : int
    directions : int
        Of all repeats.
    **sizes
        Of `metrics.patches.bytes_per_image`.
    """
    budget = memory * GIB
    needed = all_images * bytes_per_image(resolution, **sizes)
    in_memory = needed <= budget / 2
    of_direction = 2 * 4 * num_images * sizes.get("patches", 128)
    portion = min(_MOST_DIRECTIONS, directions)
    while portion > 1 and portion * of_direction > budget / (4 if in_memory else 2):
        portion //= 2
    return Room(
        patches=needed if in_memory else 0,
        file=0 if in_memory else needed,
        directions=portion,
        projections=portion * of_direction,
        kept=int(budget / 4),
    )
