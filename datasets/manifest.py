"""What a data set says of itself: schema, counts, digests, and where it came from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray

from datasets.errors import InputError
from datasets.levels import level_of, levels_up_to, name_of

SCHEMA = "growgan.pyramid"
VERSION = 2  # version 1 had no labels; it is still read
ROW_DIGEST_BYTES = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description stored inside a finished pyramid; an unfinished one has none.

    Attributes
    ----------
    num_images : int
        Number of rows of every level.
    resolution : int
        Side of the finest level; every level from 4x4 up to it is there.
    level_digests : mapping of str to str
        Level name (``data32x32``) -> SHA-256 over the row digests of that level, in row order.
    sources_digest : str
        SHA-256 over the names of the rows' sources, see `names_digest`.
    labels_digest : str or None
        SHA-256 over the labels of the rows, see `labels_digest`; None if there are no labels.
    label_names : list of str or None
        Name of every class, in the order of the labels; None if there are no labels, or the classes have no names.
    num_classes : int or None
        Labels are numbers from 0 to ``num_classes - 1``.
    options : mapping
        The options of the build that determine the pixels and their order.
    provenance : mapping
        Source, tool and library versions. Holds no time, so that equal builds give equal bytes.
    """

    num_images: int
    resolution: int
    level_digests: Mapping[str, str]
    sources_digest: str
    labels_digest: str | None = None
    label_names: list[str] | None = None
    num_classes: int | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    channels: int = 3
    dtype: str = "uint8"
    schema: str = SCHEMA
    version: int = VERSION

    @property
    def top_level(self) -> int:
        """Level of the finest resolution."""
        return level_of(self.resolution)

    @property
    def content_digest(self) -> str:
        """SHA-256 over the level digests: equal pixels in equal order give equal digests, whatever the file format."""
        text = "\n".join(f"{name} {digest}" for name, digest in sorted(self.level_digests.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def digest(self) -> str:
        """Digest of the manifest itself, the one that stands in its written form."""
        return digest_of(dataclasses.asdict(self))

    def to_json(self) -> str:
        """Written form, with a digest of itself; `from_json` is its inverse."""
        fields = dataclasses.asdict(self)
        return json.dumps({**fields, "digest": digest_of(fields)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Manifest:
        """Parse and check a manifest.

        Parameters
        ----------
        text : str or bytes
            What `to_json` wrote.
        where : str
            File it was read from, for error messages.

        Raises
        ------
        InputError
            If the text is damaged or not a manifest of a version this program reads.
        """
        try:
            fields = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{where}: the manifest is not JSON ({error}); it is damaged, build it again") from None
        if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
            raise InputError(f"{where}: the manifest is not of the schema {SCHEMA}; build it with toolkit make-pyramid")
        if fields.get("version") not in range(1, VERSION + 1):
            found = fields.get("version")
            raise InputError(
                f"{where}: the manifest is of version {found}, this program reads 1 to {VERSION}; "
                "update growgan or build it again"
            )
        if fields.pop("digest", None) != digest_of(fields):
            raise InputError(f"{where}: the manifest does not match its own digest; it is damaged, build it again")
        try:
            manifest = cls(**fields)
        except TypeError as error:
            raise InputError(f"{where}: the manifest has missing or unknown fields ({error}); build it again") from None
        expected = {name_of(level) for level in levels_up_to(manifest.top_level)}
        if set(manifest.level_digests) != expected:
            listed = sorted(manifest.level_digests)
            raise InputError(f"{where}: the manifest lists the levels {listed}, not {sorted(expected)}; build it again")
        return manifest


def row_digest(pixels: NDArray[np.uint8]) -> bytes:
    """XXH3-128 of one image of one level, 16 bytes. Finds corruption; it is no defence against forgery."""
    return xxhash.xxh3_128_digest(np.ascontiguousarray(pixels).data)


def level_digest(row_digests: NDArray[np.uint8]) -> str:
    """SHA-256 over the row digests of a level, shape (N, 16), in row order."""
    return hashlib.sha256(np.ascontiguousarray(row_digests).data).hexdigest()


def names_digest(names: Sequence[str]) -> str:
    """SHA-256 over the names of the rows' sources, in row order, written as one JSON array in ASCII."""
    return hashlib.sha256(json.dumps(list(names)).encode("ascii")).hexdigest()


def labels_digest(labels: ArrayLike) -> str:
    """SHA-256 over the labels of the rows, in row order, as little-endian 64-bit integers."""
    return hashlib.sha256(np.ascontiguousarray(labels, "<i8").data).hexdigest()


def checked_labels(stored: NDArray[Any], manifest: Manifest, path: Path) -> NDArray[np.int64]:
    """Labels as read from a file, after comparing them with their digest."""
    right = stored.dtype == np.int64 and stored.shape == (manifest.num_images,)
    if not right or labels_digest(stored) != manifest.labels_digest:
        raise InputError(f"{path}: the labels do not match their digest; they are damaged, build it again")
    return stored


def one_hot(labels: ArrayLike, num_classes: int) -> NDArray[np.float32]:
    """Labels as vectors with one 1.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        From 0 to ``num_classes - 1``.
    num_classes : int

    Returns
    -------
    ndarray of float32, shape (N, num_classes)

    Raises
    ------
    InputError
        If a label is not one of the classes.
    """
    numbers = np.asarray(labels, np.int64).reshape(-1)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < num_classes:
        wrong = numbers[(numbers < 0) | (numbers >= num_classes)][0]
        raise InputError(f"label {wrong} is not in 0..{num_classes - 1}; give the number of classes of the data set")
    vectors = np.zeros((len(numbers), num_classes), np.float32)
    vectors[np.arange(len(numbers)), numbers] = 1
    return vectors


def digest_of(fields: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object: of its text with sorted keys, as ``json.dumps`` writes it by default."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode("ascii")).hexdigest()
