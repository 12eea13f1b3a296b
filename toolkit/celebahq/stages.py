"""The stages between a photograph and a finished portrait, each of which has a name and can be turned off.

Appendix C of the paper, in its order: traces of JPEG removed by a network, an enlargement, by a network or a filter,
where the face is small; the photograph continued beyond its border by its blurred mirror image; the oriented square cut
out; and all that at several times the resolution, which a filter then reduces. The two networks of the paper were never
published: whoever has others names their files, and what was used stands in the ledger of every image.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.geometry import RESOLUTION, STYLES, OrientedSquare, StyleName, oriented_square, prepare
from toolkit.sources import Rendered

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
    """What is done to every photograph.

    Attributes
    ----------
    resolution : int
        Side of the portrait, a power of two. Below 1024 it is the portrait of 1024, reduced by the box filter.
    direct : bool
        Make the portrait at `resolution` itself instead, which is sooner done.
    geometry : str
        Which square is cut out, see `toolkit.celebahq.geometry.STYLES`.
    supersampling : int
        The square is sampled at so many times the resolution; 1: only once.
    superres : bool
        Enlarge a photograph whose face is smaller than the portrait, before it is cut.
    padding : bool
        Continue the photograph beyond its border; otherwise there is black.
    artifact_model, superres_model : Path or None
        Network files for `toolkit.celebahq.restoration.load`; None: photographs are left as they are, and enlarged by
        the Lanczos filter.

    Raises
    ------
    InputError
        If a network file cannot be opened, or there is one for a stage that is turned off; or if numba is not
        installed.
    """

    resolution: int = RESOLUTION
    direct: bool = False
    geometry: StyleName = "celebahq"
    supersampling: int = 4
    superres: bool = True
    padding: bool = True
    artifact_model: Path | None = None
    superres_model: Path | None = None

    def __post_init__(self) -> None:
        if find_spec("numba") is None:  # otherwise that would be said only when all faces have been found
            raise InputError("portraits need the package numba; install it with pip install 'growgan[celebahq]'")
        if self.superres_model is not None and not self.superres:
            raise InputError(
                f"--superres-model {self.superres_model} has nothing to do without super-resolution; "
                "leave it or --no-superres out"
            )
        if self.artifact_model is not None:
            scale = _restorer(self.artifact_model).scale
            if scale != 1:
                raise InputError(
                    f"--artifact-model {self.artifact_model} enlarges {scale} times; give a network that leaves the "
                    "size as it is, or pass this one as --superres-model"
                )
        if self.superres_model is not None and _restorer(self.superres_model).scale < 2:
            raise InputError(
                f"--superres-model {self.superres_model} does not enlarge; give a network that does, "
                "or pass this one as --artifact-model"
            )

    def square(self, landmarks: NDArray[np.float64], size: tuple[int, int], where: str) -> OrientedSquare:
        """Square around a face in a photograph of `size` (width, height).

        Raises
        ------
        InputError
            If there is none, or it lies outside of the photograph.
        """
        square = oriented_square(landmarks, where, self.geometry)
        prepare(square, *size, where, self.resolution if self.direct else max(self.resolution, RESOLUTION))
        return square

    def render(self, photo: Pixels, square: OrientedSquare, where: str) -> Rendered:
        """Portrait from a photograph, uint8 of shape (H, W, 3)."""
        from toolkit.celebahq import recipe, restoration  # only now: they load compiled code

        clean = None if self.artifact_model is None else _restorer(self.artifact_model)
        enlarge = None if self.superres_model is None else restoration.enlarge_with(_restorer(self.superres_model))
        return recipe.render(
            photo,
            square,
            where,
            resolution=self.resolution,
            direct=self.direct,
            supersampling=self.supersampling,
            superres=self.superres,
            pad=self.padding,
            clean=clean,
            enlarge=enlarge,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the pixels, in JSON's types, without any folder of this machine."""
        plain = {
            "geometry": self.geometry,
            "direct": self.direct,
            "supersampling": self.supersampling,
            "superres": self.superres,
            "padding": self.padding,
        }
        models = {"artifact_model": self.artifact_model, "superres_model": self.superres_model}
        return {**plain, **{name: None if path is None else _described(path) for name, path in models.items()}}


def default_superres(geometry: StyleName) -> bool:
    """Whether the enlargement is part of a style: CelebA-HQ has it, FFHQ has not."""
    return STYLES[geometry].superres


def _described(path: Path) -> dict[str, str]:
    restorer = _restorer(path)
    return {"name": restorer.name, "kind": restorer.kind, "sha256": restorer.digest}


_opening = threading.Lock()


def _restorer(path: Path) -> Any:
    with _opening:  # so that threads that want the same one at once wait for the first
        return _opened(path)


@functools.lru_cache(maxsize=4)
def _opened(path: Path) -> Any:
    from toolkit.celebahq import restoration

    return restoration.load(path)
