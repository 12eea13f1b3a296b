"""Colour profiles, against closed forms: profiles are written byte by byte from ICC.1:2010, nothing is borrowed."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from datasets.decode import decode_with_notes

# sRGB's primaries adapted to D50, as the columns of its matrix to XYZ (IEC 61966-2-1 with the Bradford adaptation).
RED, GREEN, BLUE = (
    (0.4360747, 0.2225045, 0.0139322),
    (0.3850649, 0.7168786, 0.0971045),
    (0.1430804, 0.0606169, 0.7141733),
)
D50 = (0.9642, 1.0, 0.8249)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def fixed(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def xyz(values):
    return b"XYZ \0\0\0\0" + fixed(*values)


def srgb_curve():
    return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + fixed(*SRGB_CURVE)


def gamma(value):
    return b"para\0\0\0\0" + struct.pack(">HH", 0, 0) + fixed(value)


def profile(space, tags):
    """A display profile of version 4 with these tags."""
    name = "made for a test".encode("utf-16-be")
    text = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(name), 28) + name
    tags = {b"desc": text, b"cprt": text, b"wtpt": xyz(D50), **tags}
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"test", 0x04200000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + fixed(*D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(red=RED, green=GREEN, blue=BLUE, curve=None):
    curve = curve or srgb_curve()
    colours = {b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue)}
    return profile(b"RGB ", {**colours, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def encoded(image, icc_profile, file_format="PNG", **options):
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, file_format, icc_profile=icc_profile, **options)
    return buffer.getvalue()


def to_srgb(linear):
    """Encode linear light in 0..1 as sRGB values in 0..255 (IEC 61966-2-1)."""
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def test_a_profile_with_red_and_green_exchanged(rng):
    image = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    pixels, notes = decode_with_notes(encoded(image, rgb_profile(red=GREEN, green=RED)), "a")
    assert np.abs(pixels.astype(int) - image[..., [1, 0, 2]]).max() <= 1
    assert notes.applied == ("icc",)


def test_another_gamma_by_its_closed_form(rng):
    image = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    pixels, notes = decode_with_notes(encoded(image, rgb_profile(curve=gamma(1.8))), "a")
    assert np.abs(pixels - to_srgb((image / 255) ** 1.8)).max() <= 1.5
    assert np.abs(pixels.astype(int) - image).max() > 15
    assert notes.applied == ("icc",)


def test_srgb_under_another_name_changes_no_pixel(rng):
    image = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    pixels, notes = decode_with_notes(encoded(image, rgb_profile()), "a")
    assert np.array_equal(pixels, image)
    assert notes.applied == ()


def test_grey_with_a_grey_profile():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    linear = profile(b"GRAY", {b"kTRC": gamma(1.0)})
    pixels, notes = decode_with_notes(encoded(grey, linear), "a")
    assert np.abs(pixels - to_srgb(grey / 255)[..., None]).max() <= 1
    assert notes.applied == ("grey", "icc")


def test_grey_with_the_profile_of_its_colour_original():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels, notes = decode_with_notes(encoded(grey, rgb_profile(curve=gamma(1.0))), "a")
    assert np.abs(pixels - to_srgb(grey / 255)[..., None]).max() <= 1
    assert notes.applied == ("grey", "icc")
    pixels, notes = decode_with_notes(encoded(grey, rgb_profile()), "a")
    assert np.array_equal(pixels, grey[..., None].repeat(3, axis=2))
    assert notes.applied == ("grey",)


def test_grey_of_16_bits_and_palettes_go_through_their_profile():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep, notes = decode_with_notes(encoded(grey.astype(np.uint16) * 257, profile(b"GRAY", {b"kTRC": gamma(1.0)})), "a")
    assert np.abs(deep - to_srgb(grey / 255)[..., None]).max() <= 1
    assert notes.applied == ("16-bit", "grey", "icc")
    palette = Image.fromarray(grey)
    palette.putpalette(np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1).tobytes())
    pixels, notes = decode_with_notes(encoded(palette, rgb_profile(curve=gamma(1.0))), "a")
    assert np.abs(pixels - to_srgb(grey / 255)[..., None]).max() <= 1
    assert notes.applied == ("palette", "icc")


def test_colours_are_converted_before_they_are_composited():
    image = np.zeros((4, 4, 4), np.uint8)
    image[...] = (255, 0, 0, 51)  # with red and green exchanged: a fifth of green on white
    pixels, notes = decode_with_notes(encoded(image, rgb_profile(red=GREEN, green=RED)), "a")
    assert np.abs(pixels.astype(int) - (204, 255, 204)).max() <= 1
    assert notes.applied == ("icc", "alpha")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"not a profile",
        rgb_profile()[:200],
        b"\0" * 600,
        profile(b"GRAY", {b"kTRC": gamma(1.0)}),  # of another kind of image
        profile(b"CMYK", {}),
        profile(b"RGB ", {}),
    ],
)
def test_broken_and_foreign_profiles_are_ignored_and_noted(rng, broken):
    image = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    for file_format in ("PNG", "TIFF"):
        pixels, notes = decode_with_notes(encoded(image, broken, file_format), "a")
        assert np.array_equal(pixels, image)
        assert notes.applied == (("icc-ignored",) if broken else ())


def test_a_profile_on_cmyk_that_is_none(rng):
    ink = Image.fromarray(rng.integers(0, 256, (8, 9, 4), dtype=np.uint8), "CMYK")
    pixels, notes = decode_with_notes(encoded(ink, rgb_profile(), "TIFF"), "a")
    plain, _ = decode_with_notes(encoded(ink, None, "TIFF"), "a")
    assert np.array_equal(pixels, plain)
    assert notes.applied == ("cmyk", "icc-ignored")


def test_turning_keeps_the_profile(rng):
    image = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    tags = Image.Exif()
    tags[274] = 3
    pixels, notes = decode_with_notes(encoded(image, rgb_profile(red=GREEN, green=RED), exif=tags), "a")
    assert np.abs(pixels.astype(int) - image[::-1, ::-1, [1, 0, 2]]).max() <= 1
    assert notes.applied == ("exif", "icc")
