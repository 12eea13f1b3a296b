"""What the commands that make portraits share: options, and the portraits that these options ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from datasets.errors import InputError
from toolkit.celebahq.geometry import RESOLUTION, STYLES, StyleName
from toolkit.celebahq.stages import Stages, default_superres
from toolkit.command_line import PATH, check_resolution
from toolkit.options import Options
from toolkit.selection import Criteria
from toolkit.sources import Source
from toolkit.transforms import Crop

LANDMARKS = "list_landmarks_celeba.txt"  # of the photographs in the wild
_PHOTOS = "img_celeba"  # the folder of them

Command = Callable[..., None]


class Best(click.ParamType[int]):
    """How many of the best: a number, or ``all``."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Number of images; 0: all."""
        if value == "all":
            return 0
        if not (str(value).isdecimal() and str(value).isascii() and int(value) > 0):
            self.fail(f"{value!r} is no number of images; give one from 1 up, or all", param, ctx)
        return int(value)


def _together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


face_options = _together(
    click.option(
        "--landmarks",
        metavar="FILE|DETECTOR",
        help="Where the faces are: a landmark file (CelebA's 5 points, JSON of 68 points, FFHQ's JSON, CSV), or a "
        "detector, such as yunet or dlib68. Default: list_landmarks_celeba.txt beside the photographs.",
    ),
    click.option(
        "--geometry",
        type=click.Choice(list(STYLES)),
        default="celebahq",
        show_default=True,
        help="Which square is cut around a face. ffhq does not enlarge small faces first.",
    ),
    click.option(
        "--faces",
        type=click.Choice(["largest", "all", "one"]),
        default="largest",
        show_default=True,
        help="Of several faces in a photograph use the largest, or all; one: leave such photographs out.",
    ),
    click.option(
        "--min-face",
        type=click.FloatRange(0),
        default=0,
        metavar="PIXELS",
        help="Leave out faces whose square has fewer pixels a side in the photograph.",
    ),
    click.option(
        "--border",
        type=click.Choice(["keep", "skip"]),
        default="keep",
        show_default=True,
        help="skip: leave out faces whose square reaches beyond the photograph.",
    ),
)

stage_options = _together(
    click.option(
        "--resolution",
        type=int,
        default=RESOLUTION,
        show_default=True,
        callback=check_resolution,
        metavar="N",
        help="Side of the portraits: a power of two from 4 to 2048.",
    ),
    click.option(
        "--direct",
        is_flag=True,
        help="Make portraits of less than 1024 pixels at their size, not by reducing those of 1024: quicker.",
    ),
    click.option(
        "--artifact-model",
        type=PATH,
        metavar="FILE",
        help="Network that removes the traces of JPEG: a file that spandrel opens, ONNX, or waifu2x JSON.",
    ),
    click.option(
        "--superres-model",
        type=PATH,
        metavar="FILE",
        help="Network that enlarges photographs of small faces. Without one the Lanczos filter does.",
    ),
    click.option("--no-superres", is_flag=True, help="Do not enlarge photographs of small faces before the cut."),
    click.option(
        "--no-padding", is_flag=True, help="Leave black what lies beyond the photograph, instead of mirroring."
    ),
    click.option(
        "--supersampling",
        type=click.IntRange(1, 8),
        default=4,
        show_default=True,
        metavar="N",
        help="Cut at N times the resolution, then reduce; 1: cut once.",
    ),
)

choice_options = _together(
    click.option(
        "--subset",
        metavar="N|A-B,C",
        help="Use only the first N images, or those of these numbers, counted from 0.",
    ),
    click.option(
        "--skip-bad", is_flag=True, help="Leave bad images out, and say so; otherwise the first one ends the work."
    ),
    click.option(
        "--max-skipped", type=click.IntRange(0), metavar="N", help="Skip at most N bad images; implies --skip-bad."
    ),
)

order_option = click.option(
    "--order",
    type=click.Choice(["source", "score"]),
    default="source",
    show_default=True,
    help="Order of the rows; score: the best first.",
)
split_option = click.option(
    "--split", type=click.Choice(["train", "val", "test"]), help="Use only this part of CelebA, by its own division."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the options about portraits say."""

    landmarks: str | None
    geometry: StyleName
    faces: str
    min_face: float
    border: str
    resolution: int
    direct: bool
    artifact_model: Path | None
    superres_model: Path | None
    no_superres: bool
    no_padding: bool
    supersampling: int

    def stages(self) -> Stages:
        """What is done to a photograph. An InputError if a network cannot be opened."""
        wanted = default_superres(self.geometry) or self.superres_model is not None
        return Stages(
            resolution=self.resolution,
            direct=self.direct,
            geometry=self.geometry,
            supersampling=self.supersampling,
            superres=not self.no_superres and wanted,
            padding=not self.no_padding,
            artifact_model=self.artifact_model,
            superres_model=self.superres_model,
        )

    def portraits(self, photos: Source, around: Path) -> Source:
        """Portraits from photographs; the landmarks of CelebA may lie in the folder `around`, or above it."""
        from toolkit.celebahq.faces import open_finder  # only now: commands that only print their help need none of it
        from toolkit.celebahq.faces.policy import FacePolicy
        from toolkit.celebahq.portraits import Portraits

        policy = FacePolicy(which=self.faces, min_face=self.min_face, border=self.border)  # type: ignore[arg-type]
        return Portraits(photos, open_finder(self._landmarks(around)), policy, self.stages())

    def _landmarks(self, around: Path) -> str | Path:
        if self.landmarks is not None:
            return self.landmarks
        inside = around.absolute() if around.is_dir() else around.absolute().parent
        for folder in (inside, inside.parent, inside.parent.parent):
            for candidate in (folder / "Anno" / LANDMARKS, folder / LANDMARKS):
                if candidate.is_file():
                    return candidate
        raise InputError(
            f"there is no {LANDMARKS} in {around} or around it; say where the faces are with --landmarks FILE, or have "
            "them found with --landmarks yunet"
        )


def photos_in(place: Path) -> Source:
    """The photographs of CelebA in a folder that holds other things, too, or whatever source of images `place` is."""
    from toolkit.sources import open_source

    inside = [folder for pattern in (_PHOTOS, f"*/{_PHOTOS}") for folder in sorted(place.glob(pattern))]
    return open_source(inside[0] if inside else place, labels=False)


def options_of(
    resolution: int,
    best: int,
    order: Any,
    *,
    skip_bad: bool,
    max_skipped: int | None,
    shuffle: int | None = None,
) -> Options:
    """Options of the build: portraits are square and have their size already. `best` is 0 if all are to stay."""
    if order == "score" and shuffle is not None:
        raise click.UsageError("--order score and --shuffle exclude each other")
    return Options(
        labels=False,
        resolution=resolution,
        crop=Crop("none"),
        resample="area",  # of images that are larger than wanted: as the levels of a pyramid are made
        criteria=Criteria(best=best or None),
        order=order,
        shuffle=shuffle,
        skip_bad=skip_bad or max_skipped is not None,
        max_skipped=max_skipped,
    )
