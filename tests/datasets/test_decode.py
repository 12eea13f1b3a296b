import contextlib
import dataclasses
import io
import os
import struct
import threading
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from datasets.decode import decode, decode_with_notes, list_images, looks_like_image, upright_size
from datasets.errors import InputError

# Sides of the upright picture at which row 0 and column 0 of the stored pixels lie: EXIF 2.3, tag 274.
EXIF_SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
LOSSLESS = ["PNG", "TIFF", "WEBP", "BMP"]


def encoded(pixels, file_format="PNG", mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
    if file_format == "WEBP":
        options = {"lossless": True, "exact": True, **options}
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def picture(rng, height=20, width=30):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def tiff(values, bits, *, photometric=1, sample_format=1, orientation=1):
    """The smallest uncompressed little-endian TIFF of one grey channel; values (H, W)."""
    height, width = values.shape
    if bits == 12:  # two values in three bytes, most significant bits first, rows padded to bytes
        data = b"".join(
            int("".join(f"{value:012b}" for value in row) + "0000" * (width % 2), 2).to_bytes(
                (12 * width + 7) // 8, "big"
            )
            for row in values.tolist()
        )
    else:
        data = values.tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (274, orientation)]
    tags += [(277, 1), (278, height), (279, len(data)), (339, sample_format)]
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + ifd + b"\0\0\0\0"


def stored_for(upright, orientation):
    """Pixels as a camera stores them so that `orientation` turns them upright, pixel by pixel from the table above."""
    height, width = upright.shape[:2]
    first_row, first_column = EXIF_SIDES[orientation]
    turned = first_row in ("left", "right")
    stored = np.empty((width, height, 3) if turned else upright.shape, np.uint8)

    def position(side, number):
        return {"top": number, "left": number, "bottom": height - 1 - number, "right": width - 1 - number}[side]

    for i in range(stored.shape[0]):
        for j in range(stored.shape[1]):
            along_row, along_column = position(first_row, i), position(first_column, j)
            y, x = (along_column, along_row) if turned else (along_row, along_column)
            stored[i, j] = upright[y, x]
    return stored


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_plain_pictures_come_back_exactly(rng, file_format):
    image = picture(rng)
    pixels, notes = decode_with_notes(encoded(image, file_format), "a")
    assert np.array_equal(pixels, image)
    assert (pixels.dtype, pixels.flags.c_contiguous, pixels.flags.writeable) == (np.uint8, True, True)
    assert (notes.format, notes.mode, notes.width, notes.height, notes.applied) == (file_format, "RGB", 30, 20, ())


def test_jpeg_and_gif(rng):
    flat = np.full((16, 24, 3), (200, 40, 90), np.uint8)
    assert np.abs(decode(encoded(flat, "JPEG", quality=95), "a").astype(int) - flat).max() <= 3
    assert np.array_equal(decode(encoded(flat, "GIF"), "a"), flat)


def test_a_path_and_its_bytes_are_the_same(tmp_path, rng):
    (tmp_path / "a.png").write_bytes(encoded(picture(rng)))
    by_path = decode(tmp_path / "a.png", "a")
    assert np.array_equal(by_path, decode((tmp_path / "a.png").read_bytes(), "a"))
    assert upright_size(tmp_path / "a.png", "a") == (30, 20)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", EXIF_SIDES)
def test_orientation(rng, file_format, orientation):
    upright = picture(rng, 5, 9)
    tags = Image.Exif()
    tags[274] = orientation
    data = encoded(stored_for(upright, orientation), file_format, exif=tags)
    pixels, notes = decode_with_notes(data, "a")
    assert np.array_equal(pixels, upright)
    assert pixels.flags.c_contiguous
    assert (notes.width, notes.height) == (9, 5)
    assert notes.applied == (() if orientation == 1 else ("exif",))
    assert upright_size(data, "a") == (9, 5)


def test_orientation_of_jpeg():
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :16] = 255  # bright in the top left corner
    tags = Image.Exif()
    tags[274] = 6
    data = encoded(stored_for(upright, 6), "JPEG", exif=tags, quality=95)
    assert upright_size(data, "a") == (64, 32)
    pixels = decode(data, "a")
    assert pixels.shape == (32, 64, 3)
    assert pixels[:12, :12].min() > 240
    assert pixels[20:].max() < 16


@pytest.mark.parametrize("tags", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0"])
def test_damaged_tags_do_not_make_a_picture_unusable(rng, tags):
    image = picture(rng)
    pixels, notes = decode_with_notes(encoded(image, "PNG", exif=tags), "a")
    assert np.array_equal(pixels, image)
    assert notes.applied == ()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_are_ignored(rng, orientation):
    image = picture(rng)
    tags = Image.Exif()
    tags[274] = orientation
    assert np.array_equal(decode(encoded(image, "PNG", exif=tags), "a"), image)


def test_grey_of_8_and_1_bit(rng):
    grey = rng.integers(0, 256, (6, 7), dtype=np.uint8)
    pixels, notes = decode_with_notes(encoded(grey), "a")
    assert np.array_equal(pixels, np.repeat(grey[..., None], 3, axis=2))
    assert notes.applied == ("grey",)
    bits = Image.fromarray(grey).convert("1", dither=Image.Dither.NONE)
    pixels, notes = decode_with_notes(encoded(bits, "TIFF"), "a")
    assert np.array_equal(pixels, np.where(grey > 127, 255, 0)[..., None].repeat(3, axis=2))
    assert (notes.mode, notes.applied) == ("1", ("1-bit", "grey"))


def scaled(values, largest):
    """Values of 0..largest as 0..255, in float64, rounded; no value of 16 bits lies half way."""
    return np.rint(values.astype(np.float64) * 255 / largest).astype(np.uint8)[..., None].repeat(3, axis=2)


def test_grey_of_16_bits_is_scaled_not_clipped():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for data in (
        encoded(values, "PNG"),
        encoded(values, "TIFF"),
        encoded(values.astype(">u2"), "TIFF"),
        tiff(values, 16),
    ):
        pixels, notes = decode_with_notes(data, "a")
        assert np.array_equal(pixels, scaled(values, 65535))
        assert notes.applied == ("16-bit", "grey")


def test_grey_of_16_bits_whose_zero_is_white():
    values = np.arange(60000, 60020, dtype=np.uint16).reshape(4, 5)
    assert np.array_equal(decode(tiff(values, 16, photometric=0), "a"), 255 - scaled(values, 65535))


def test_grey_of_12_bits():
    values = np.arange(0, 4096, 5, dtype=np.uint16)[:800].reshape(20, 40)
    pixels, notes = decode_with_notes(tiff(values, 12), "a")
    assert np.array_equal(pixels, scaled(values, 4095))
    assert notes.applied == ("16-bit", "grey")
    pixels, notes = decode_with_notes(tiff(values, 12, orientation=6), "a")
    assert np.array_equal(pixels, np.rot90(scaled(values, 4095), -1))
    assert notes.applied == ("exif", "16-bit", "grey")


def png_of_16_bits(values, transparent=None):
    """A PNG of big-endian 16-bit grey with alpha, RGB or RGBA, shape (H, W, 2 to 4), byte by byte from its standard."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if transparent is not None:
        chunks.insert(1, (b"tRNS", struct.pack(">HHH", *transparent)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def tiff_of_16_bit_colour(values, order, orientation=1):
    """The smallest uncompressed TIFF of 16-bit RGB, shape (H, W, 3), in byte order ``<`` or ``>``."""
    height, width, _ = values.shape
    data = struct.pack(order + "HHH", 16, 16, 16) + values.astype(order + "u2").tobytes()
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8), (259, 4, 1, 1), (262, 4, 1, 2), (273, 4, 1, 14)]
    tags += [(274, 4, 1, orientation), (277, 4, 1, 3), (278, 4, 1, height), (279, 4, 1, len(data) - 6)]
    ifd = struct.pack(order + "H", len(tags)) + b"".join(struct.pack(order + "HHII", *tag) for tag in tags)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return start + struct.pack(order + "I", 8 + len(data)) + data + ifd + b"\0\0\0\0"


def test_colour_of_16_bits_is_scaled_and_rounded_exactly(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    values = np.stack([values, values[::-1], values.T], axis=-1)
    expected = np.rint(values * (255 / 65535)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png_of_16_bits(values))
    for data in (
        png_of_16_bits(values),
        tmp_path / "a.png",
        tiff_of_16_bit_colour(values, "<"),
        tiff_of_16_bit_colour(values, ">"),
        cv2.imencode(".tif", values[..., ::-1])[1].tobytes(),  # compressed (LZW), in another library's hand
        cv2.imencode(".png", values[..., ::-1])[1].tobytes(),
    ):
        pixels, notes = decode_with_notes(data, "a")
        assert np.array_equal(pixels, expected)
        assert notes.applied == ("16-bit",)


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_planes_of_a_tiff_are_decoded_right_or_refused(rng, tmp_path, planar, channels, bits, order, tile):
    """Against another library; every value is drawn, so that a plane or a byte in the wrong place shows."""
    values = rng.integers(0, 1 << bits, (48, 80, channels)).astype(f"u{bits // 8}")
    exact = tifffile_pixels(values)
    for compression, predictor in ((None, None), ("deflate", None), ("deflate", True)):
        file = tmp_path / "planes.tif"
        tifffile.imwrite(
            file,
            values if planar == "contig" else np.ascontiguousarray(values.transpose(2, 0, 1)),
            photometric="minisblack" if channels == 2 else "rgb",
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
            planarconfig=planar,
            compression=compression,
            predictor=predictor,
            byteorder=order,
            tile=tile,
            rowsperstrip=None if tile else 7,
        )
        back = tifffile.imread(file)
        assert np.array_equal(back if planar == "contig" else back.transpose(1, 2, 0), values)
        if bits == 16 and channels == 2:  # a kind that Pillow does not know
            assert "is not an image" in refused(file, "planes.tif")
        elif planar == "separate" and (channels == 2 or (bits == 16 and compression is None)):
            kind = "of LA pixels" if channels == 2 else "16-bit"
            for attempt in (decode, upright_size):
                with pytest.raises(
                    InputError, match=r"planes\.tif is an? .*planar TIFF.*; save it with interleaved"
                ) as no:
                    attempt(file, "planes.tif")
                assert kind in str(no.value)
        else:
            low_byte_lost = planar == "separate" and bits == 16  # of the colour, and of the opacity
            error = np.abs(decode(file, "planes.tif").astype(int) - exact).max()
            assert error <= (channels - 2 if low_byte_lost else 0)


def tifffile_pixels(values):
    """Exact pixels of RGB, RGBA or grey with alpha, shape (H, W, C), on white."""
    eight = np.rint(values / np.iinfo(values.dtype).max * 255)
    if values.shape[2] == 3:
        return eight
    return composited(eight[..., :-1], eight[..., -1], (255, 255, 255))


def test_turned_colour_of_16_bits(rng):
    values = rng.integers(0, 65536, (5, 9, 3)).astype(np.uint16)
    pixels, notes = decode_with_notes(tiff_of_16_bit_colour(values, "<", orientation=6), "a")
    assert np.array_equal(pixels, np.rot90(np.rint(values * (255 / 65535)).astype(np.uint8), -1))
    assert notes.applied == ("exif", "16-bit")


def test_transparency_of_16_bits(rng):
    values = rng.integers(0, 65536, (16, 17, 4)).astype(np.uint16)
    eight = np.rint(values * (255 / 65535)).astype(np.uint8)
    pixels, notes = decode_with_notes(png_of_16_bits(values), "a", background=(1, 2, 3))
    assert np.array_equal(pixels, composited(eight[..., :3], eight[..., 3], (1, 2, 3)))
    assert notes.applied == ("16-bit", "alpha")
    values = rng.integers(0, 2, (8, 9, 3)).astype(np.uint16) + 1000  # so close that all have the same high byte
    pixels, notes = decode_with_notes(png_of_16_bits(values, transparent=(1000, 1001, 1000)), "a", background=(9, 8, 7))
    clear = (values == (1000, 1001, 1000)).all(axis=2)
    assert 0 < clear.sum() < clear.size
    assert np.array_equal(pixels, np.where(clear[..., None], (9, 8, 7), 4))
    assert notes.applied == ("16-bit", "alpha")


def test_grey_of_16_bits_with_alpha_loses_its_low_byte(rng):
    values = rng.integers(0, 65536, (4, 6, 2)).astype(np.uint16)
    pixels, notes = decode_with_notes(png_of_16_bits(values), "a")
    share = values[..., 1:] / 65535
    assert np.abs(pixels - (values[..., :1] / 257 * share + 255 * (1 - share))).max() <= 2
    assert notes.applied == ("16-bit", "alpha")


def test_16_bit_files_cut_short_are_refused(rng):
    values = rng.integers(0, 65536, (64, 48, 3)).astype(np.uint16)
    for data in (png_of_16_bits(values), tiff_of_16_bit_colour(values, "<")):
        for size in (len(data) // 2, len(data) - 300):
            refused(data[:size])


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (tiff(np.ones((3, 4), np.float32), 32, sample_format=3), "floats"),
        (tiff(np.ones((3, 4), np.int32), 32, sample_format=2), "32-bit or signed integers"),
        (tiff(np.ones((3, 4), np.int16), 16, sample_format=2), "32-bit or signed integers"),
        (encoded(Image.new("LAB", (3, 4)), "TIFF"), "Lab colours"),
    ],
)
def test_pixels_without_a_defined_white_are_refused(data, kind):
    with pytest.raises(InputError, match=f"depth.tif stores {kind}, which have no defined white; save it as 8-bit"):
        decode(data, "depth.tif")


def composited(colour, alpha, background):
    """alpha over background in float64, rounded to the nearest; 255 is odd, so nothing lies half way."""
    share = alpha[..., None] / 255
    return np.rint(colour * share + np.array(background) * (1 - share)).astype(np.uint8)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (255, 128, 3)])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_composited(rng, file_format, background):
    image = rng.integers(0, 256, (16, 17, 4), dtype=np.uint8)
    pixels, notes = decode_with_notes(encoded(image, file_format), "a", background=background)
    assert np.array_equal(pixels, composited(image[..., :3], image[..., 3], background))
    assert notes.applied == ("alpha",)


def test_the_default_background_is_white():
    assert decode(encoded(np.zeros((2, 2, 4), np.uint8)), "a").min() == 255


def test_every_alpha_and_colour_is_rounded_right():
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    image = np.stack([colour, 255 - colour, colour // 2, alpha], axis=-1).astype(np.uint8)
    assert np.array_equal(decode(encoded(image), "a"), composited(image[..., :3], image[..., 3], (255,) * 3))


def test_opaque_alpha_is_no_transparency(rng):
    image = np.dstack([picture(rng), np.full((20, 30), 255, np.uint8)])
    pixels, notes = decode_with_notes(encoded(image), "a")
    assert np.array_equal(pixels, image[..., :3])
    assert notes.applied == ()


def test_grey_with_alpha(rng):
    image = rng.integers(0, 256, (6, 7, 2), dtype=np.uint8)
    pixels, notes = decode_with_notes(encoded(image), "a")
    assert np.array_equal(pixels, composited(image[..., :1].repeat(3, axis=2), image[..., 1], (255,) * 3))
    assert notes.applied == ("grey", "alpha")


def test_one_transparent_colour(rng):
    grey = rng.integers(0, 4, (8, 9), dtype=np.uint8)
    pixels, notes = decode_with_notes(encoded(grey, transparency=2), "a", background=(1, 2, 3))
    expected = np.where((grey == 2)[..., None], (1, 2, 3), grey[..., None])
    assert np.array_equal(pixels, expected)
    assert notes.applied == ("grey", "alpha")
    deep = grey.astype(np.uint16) * 257 + 5
    pixels, notes = decode_with_notes(encoded(deep, transparency=2 * 257 + 5), "a", background=(1, 2, 3))
    assert np.array_equal(pixels, expected)
    assert notes.applied == ("16-bit", "grey", "alpha")
    colour = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(decode(encoded(colour, transparency=(2, 2, 2)), "a", background=(1, 2, 3)), expected)


def test_palettes(rng):
    indices = rng.integers(0, 3, (8, 9), dtype=np.uint8)
    colours = np.array([[10, 20, 30], [200, 0, 7], [0, 255, 128]], np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    pixels, notes = decode_with_notes(encoded(image), "a")
    assert np.array_equal(pixels, colours[indices])
    assert (notes.mode, notes.applied) == ("P", ("palette",))
    alpha = np.array([255, 0, 100], np.uint8)
    pixels, notes = decode_with_notes(encoded(image, transparency=alpha.tobytes()), "a")
    assert np.array_equal(pixels, composited(colours[indices], alpha[indices], (255,) * 3))
    assert notes.applied == ("palette", "alpha")


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "WEBP", "PNG"])
def test_only_the_first_picture_of_several_is_used(file_format):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    first, *others = (Image.fromarray(np.full((8, 6, 3), colour, np.uint8)) for colour in colours)
    data = encoded(first, file_format, save_all=True, append_images=others)
    pixels, notes = decode_with_notes(data, "a")
    assert np.array_equal(pixels, np.full((8, 6, 3), colours[0]))
    assert notes.applied[0] == "first-frame"


def test_cmyk_by_its_formula(rng):
    ink = rng.integers(0, 256, (8, 9, 4), dtype=np.uint8)
    pixels, notes = decode_with_notes(encoded(ink, "TIFF", mode="CMYK"), "a")
    expected = (255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255
    assert np.abs(pixels - expected).max() <= 1
    assert notes.applied == ("cmyk",)


def test_cmyk_jpeg_is_not_inverted():
    ink = np.full((16, 16, 4), (0, 200, 100, 30), np.uint8)  # little cyan: reddish
    pixels, notes = decode_with_notes(encoded(ink, "JPEG", mode="CMYK", quality=100), "a")
    expected = (255.0 - ink[0, 0, :3]) * (255.0 - ink[0, 0, 3]) / 255
    assert np.abs(pixels[8, 8] - expected).max() <= 3
    assert (notes.mode, notes.applied) == ("CMYK", ("cmyk",))


def test_ycck_jpeg():
    """A CMYK JPEG whose Adobe marker says that the first three channels are YCbCr of the inverted inks."""
    luma, blue, red, black = 120, 90, 170, 200  # as stored, that is inverted
    stored = np.full((16, 16, 4), (luma, blue, red, black), np.uint8)
    data = bytearray(encoded(255 - stored, "JPEG", mode="CMYK", quality=100))  # Pillow inverts when it writes
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0
    data[marker + 11] = 2
    inks = np.array(
        [
            luma + 1.402 * (red - 128),
            luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
            luma + 1.772 * (blue - 128),
        ]
    )
    expected = (255 - inks) * black / 255
    assert np.abs(decode(bytes(data), "a")[8, 8] - expected).max() <= 3


SAMPLINGS = ("444", "422", "420", "440", "411")


def photograph(rng, height, width):
    """Noise over colours that change slowly, so that every coefficient of a JPEG has something to say."""
    colours = cv2.resize(
        rng.integers(0, 256, (3, 4, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(colours + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


def jpeg(pixels, sampling="420", *, quality=90, progressive=False, restart=0):
    """JPEG of RGB pixels by OpenCV, which writes every chroma subsampling."""
    options = {
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}"),
        cv2.IMWRITE_JPEG_QUALITY: quality,
        cv2.IMWRITE_JPEG_PROGRESSIVE: int(progressive),
        cv2.IMWRITE_JPEG_RST_INTERVAL: restart,
    }
    return cv2.imencode(".jpg", pixels[..., ::-1], [number for pair in options.items() for number in pair])[1].tobytes()


def outcome(data, *, short_cut=True):
    """Pixels and notes, or the error; with the short cut past Pillow or without it."""
    with pytest.MonkeyPatch.context() as patch:
        if not short_cut:
            patch.setattr("datasets.decode._jpeg", lambda image, data: None)
        try:
            pixels, notes = decode_with_notes(data, "a", max_pixels=10**6)
        except InputError as error:
            return str(error)
    return pixels.shape, pixels.tobytes(), notes


def without_pillow(data):
    """Decode with Pillow's decoders out of order."""

    def refuse(self):
        raise AssertionError("Pillow was asked for pixels")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", refuse)
        return decode_with_notes(data, "a")


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16), (17, 33), (40, 31)])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_jpegs_have_the_pixels_that_pillow_gives(rng, sampling, size):
    for progressive, restart, quality in ((False, 0, 95), (True, 0, 60), (False, 1, 75), (True, 2, 30)):
        data = jpeg(photograph(rng, *size), sampling, progressive=progressive, restart=restart, quality=quality)
        pixels, notes = without_pillow(data)
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(pixels, np.array(image))
        assert pixels.flags.writeable
        assert notes.applied == ()


def test_grey_jpegs_have_the_pixels_that_pillow_gives(rng):
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        data = encoded(photograph(rng, 21, 34)[..., 1], "JPEG", **options)
        pixels, notes = without_pillow(data)
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(pixels, np.array(image.convert("RGB")))
        assert (notes.mode, notes.applied) == ("L", ("grey",))


@pytest.mark.parametrize("orientation", EXIF_SIDES)
def test_turned_jpegs_have_the_pixels_that_pillow_gives(rng, orientation, tmp_path):
    tags = Image.Exif()
    tags[274] = orientation
    stored = photograph(rng, 9, 22)
    data = encoded(stored, "JPEG", exif=tags, quality=95)
    pixels, notes = without_pillow(data)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(stored_for(pixels, orientation), np.array(image))
    assert notes.applied == (() if orientation == 1 else ("exif",))
    (tmp_path / "a.jpg").write_bytes(data)
    assert np.array_equal(decode(tmp_path / "a.jpg", "a"), pixels)
    assert upright_size(data, "a") == (notes.width, notes.height) == pixels.shape[1::-1]


def test_unusual_jpegs_are_the_same_with_and_without_the_short_cut(rng):
    image = Image.fromarray(photograph(rng, 21, 34))
    several = encoded(image, "MPO", save_all=True, append_images=[Image.fromarray(photograph(rng, 21, 34))])
    unusual = [
        several,
        encoded(image, "JPEG", keep_rgb=True),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image, "JPEG", icc_profile=b"broken"),
        encoded(image, "JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        encoded(image.convert("L"), "JPEG", icc_profile=b"broken"),
        encoded(image, "JPEG", comment=b"\xff\xd8\xff\xd9", extra=b"\xff\xe5\0\4ab"),
        jpeg(photograph(rng, 21, 34)) + b"something behind the end",
    ]
    for data in unusual:
        assert not isinstance(outcome(data), str)
        assert outcome(data) == outcome(data, short_cut=False)
    assert decode_with_notes(several, "a")[1].applied == ("first-frame",)


@pytest.mark.parametrize(("sampling", "progressive"), [("420", False), ("444", True), ("411", True)])
def test_damaged_jpegs_are_judged_as_pillow_judges_them(rng, sampling, progressive, capfd):
    """Cut short at every 7th byte, as it is and with an end marker: libjpeg-turbo alone accepts some of them."""
    data = jpeg(photograph(rng, 19, 26), sampling, progressive=progressive, restart=1)
    for size in range(2, len(data), 7):
        for cut_short in (data[:size], data[:size] + b"\xff\xd9"):
            assert outcome(cut_short) == outcome(cut_short, short_cut=False)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(SAMPLINGS), st.booleans(), st.sampled_from([0, 1]), st.data())
def test_jpegs_with_wrong_bytes_are_judged_as_pillow_judges_them(sampling, progressive, restart, data):
    pixels = photograph(np.random.default_rng(1), 18, 25)
    content = bytearray(jpeg(pixels, sampling, progressive=progressive, restart=restart))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(2, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assert outcome(bytes(content)) == outcome(bytes(content), short_cut=False)


def refused(data, where="broken.jpg", **options):
    with pytest.raises(InputError) as caught:
        decode(data, where, **options)
    message = str(caught.value)
    assert message.startswith(where)
    assert "\n" not in message
    return message


def test_what_is_no_image(tmp_path):
    assert "broken.jpg is empty, not an image" in refused(b"")
    (tmp_path / "empty.png").write_bytes(b"")
    assert "is empty, not an image" in refused(tmp_path / "empty.png")
    for data in (b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        assert "damaged" in refused(data)
    assert "No such file or directory" in refused(tmp_path / "missing.png")
    assert "Is a directory" in refused(tmp_path)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_files_cut_short(rng, file_format, capfd):
    data = encoded(rng.integers(0, 256, (64, 48, 3), dtype=np.uint8), file_format)
    for size in (20, len(data) // 4, len(data) // 2, len(data) - len(data) // 20, len(data) - 40):
        assert "replace it or remove it" in refused(data[:size]) or "images are" in refused(data[:size])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "options", [{"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "tiff_adobe_deflate"}]
)
def test_compressed_tiffs_cut_short_say_nothing_of_their_own(rng, options, capfd):
    data = encoded(rng.integers(0, 256, (64, 48, 3), dtype=np.uint8), "TIFF", **options)
    refused(data[: len(data) // 2])
    assert capfd.readouterr() == ("", "")


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]), st.data())
def test_damaged_files_are_decoded_or_refused(file_format, data):
    """Never another error, never a warning, and the size is what was announced."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    content = bytearray(encoded(pixels, file_format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        decoded, notes = decode_with_notes(bytes(content), "a", max_pixels=10**6)
        assert decoded.shape == (notes.height, notes.width, 3)


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ending = b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + body + struct.pack(">I", zlib.crc32(body)) + ending


def test_decompression_bombs_are_refused_by_their_size(rng):
    message = refused(png_header(100_000, 100_000))
    assert "100000x100000 pixels, more than the 268435456 allowed" in message
    with pytest.raises(InputError, match="20000x20000 pixels"):
        upright_size(png_header(20_000, 20_000), "a")
    assert upright_size(png_header(20_000, 20_000), "a", max_pixels=400_000_000) == (20_000, 20_000)
    data = encoded(picture(rng))
    assert decode(data, "a", max_pixels=600).shape == (20, 30, 3)
    assert "30x20 pixels, more than the 599 allowed" in refused(data, max_pixels=599)


def test_pillows_settings_are_restored_after_threads(rng):
    data = encoded(picture(rng, 64, 64))
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    errors = []

    def work():
        for _ in range(30):
            try:
                decode(data, "a")
                with pytest.raises(InputError):
                    decode(data[:100], "a")
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


def test_pillows_warnings_do_not_leak(rng, recwarn):
    indices = Image.fromarray(rng.integers(0, 3, (8, 9), dtype=np.uint8))
    indices.putpalette(bytes(range(9)))
    decode(encoded(indices, transparency=bytes([0, 9, 255])), "a")
    with pytest.raises(InputError):
        decode(png_header(15_000, 15_000), "a")  # Pillow alone warns of this size
    assert len(recwarn) == 0


def test_notes_are_frozen(rng):
    _, notes = decode_with_notes(encoded(picture(rng)), "a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        notes.mode = "L"


def test_list_images_is_recursive_sorted_and_leaves_out_the_rest(tmp_path):
    wanted = ["A.png", "B/a.PNG", "a-b.jpg", "a/a.gif", "a/b/c.webp", "a0.tiff", "b.JPEG", "z.bmp", "é.tif", "日.jpg"]
    others = [".hidden.png", ".git/a.png", "a/.thumbs/b.png", "notes.txt", "a/b.npy", "png", "c.png.bak"]
    for name in [*wanted, *others]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == wanted == sorted(wanted)


def test_list_images_follows_links_but_not_in_circles(tmp_path):
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    (photos / "in").mkdir(parents=True)
    elsewhere.mkdir()
    (photos / "in" / "a.png").write_bytes(b"")
    (elsewhere / "b.png").write_bytes(b"")
    (photos / "linked").symlink_to(elsewhere)
    (photos / "in" / "up").symlink_to(photos)
    (photos / "dangling.png").symlink_to(tmp_path / "nowhere")
    found = [path.relative_to(photos).as_posix() for path in list_images(photos)]
    assert found == ["dangling.png", "in/a.png", "linked/b.png"]
    assert "No such file" in refused(photos / "dangling.png")


def test_a_link_to_itself_is_one_bad_image(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(np.zeros((2, 2, 3), np.uint8)))
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "to.gif").symlink_to("fro.gif")
    (tmp_path / "fro.gif").symlink_to("to.gif")
    found = list_images(tmp_path)
    assert [path.name for path in found] == ["a.png", "fro.gif", "self.jpg", "to.gif"]
    for file in found[1:]:
        assert "symbolic links" in refused(file)  # the system's own words


def test_list_images_of_nothing(tmp_path):
    with pytest.raises(InputError, match="missing does not exist; name a folder of images"):
        list_images(tmp_path / "missing")
    with pytest.raises(InputError, match=r"holds no images .* but nothing; name a folder that does"):
        list_images(tmp_path)
    for name in ("a.txt", "b.txt", "c.npy", "README"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"holds no images \(\.bmp .*\), but 2 \.txt, 1 .*; name a folder"):
        list_images(tmp_path)
    with pytest.raises(InputError, match=r"a\.txt is not a folder"):
        list_images(tmp_path / "a.txt")


def test_list_images_of_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(os, "scandir", refuse)  # tests may run as root, whom no bit stops
    with pytest.raises(InputError, match="Permission denied; a folder of images must be readable"):
        list_images(tmp_path)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_looks_like_image(tmp_path, rng, file_format):
    path = tmp_path / "no suffix"
    path.write_bytes(encoded(picture(rng), file_format))
    assert looks_like_image(path)


def test_does_not_look_like_an_image(tmp_path):
    for content in (b"", b"RIFF1234WAVEfmt ", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"hello"):
        (tmp_path / "a.png").write_bytes(content)
        assert not looks_like_image(tmp_path / "a.png")
    assert not looks_like_image(tmp_path)
    assert not looks_like_image(tmp_path / "missing.png")
