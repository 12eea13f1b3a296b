"""Versions of everything that decides the pixels of a data set."""

from __future__ import annotations

import functools
import importlib.metadata

from PIL import features

from growgan import __version__

_PACKAGES = ("numpy", "pillow", "simplejpeg")
_INSIDE_PILLOW = ("libjpeg_turbo", "webp", "libtiff", "littlecms2")


@functools.cache
def deciding_versions() -> dict[str, str]:
    """Name -> version of growgan and of the libraries that decode and convert images."""
    found = {"growgan": __version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}}
    for name in _INSIDE_PILLOW:
        if version := features.version(name):
            found[name] = version
    return found
