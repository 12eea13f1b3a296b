"""The networks of one measurement: each is built once, with the options that the user gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from datasets.errors import InputError
from metrics import features
from metrics.extraction import Extraction
from metrics.scores import Progress, no_progress


@dataclasses.dataclass
class Networks:
    """Opens networks by name, the same one every time.

    Attributes
    ----------
    weights : mapping of str to Path
        Files of weights by network; the published ones, in the cache or downloaded, for the others.
    resize : str or None
        How images reach the network's size, see `metrics.resize`; the network's own way if None.
    dtype, device : str
        See `metrics.features.Extractor`.
    trust_torchscript : bool
        Run a TorchScript program that is not a published one.
    cache_folder : Path or None
        Where features are kept, see `metrics.cache`; nowhere if None.
    progress : Progress
        Shows downloads.
    """

    weights: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    resize: str | None = None
    dtype: str = "float32"
    device: str = "cpu"
    trust_torchscript: bool = False
    cache_folder: Path | None = None
    progress: Progress = no_progress

    def __post_init__(self) -> None:
        self._opened: dict[str, Extraction] = {}
        self._failed: dict[str, InputError] = {}  # so that several metrics do not try to download the same in vain

    def __call__(self, name: str) -> Extraction:
        """Network of the given name.

        Raises
        ------
        InputError
            If there is none, or its weights cannot be had.
        """
        if name in self._failed:
            raise self._failed[name]
        if name not in self._opened:
            try:
                extractor = features.load(name)(
                    self.weights.get(name),
                    resize=self.resize,
                    dtype=self.dtype,
                    device=self.device,
                    trust_torchscript=self.trust_torchscript,
                    progress=self.progress,
                )
            except InputError as error:
                self._failed[name] = error
                raise
            self._opened[name] = Extraction(extractor, self.cache_folder)
        return self._opened[name]

    @property
    def notes(self) -> tuple[str, ...]:
        """Where features came from and where they are kept, for the user."""
        found = []
        for name, extraction in self._opened.items():
            if self.cache_folder is not None and (extraction.num_known or extraction.num_computed):
                found.append(
                    f"features of {name}: {extraction.num_computed} computed, {extraction.num_known} taken from the "
                    f"cache {self.cache_folder}"
                )
        return tuple(found)

    def close(self) -> None:
        """Close the files of the cache."""
        for extraction in self._opened.values():
            extraction.close()
