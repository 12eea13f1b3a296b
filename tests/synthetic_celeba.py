"""A small CelebA with encrypted deltas: photographs in the wild, landmarks, list and zips, all in the released layout.

Nothing here is the toolkit's own: the photographs are drawn, the recipe is restated with today's Pillow and SciPy, and
the deltas are made with hashlib, bz2 and cryptography.fernet alone.
"""

from __future__ import annotations

import base64
import bz2
import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cryptography.fernet import Fernet
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

HEADER = "idx orig_idx orig_file proc_md5 final_md5"
COLUMNS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
QUOTA_PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body></body></html>"
SIDE = 128

Pixels = NDArray[np.uint8]

# Number of the photograph in its name: the first and last of every part of CelebA (orig_idx is one less).
NUMBERS = (1, 162770, 162771, 182637, 182638, 202599)
SPLITS = ("train", "train", "val", "val", "test", "test")
_KINDS: tuple[dict[str, object], ...] = (
    {"size": (240, 300), "subsampling": 2, "quality": 80},
    {"size": (331, 257), "subsampling": 0, "quality": 92},
    {"size": (203, 199), "subsampling": 1, "quality": 75, "progressive": True},
    {"size": (260, 260), "quality": 85, "grey": True},
    {"size": (250, 320), "subsampling": 2, "quality": 88, "orientation": 6},
    {"size": (97, 121), "subsampling": 2, "quality": 70},
)


@dataclasses.dataclass(frozen=True)
class Celeba:
    """Where everything lies, and what ought to come out.

    ``finals`` are the released images by the number in the list, uint8 (3, side, side); ``procs`` what they were made
    from.
    """

    folder: Path
    deltas: Path
    names: tuple[str, ...]
    procs: tuple[Pixels, ...]
    finals: tuple[Pixels, ...]
    side: int

    def photo(self, index: int) -> Path:
        return self.folder / "Img" / "img_celeba" / self.names[index]

    @property
    def landmarks(self) -> Path:
        return self.folder / "Anno" / "list_landmarks_celeba.txt"

    @property
    def list(self) -> Path:
        return self.deltas / "image_list.txt"

    @property
    def zip(self) -> Path:
        return self.deltas / "deltas00000.zip"

    def change_zip(self, change: Callable[[dict[str, bytes]], object]) -> None:
        """Pack the zip again, with its members changed."""
        with zipfile.ZipFile(self.zip) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        pack(self.zip, members)

    def change_list(self, index: int, column: int, text: str) -> None:
        """Write something else into one cell of the list."""
        lines = self.list.read_text().splitlines()
        cells = lines[index + 1].split()
        cells[column] = text
        lines[index + 1] = " ".join(cells)
        self.list.write_text("\n".join(lines) + "\n")


def make(
    folder: Path,
    *,
    count: int = len(NUMBERS),
    side: int = SIDE,
    render: Callable[[bytes, NDArray[np.float32]], Pixels] | None = None,
) -> Celeba:
    """Make the set; the bases are those of `render`, (3, side, side) from JPEG and landmarks, by default `recipe`."""
    photos, annotations, deltas = folder / "Img" / "img_celeba", folder / "Anno", folder / "deltas"
    for place in (photos, annotations, deltas):
        place.mkdir(parents=True)
    names, procs, finals, lines, members = [], [], [], [], {}
    points = []
    for index in range(count):
        number, kind = NUMBERS[index % len(NUMBERS)] + index // len(NUMBERS), _KINDS[index % len(_KINDS)]
        name = f"{number:06d}.jpg"
        jpeg, landmarks = photograph(index, **kind)
        (photos / name).write_bytes(jpeg)
        proc = recipe(jpeg, landmarks, side) if render is None else render(jpeg, landmarks)
        final = enhanced(proc, index)
        members[f"delta{index:05d}.dat"] = lock(final - proc, jpeg, name)
        md5s = [hashlib.md5(np.ascontiguousarray(image).tobytes()).hexdigest() for image in (proc, final)]
        lines.append(f"{index:<6d} {number - 1:<8d} {name} {md5s[0]} {md5s[1]}")
        points.append((name, landmarks))
        names.append(name)
        procs.append(proc)
        finals.append(final)
    rows = [f"{name}  " + "  ".join(f"{value:.0f}" for value in marks.ravel()) for name, marks in sorted(points)]
    text = "\n".join([str(count), COLUMNS, *rows]) + "\n"
    (annotations / "list_landmarks_celeba.txt").write_text(text)
    (deltas / "image_list.txt").write_text("\n".join([HEADER, *lines]) + "\n")
    pack(deltas / "deltas00000.zip", members)
    return Celeba(folder, deltas, tuple(names), tuple(procs), tuple(finals), side)


def pack(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def lock(delta: Pixels, jpeg: bytes, name: str) -> bytes:
    """Encrypt as the authors did."""
    key = hashlib.pbkdf2_hmac("sha256", jpeg, name.encode("ascii"), 100_000, 32)
    return Fernet(base64.urlsafe_b64encode(key)).encrypt(bz2.compress(delta.tobytes()))


def photograph(
    seed: int,
    *,
    size: tuple[int, int] = (240, 300),
    quality: int = 85,
    subsampling: int = 2,
    progressive: bool = False,
    grey: bool = False,
    orientation: int | None = None,
) -> tuple[bytes, NDArray[np.float32]]:
    """JPEG file of a drawn head, turned a little, and its five landmarks in whole pixels, (5, 2)."""
    rng = np.random.default_rng(seed)
    width, height = size
    field = rng.normal(0, 1, (height, width, 3))
    ground = sum(ndimage.gaussian_filter(field, (sigma, sigma, 0)) * sigma * 22 for sigma in (1, 4, 16))
    image = Image.fromarray((np.clip(ground + rng.uniform(60, 190, 3), 0, 255)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    centre = np.array([width * rng.uniform(0.42, 0.58), height * rng.uniform(0.45, 0.55)])
    reach = min(size) * rng.uniform(0.14, 0.17)
    angle = rng.uniform(-0.35, 0.35)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    spots = np.array([(-1, -0.9), (1, -0.9), (0.1, 0.1), (-0.8, 1.2), (0.8, 1.1)]) * reach
    points = np.rint(spots @ turn + centre).astype(np.float32)

    def blob(middle: NDArray[np.float64], radius: float, fill: tuple[int, ...], flat: float = 1.0) -> None:
        x, y = (float(value) for value in middle)
        draw.ellipse((x - radius, y - radius * flat, x + radius, y + radius * flat), fill=fill)

    blob(centre + np.array([0, -reach * 0.6]), reach * 2.6, tuple(rng.integers(5, 70, 3)))  # hair
    blob(centre, reach * 2.1, (214 + seed % 20, 170, 140), 1.2)
    for eye in points[:2]:
        blob(eye, reach * 0.5, (250, 250, 252), 0.6)
        blob(eye, reach * 0.24, (30, 60 + 20 * (seed % 5), 50))
        blob(eye + np.array([2, -2]), 1.5, (255, 255, 255))
    blob(points[2], reach * 0.3, (190, 120, 110), 1.4)
    draw.line([tuple(point) for point in points[3:].tolist()], fill=(150, 30, 50), width=max(3, round(reach / 4)))
    hair = rng.uniform(-2.4, 2.4, (60, 2)) * reach + centre - (0, reach * 2)
    for x, y in hair.tolist():
        draw.line((x, y, x + reach * 0.3, y + reach), fill=tuple(rng.integers(0, 120, 3)), width=1)
    image = image.filter(ImageFilter.GaussianBlur(0.6))
    if grey:
        image = image.convert("L")
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    sampling = {} if grey else {"subsampling": subsampling}
    image.save(buffer, "JPEG", quality=quality, progressive=progressive, exif=exif, **sampling)
    return buffer.getvalue(), points


def enhanced(proc: Pixels, seed: int) -> Pixels:
    """What a network might have made of a portrait: sharper, more contrast, with black and white parts, and grain."""
    rng = np.random.default_rng(1000 + seed)
    values = proc.astype(np.float64)
    detail = values - ndimage.gaussian_filter(values, (0, 1.5, 1.5))
    grain = rng.normal(0, 1.5, proc.shape)
    return np.clip(np.rint((values - 128) * 1.25 + 128 + 1.2 * detail + grain), 0, 255).astype(np.uint8)


def recipe(jpeg: bytes, landmarks: NDArray[np.float32], side: int) -> Pixels:
    """The released recipe, restated step by step (progan.md, 5.2), with the libraries of today; uint8 (3, side, side).

    The image is taken as it is stored: the recipe knew nothing of EXIF.
    """
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    marks = np.asarray(landmarks, np.float32)
    eye = (marks[0] + marks[1]) / 2 + 0.5
    mouth = (marks[3] + marks[4]) / 2 + 0.5
    between, down = marks[1] - marks[0], mouth - eye
    x = between - np.array([-down[1], down[0]])
    x *= max(np.hypot(*between) * 2.0, np.hypot(*down) * 1.8) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    middle = eye + down * 0.1
    quad = np.stack([middle - x - y, middle - x + y, middle + x + y, middle + x - y])
    zoom = side / (np.hypot(*x) * 2)
    shrink = int(np.floor(0.5 / zoom))
    if shrink > 1:
        image = image.resize((round(image.size[0] / shrink), round(image.size[1] / shrink)), Image.Resampling.LANCZOS)
        quad, zoom = quad / shrink, zoom * shrink
    border = max(round(side * 0.1 / zoom), 3)
    low, high = np.floor(quad.min(axis=0)), np.ceil(quad.max(axis=0))
    box = [max(int(value) - border, 0) for value in low]
    box += [min(int(value) + border, most) for value, most in zip(high, image.size, strict=True)]
    image = image.crop(box)
    quad = quad - box[:2]
    factor = 2 ** int(np.ceil(np.log2(zoom)))
    if factor > 1:
        image = image.resize((image.size[0] * factor, image.size[1] * factor), Image.Resampling.LANCZOS)
        quad, zoom = quad * factor, zoom / factor
    low, high = np.floor(quad.min(axis=0)), np.ceil(quad.max(axis=0))
    pads = [max(int(-value) + border, 0) for value in low]
    pads += [max(int(value) - size + border, 0) for value, size in zip(high, image.size, strict=True)]
    if max(pads) > border - 4:
        pads = [max(pad, round(side * 0.3 / zoom)) for pad in pads]
        image = _padded(np.asarray(image), pads, side * 0.02 / zoom)
        quad = quad + pads[:2]
    corners = tuple((quad + 0.5).ravel())
    large = image.transform((4 * side, 4 * side), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    result = np.asarray(large.resize((side, side), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(result.transpose(2, 0, 1))


def _padded(pixels: Pixels, pads: list[int], sigma: float) -> Image.Image:
    left, top, right, bottom = pads
    image = np.pad(pixels.astype(np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = image.shape[:2]
    row, column = np.ogrid[:height, :width]
    sides = [column / left, row / top, (width - 1 - column) / right, (height - 1 - row) / bottom]
    mask = 1 - np.minimum.reduce(np.broadcast_arrays(*sides))[..., None]
    image += (ndimage.gaussian_filter(image, (sigma, sigma, 0)) - image) * np.clip(mask * 3 + 1, 0, 1)
    image += (np.median(image, axis=(0, 1)) - image) * np.clip(mask, 0, 1)
    return Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
