"""Pixels of any kind that Pillow knows to 8-bit sRGB: depth, grey, palette, CMYK, profiles, transparency."""

from __future__ import annotations

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_PHOTOMETRIC, _BITS_PER_SAMPLE = 262, 258  # TIFF tags


def is_srgb(profile: bytes) -> bool:
    """True if a profile is sound and leaves RGB pixels as they are: sRGB, perhaps under another name."""
    try:
        return _transform_to_srgb(profile, "RGB") is None
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False


def to_srgb(
    image: Image.Image, background: tuple[int, int, int], low: Image.Image | None = None
) -> tuple[NDArray[np.uint8], list[str]]:
    """Convert a loaded picture.

    Parameters
    ----------
    image : Image
        Any mode but ``I``, ``F`` and ``LAB``.
    background : tuple of int
        sRGB colour in [0, 255] behind transparent pixels.
    low : Image or None
        The low bytes of a picture of 16-bit RGB or RGBA, of which `image` has the high bytes.

    Returns
    -------
    pixels : ndarray of uint8, shape (H, W, 3)
        sRGB in [0, 255].
    notes : list of str
        What was done, by the names that `datasets.decode` lists.
    """
    colour, alpha = _split(image) if low is None else _split_16_bit_colour(image, low)
    notes = []
    if image.mode == "1":
        notes.append("1-bit")
    if colour.mode == "L":
        notes.append("grey")
    if image.mode in ("P", "PA"):
        notes.append("palette")
    if colour.mode == "CMYK":
        notes.append("cmyk")
    pixels = None
    if profile := image.info.get("icc_profile"):
        try:
            pixels = _through_profile(colour, profile)
        except (ImageCms.PyCMSError, OSError, ValueError):
            notes.append("icc-ignored")
        if pixels is not None:
            notes.append("icc")
    if pixels is None:
        pixels = np.array(colour.convert("RGB"))
    if alpha is not None and alpha.min() < 255:
        pixels = _composite(pixels, alpha, background)
        notes.append("alpha")
    return pixels, notes


def _split(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Colour as L, RGB or CMYK, and opacity, shape (H, W), if there is any."""
    if image.mode.startswith("I;16"):
        return _split_16_bit(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = np.array(image.getchannel("A"))
    if image.mode in ("1", "LA"):
        return image.convert("L"), alpha
    if image.mode in ("L", "RGB", "CMYK"):
        return image, alpha
    return image.convert("RGB"), alpha


def _split_16_bit(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Grey of up to 16 bits, its largest possible value scaled to 255 and rounded; Pillow's own conversion clips."""
    values = np.asarray(image).astype(np.uint32)
    tags = getattr(image, "tag_v2", {})
    largest = (1 << int(np.ravel(tags.get(_BITS_PER_SAMPLE, 16))[0])) - 1  # TIFF has 12 bits, too
    grey = ((values * 255 + largest // 2) // largest).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # zero is white; Pillow inverts this for 8 bits only
        grey = 255 - grey
    transparent = image.info.get("transparency")  # PNG: the one value that is fully transparent
    alpha = None if transparent is None else np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.fromarray(grey), alpha


def _split_16_bit_colour(high: Image.Image, low: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """RGB or RGBA of 16 bits, scaled to 8 and rounded."""
    values = np.asarray(high).astype(np.uint32) << 8 | np.asarray(low)
    scaled = ((values * 255 + 32767) // 65535).astype(np.uint8)
    transparent = high.info.get("transparency")  # PNG: the one colour that is fully transparent
    if values.shape[2] == 4:
        alpha: NDArray[np.uint8] | None = scaled[..., 3]
    else:
        alpha = None if transparent is None else np.where((values == transparent).all(axis=2), 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(scaled[..., :3])), alpha


def _through_profile(colour: Image.Image, profile: bytes) -> NDArray[np.uint8] | None:
    """Pixels in sRGB, shape (H, W, 3), or None if the profile is sRGB itself.

    Raises
    ------
    PyCMSError, OSError, ValueError
        If the profile is damaged or of another colour space than the picture.
    """
    if colour.mode == "L" and _colour_space(profile) == "RGB":  # grey saved with the profile of its RGB original
        colour = colour.convert("RGB")
    if colour.mode == "L":
        table = _greys_in_srgb(profile)
        return None if table is None else table[np.asarray(colour)]
    transform = _transform_to_srgb(profile, colour.mode)
    return None if transform is None else _converted(colour, transform)


def _colour_space(profile: bytes) -> str:
    return str(ImageCms.getOpenProfile(io.BytesIO(profile)).profile.xcolor_space).strip()


@functools.lru_cache(maxsize=32)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform from a profile to sRGB; None if it moves none of 16x16x16 colours by more than 1."""
    transform = _built(profile, mode, ImageCms.Flags.HIGHRESPRECALC)
    if mode == "CMYK":
        return transform
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    return transform if _differ(lattice, _converted(Image.fromarray(lattice), transform)) else None


@functools.lru_cache(maxsize=32)
def _greys_in_srgb(profile: bytes) -> NDArray[np.uint8] | None:
    """All 256 greys of a grey profile in sRGB, shape (256, 3); None if that moves none by more than 1.

    A table because the library's fast way is off by up to 10 levels for dark greys, and its exact way is slow.
    """
    greys = np.arange(256, dtype=np.uint8)[None]
    table = _converted(Image.fromarray(greys), _built(profile, "L", ImageCms.Flags.NOOPTIMIZE))
    return table[0] if _differ(greys[..., None], table) else None


def _built(profile: bytes, mode: str, flags: ImageCms.Flags) -> ImageCms.ImageCmsTransform:
    """Transform that may be shared by threads, which the cache of one pixel inside it would prevent."""
    source, target = ImageCms.getOpenProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    perceptual, flags = ImageCms.Intent.PERCEPTUAL, flags | ImageCms.Flags.NOCACHE
    return ImageCms.buildTransform(source, target, mode, "RGB", perceptual, flags)


def _converted(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> NDArray[np.uint8]:
    return np.array(ImageCms.applyTransform(image, transform))


def _differ(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
    return bool(np.abs(before.astype(int) - after).max() > 1)


def _composite(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8], background: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """``alpha * pixels + (1 - alpha) * background`` in sRGB values, rounded; shapes (H, W, 3) and (H, W)."""
    opacity = alpha[..., None].astype(np.uint16)
    mixed = pixels * opacity + np.asarray(background, np.uint16) * (255 - opacity)  # at most 255 * 255
    return ((mixed + 127) // 255).astype(np.uint8)
