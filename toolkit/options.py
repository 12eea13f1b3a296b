"""The options of a build."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from datasets.decode import MAX_PIXELS, WHITE
from toolkit.selection import Criteria
from toolkit.transforms import CENTRE, Crop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What decides the pixels of a data set and their order, and how far a build puts up with bad images.

    Attributes
    ----------
    kind : str or None
        Name of the source module that opens the source; None: it is recognised.
    labels : bool
        Keep the labels of the source, if it has any.
    resolution : int or None
        Side of the finest level; None: the side of the crops, if all are of one side that a pyramid can have.
    crop : Crop or None
        Which squares of an image become rows; None: what the source asks for, or else the one in the middle.
    resample : str
        Filter that resizes them, one of `toolkit.transforms.FILTERS`.
    allow_upscale : bool
        Enlarge crops that are smaller than the resolution; otherwise they are bad.
    background : tuple of int
        sRGB colour in [0, 255] behind transparent images.
    shuffle : int or None
        Seed of the order of the rows, see `toolkit.plan.rows_of_crops`; None: as `order` says.
    order : str
        ``source``, or ``score``: the rows of the image with the highest score come first.
    max_images : int or None
        Use only the first so many images of the source that are not left out.
    max_pixels : int
        An image of more pixels is bad.
    criteria : Criteria
        Images that do not meet these are left out.
    skip_bad : bool
        Leave bad images out and say so in the ledger; otherwise the first one ends the build.
    max_skipped : int or None
        More bad images than this end the build all the same.
    """

    kind: str | None = None
    labels: bool = True
    resolution: int | None = None
    crop: Crop | None = None
    resample: str = "lanczos"
    allow_upscale: bool = False
    background: tuple[int, int, int] = WHITE
    shuffle: int | None = None
    order: Literal["source", "score"] = "source"
    max_images: int | None = None
    max_pixels: int = MAX_PIXELS
    criteria: Criteria = dataclasses.field(default_factory=Criteria)
    skip_bad: bool = False
    max_skipped: int | None = None

    @property
    def squares(self) -> Crop:
        """The crop, by default the square in the middle."""
        return self.crop or CENTRE

    @property
    def measures(self) -> bool:
        """The choice among images depends on their pixels."""
        return self.criteria.min_sharpness is not None or self.criteria.near_duplicates is not None

    @property
    def scores(self) -> bool:
        """Every image gets a score, which its ledger line tells."""
        return self.criteria.best is not None or self.order == "score"

    def ranks(self, num_images: int) -> bool:
        """Whether, in a source of so many images, all scores must be known before the first row is made."""
        return self.order == "score" or (self.criteria.best is not None and self.criteria.best < num_images)

    def decodes_all(self, num_images: int) -> bool:
        """Whether the plan has to decode every one of so many images: only then it is known which become rows."""
        return self.skip_bad or self.measures or self.ranks(num_images)

    def for_manifest(self) -> dict[str, Any]:
        """Everything that decides pixels and order, by the names of the command's options."""
        crop = self.squares
        criteria = dataclasses.asdict(self.criteria)
        best = criteria.pop("best")
        return {
            "as": self.kind,
            "labels": self.labels,
            "crop": crop.name,
            "box": [crop.left, crop.top, crop.side] if crop.name == "box" else None,
            "tile": crop.tile or None,
            "stride": crop.stride or None,
            "filter": self.resample,
            "allow_upscale": self.allow_upscale,
            "background": "#{:02x}{:02x}{:02x}".format(*self.background),
            "shuffle": self.shuffle,
            "max_images": self.max_images,
            **criteria,
            **({"best": best, "order": self.order} if self.scores else {}),
        }
