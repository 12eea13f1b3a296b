"""Face detectors: one module per detector, found by listing this folder, chosen by name.

A detector module has

``find_model(path) -> Path``
    File of the network: `path` if it is not None, or else that of an installed package. An InputError says what to
    install. Nothing of the package is imported.
``load(model) -> callable``
    ``detect(pixels)`` gives the faces of a photograph, uint8 (H, W, 3) upright sRGB, as `Face`. It is used by one
    thread only; every thread loads its own.
``versions() -> dict``
    Name and version of what runs the network; asked after `load`.
``MODEL_SHA256``
    Of the file that the module was made for and tested with. A file of one's own may differ; the ledger names it.

The first line of a module's docstring is what help texts say of it. Nothing heavy is imported before `load`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import pkgutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.faces.finder import Face, Pixels, left_to_right

Detect = Callable[[NDArray[np.uint8]], list[Face]]


def names() -> list[str]:
    """Names of all detectors, which are the file names of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """Module of the detector called `name`."""
    return importlib.import_module(f"{__name__}.{name}")


def describe(name: str) -> str:
    """One line about the detector called `name`."""
    return (load(name).__doc__ or "").strip().splitlines()[0]


class Detector:
    """Finder that looks at photographs. See `toolkit.celebahq.faces.finder.FaceFinder`.

    Parameters
    ----------
    name : str
        One of `names()`.
    model : Path, optional
        File of the network, instead of that of an installed package.

    Raises
    ------
    InputError
        If the model or what runs it is not installed, or the file is none.
    """

    detects = True

    def __init__(self, name: str, model: Path | None = None) -> None:
        self.name, self._given = name, model
        self._module = load(name)
        self.model: Path = self._module.find_model(model)
        self.sha256 = _sha256(self.model)
        if model is None and self.sha256 != self._module.MODEL_SHA256:
            raise InputError(
                f"{self.model} is not the network that {name} was made for (SHA-256 {self.sha256[:12]}..., not "
                f"{self._module.MODEL_SHA256[:12]}...); install growgan[faces] again, or name a file: {name}:FILE"
            )
        self._thread = threading.local()
        self._detect()

    @property
    def stamp(self) -> str:
        """Digest of the network, and versions of what runs it."""
        return ";".join(f"{key}={value}" for key, value in self.details.items())

    @functools.cached_property
    def details(self) -> dict[str, str]:
        """Detector, file and SHA-256 of the network, versions."""
        return {"finder": self.name, "model": self.model.name, "sha256": self.sha256, **self._module.versions()}

    def check(self, names: Sequence[str]) -> None:
        """Nothing: every photograph can be looked at."""

    def find(self, name: str, pixels: Pixels) -> list[Face]:  # noqa: ARG002  landmark files need the name
        """See `toolkit.celebahq.faces.finder.FaceFinder.find`."""
        return left_to_right(self._detect()(np.ascontiguousarray(pixels())))

    def _detect(self) -> Detect:
        """Detector of the thread that asks."""
        detect: Detect | None = getattr(self._thread, "detect", None)
        if detect is None:
            detect = self._thread.detect = self._module.load(self.model)
        return detect

    def __reduce__(self) -> tuple[Callable[..., Detector], tuple[str, Path | None]]:
        return open_detector, (self.name, None if self._given is None else self._given.absolute())


_opening = threading.Lock()


def open_detector(name: str, model: Path | None = None) -> Detector:
    """Open a detector, once in a process."""
    with _opening:
        return _opened(name, model)


@functools.lru_cache(maxsize=4)
def _opened(name: str, model: Path | None) -> Detector:
    return Detector(name, model)


def packaged(package: str, file: str, detector: str) -> Path:
    """File inside an installed package, found without importing anything of it.

    Raises
    ------
    InputError
        If the package or the file is missing.
    """
    spec = importlib.util.find_spec(package)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        if (path := Path(folder, file)).is_file():
            return path
    raise InputError(
        f"the detector {detector} needs {Path(file).name} of the package {package}, which is not installed; run: "
        f"pip install 'growgan[faces]', or name a file of your own: {detector}:FILE"
    )


def own_file(path: Path, detector: str) -> Path:
    """File that the user names; an InputError if there is none."""
    if not path.is_file():
        raise InputError(f"{path} is no file; name the network of the detector {detector}, or just write {detector}")
    return path


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); make it readable") from None
