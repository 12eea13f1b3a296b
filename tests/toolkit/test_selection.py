import dataclasses
import io
import math
from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import measurement as oracle
from PIL import Image

from datasets.errors import InputError
from toolkit import measurement
from toolkit.measurement import distance, measure
from toolkit.selection import Chooser, Criteria, Measurement, kind_of, original_of


def picture(seed=0, side=(300, 400)):
    """Smooth random structure of many sizes, in colour: about what a photograph has, and as sharp."""
    generator = np.random.default_rng(seed)
    image = np.full((*side, 3), 128.0)
    for cells in (3, 6, 12, 24, 48, 96):
        noise = generator.normal(0, 60 / cells**0.7, (cells, cells, 3))
        image += cv2.resize(noise, side[::-1], interpolation=cv2.INTER_CUBIC)
    for _ in range(40):
        x, y, radius = generator.integers(0, [side[1], side[0], side[0] // 6])
        cv2.circle(image, (int(x), int(y)), int(radius), generator.uniform(0, 255, 3).tolist(), -1)
    return np.clip(image, 0, 255).astype(np.uint8)


def steps(sigma, low=0.0, high=250.0, side=300):
    """Vertical steps up and down, ten sigma apart, blurred by a Gaussian."""
    x = np.arange(side)
    edges = np.arange(5, side, max(10 * sigma, 10)) + 0.5
    rise = np.vectorize(lambda value: 0.5 * (1 + math.erf(value / (max(sigma, 1e-3) * math.sqrt(2)))))
    profile = sum((1 - 2 * (number % 2)) * rise(x + 1 - edge) for number, edge in enumerate(edges))
    grey = np.tile(low + (high - low) * profile, (side, 1))
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def jpeg(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(pixels, factor):
    size = int(pixels.shape[1] * factor), int(pixels.shape[0] * factor)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


# Sharpness


@pytest.mark.parametrize("sigma", [1.25, 1.5, 2.0, 2.5])
def test_sharpness_is_the_inverse_of_the_blur_of_a_steps(sigma):
    assert measure(steps(sigma)).sharpness == pytest.approx(1 / sigma, rel=0.08)
    assert measure(steps(sigma).transpose(1, 0, 2).copy()).sharpness == pytest.approx(1 / sigma, rel=0.08)


def test_sharpness_does_not_depend_on_contrast():
    assert measure(steps(1.5)).sharpness == pytest.approx(measure(steps(1.5, 80, 180)).sharpness, rel=0.05)


def test_sharpness_of_a_step_of_one_pixel_of_noise_and_of_nothing(rng):
    assert measure(steps(0)).sharpness == pytest.approx(2, rel=0.001)
    noise = np.repeat(rng.integers(0, 256, (200, 200, 1), dtype=np.uint8), 3, axis=2)
    assert measure(noise).sharpness == pytest.approx(
        math.sqrt(2 * 20 / 4), rel=0.02
    )  # variances of 4 - 1 - 1 - 1 - 1 and 1 - 1
    for shape in ((64, 64, 3), (1, 1, 3), (2, 500, 3), (3, 3, 3), (1, 9000, 3)):
        assert measure(np.full(shape, 77, np.uint8)).sharpness == 0.0


def test_the_softest_of_pictures_is_not_taken_for_noise():
    y, x = np.mgrid[0:600, 0:600]
    soft = (100 + 60 * np.sin(x / 300) * np.cos(y / 250)).round().astype(np.uint8)
    assert measure(np.repeat(soft[..., None], 3, axis=2)).sharpness < 0.3


def test_a_sharp_subject_in_front_of_a_soft_background_is_sharp():
    sharp = picture()
    soft = cv2.GaussianBlur(sharp, (0, 0), 6)
    portrait = soft.copy()
    portrait[75:225, 120:280] = sharp[75:225, 120:280]
    assert measure(soft).sharpness < 0.5 * measure(sharp).sharpness
    assert measure(portrait).sharpness > 0.9 * measure(sharp).sharpness


def test_sharpness_is_the_same_at_every_size_above_the_working_size():
    large = np.repeat(np.repeat(picture(1, (1000, 1200)), 2, axis=0), 2, axis=1)
    large = cv2.GaussianBlur(large, (0, 0), 6)
    found = [measure(resized(large, factor)).sharpness for factor in (1.0, 0.8, 0.65, 0.5)]
    assert max(found) < 1.1 * min(found)


@pytest.mark.parametrize("shape", [(40, 60, 3), (57, 33, 3), (90, 20, 3)])
def test_sharpness_and_fingerprint_agree_with_a_plain_statement(shape, monkeypatch):
    monkeypatch.setattr(measurement, "_WORKING_PIXELS", 1500)
    monkeypatch.setattr(measurement, "_STRIP_PIXELS", 700)  # several strips
    pixels = picture(5, shape[:2])
    found, grey = measure(pixels), oracle.reduced(oracle.luma(pixels), 1500)
    assert found.sharpness == pytest.approx(oracle.sharpness(grey), rel=1e-12)
    for number, value in enumerate(oracle.frequencies(grey), start=1):
        if abs(value) > 2:  # of coefficients up to thousands: our cosines and means are rounded
            assert bool(found.fingerprint >> (37 * number % 256) & 1) == (value > 0)
    colour = [found.fingerprint >> shift & 255 for shift in (256, 264, 272)]
    assert np.abs(colour - pixels.mean(axis=(0, 1))).max() <= 0.5
    assert found.fingerprint < 1 << 280


def test_measurements_are_the_same_on_every_machine():
    y, x = np.mgrid[0:700, 0:901]
    pixels = np.stack([x * 3 + y * y // 7, (x * y) // 9, x ^ y], axis=-1).astype(np.uint8)
    # From this implementation, 2026-11-22, x86-64: all integers, so any other value is a change of definition.
    assert measure(pixels) == Measurement(
        3.256847230763519, 0x7F7E7F0680088107020002000800400003002000000080002000122004041080162420
    )


def test_a_large_white_image_does_not_overflow():
    white = np.full((3000, 4000, 3), 255, np.uint8)
    white[:, 296 * 4000 // 591 :] = 0  # between two of the 591 columns of the reduced picture
    found = measure(white)
    assert found.sharpness == pytest.approx(2, rel=0.01)
    assert found.fingerprint >> 256 == 0x808080


# Fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        lambda pixels: jpeg(pixels, 40),
        lambda pixels: resized(pixels, 0.5),
        lambda pixels: jpeg(resized(pixels, 1.7), 75),
        lambda pixels: np.clip(pixels * 1.1, 0, 255).astype(np.uint8),
        lambda pixels: (pixels * 0.85 + 20).astype(np.uint8),
    ],
)
def test_the_same_picture_saved_otherwise_is_a_near_duplicate(changed):
    for seed in range(5):
        pixels = picture(seed)
        bits = distance(measure(pixels).fingerprint, measure(changed(pixels)).fingerprint)
        assert bits is not None
        assert bits <= 12


def test_different_pictures_are_far_apart():
    found = [measure(picture(seed)).fingerprint for seed in range(12)]
    found.append(measure(np.ascontiguousarray(picture(0)[:, ::-1])).fingerprint)
    found.append(measure(np.ascontiguousarray(picture(0)[::-1])).fingerprint)
    for place, one in enumerate(found):
        assert distance(one, one) == 0
        for other in found[:place]:
            bits = distance(one, other)
            assert bits is None or bits > 80


def test_plain_images_of_different_colours_are_not_alike():
    red, green, dark_red = (
        np.full((50, 50, 3), colour, np.uint8) for colour in ([200, 0, 0], [0, 200, 0], [170, 0, 0])
    )
    assert distance(measure(red).fingerprint, measure(green).fingerprint) is None
    assert distance(measure(red).fingerprint, measure(dark_red).fingerprint) == 0


def test_the_colours_may_differ_by_32():
    assert distance(100 << 256, 132 << 256) == 0
    assert distance(100 << 272, 133 << 272) is None
    assert distance(100 << 264, 67 << 264) is None


# The choice


def look(fingerprint, sharpness=2.0):
    return Measurement(sharpness, fingerprint)


def test_the_first_of_near_duplicates_stays():
    chooser = Chooser(Criteria(near_duplicates=2))
    assert chooser.reason(0, "a.jpg", 9, 9, look(0)) is None
    assert chooser.reason(1, "b.jpg", 9, 9, look(0b111)) is None
    assert (
        chooser.reason(2, "c.jpg", 9, 9, look(1 << 255))
        == "near-duplicate: 1 of 256 bits differ, at most 2 may, of a.jpg"
    )
    assert (
        chooser.reason(3, "d.jpg", 9, 9, look(0b1011))
        == "near-duplicate: 2 of 256 bits differ, at most 2 may, of b.jpg"
    )
    # Two bits from c, which is out, three from a.
    assert chooser.reason(4, "e.jpg", 9, 9, look(1 << 255 | 0b11 << 90)) is None


def test_of_two_that_are_equally_near_the_first_is_named():
    chooser = Chooser(Criteria(near_duplicates=2))
    for number, fingerprint in enumerate([0b1111 << 60, 0]):
        assert chooser.reason(number, "ab"[number], 9, 9, look(fingerprint)) is None
    assert (
        chooser.reason(2, "c", 9, 9, look(0b0011 << 60)) == "near-duplicate: 2 of 256 bits differ, at most 2 may, of a"
    )


@settings(max_examples=30, deadline=None)
@given(
    limit=st.sampled_from([0, 1, 4, 16, 32]),
    seed=st.integers(0, 1000),
    flips=st.lists(st.integers(0, 40), min_size=5, max_size=60),
)
def test_the_search_finds_what_comparing_all_pairs_finds(limit, seed, flips):
    generator = np.random.default_rng(seed)
    images, kept, chooser = [], [], Chooser(Criteria(near_duplicates=limit))
    for number, count in enumerate(flips):
        bits = (
            int.from_bytes(generator.bytes(32), "little")
            if not images or count > 36
            else images[generator.integers(len(images))]
        )
        for place in generator.choice(256, count, replace=False).tolist():
            bits ^= 1 << place
        images.append(bits)
        near = [(distance(bits, other), place) for place, other in kept if distance(bits, other) <= limit]
        expected = None
        if near:
            best, place = min(near)
            expected = f"near-duplicate: {best} of 256 bits differ, at most {limit} may, of {place}"
        else:
            kept.append((number, bits))
        assert chooser.reason(number, str(number), 9, 9, look(bits)) == expected


def test_the_choice_is_a_function_of_the_calls_alone():
    generator = np.random.default_rng(3)
    looks = [
        look(int.from_bytes(generator.bytes(2), "little") << 100, float(generator.uniform(0, 2))) for _ in range(3000)
    ]
    criteria = Criteria(min_sharpness=0.5, near_duplicates=1)

    def run():
        chooser = Chooser(criteria)
        return [chooser.reason(number, f"{number}.jpg", 9, 9, found) for number, found in enumerate(looks)]

    first = run()
    assert run() == first
    assert {kind_of(reason) for reason in first if reason} == {"blurred", "near-duplicate"}
    assert None in first


def test_near_duplicates_of_an_image_that_is_out_stay():
    chooser = Chooser(Criteria(min_size=100, min_sharpness=1.0, near_duplicates=16))
    assert chooser.reason(0, "a", 99, 500, look(5)).startswith("too small")
    assert chooser.reason(1, "b", 100, 500, look(5, 0.5)).startswith("blurred")
    assert chooser.reason(2, "c", 100, 500, look(5)) is None
    assert chooser.reason(3, "d", 100, 500, look(5)).endswith(" of c")


def test_reasons_say_value_and_limit():
    chooser = Chooser(Criteria(min_size=256, min_sharpness=1.0))
    assert (
        chooser.reason(0, "a", 640, 200, look(0))
        == "too small: 640x200, and the shorter side must have 256 pixels or more"
    )
    assert chooser.reason(1, "b", 256, 256, look(0, 0.713)) == "blurred: sharpness 0.71 is below 1.00"
    assert chooser.reason(2, "c", 256, 256, look(0, 0.99996)) == "blurred: sharpness 0.99996 is below 1.00000"
    assert chooser.reason(3, "d", 256, 256, look(0, 1.0)) is None
    assert Chooser(Criteria()).reason(0, "a", 1, 1, None) is None
    assert Chooser(Criteria(min_size=2)).reason(0, "a", 2, 2, None) is None
    assert Criteria(min_size=2).too_small(2, 1) is not None
    with pytest.raises(AssertionError, match="image 4: criteria about pixels need a measurement"):
        chooser.reason(4, "e", 256, 256, None)


@given(st.text(min_size=1))
def test_kind_and_original_are_found_in_the_reason(name):
    chooser = Chooser(Criteria(near_duplicates=0))
    chooser.reason(0, name, 9, 9, look(7))
    reason = chooser.reason(1, "b", 9, 9, look(7))
    assert kind_of(reason) == "near-duplicate"
    assert original_of(reason) == name


def test_other_reasons_are_bad():
    for reason in ("a.jpg is empty, not an image", "a: b", "blurred.jpg is empty", ""):
        assert kind_of(reason) == "bad"
        assert original_of(reason) is None


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_size": 0}, r"--min-size 0 is no length; give a number of pixels from 1 up"),
        ({"min_sharpness": 0.0}, r"--min-sharpness 0.0 is no limit; give a number above 0, such as 1.0"),
        ({"min_sharpness": math.nan}, r"--min-sharpness nan is no limit"),
        ({"min_sharpness": math.inf}, r"--min-sharpness inf is no limit"),
        (
            {"near_duplicates": -1},
            r"--near-duplicates -1 is no limit; give how many bits of 256 may differ, from 0 to 32",
        ),
        ({"near_duplicates": 33}, r"--near-duplicates 33 is no limit"),
    ],
)
def test_limits_that_are_none(limits, message):
    with pytest.raises(InputError, match=message):
        Criteria(**limits)


def test_a_measurement_survives_json():
    import json

    found = measure(picture())
    assert Measurement(**json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_many_images_take_time_in_proportion():
    """Far fewer comparisons than pairs: 5000 images make 12.5 million."""
    generator = np.random.default_rng(0)
    chooser = Chooser(Criteria(near_duplicates=16))
    compared = 0
    for number in range(5000):
        fingerprint = int.from_bytes(generator.bytes(32), "little")
        parts = zip(chooser._parts, chooser._numbers, strict=True)
        compared += sum(len(numbers.get(fingerprint >> low & mask, array("q"))) for (low, mask), numbers in parts)
        assert chooser.reason(number, "", 9, 9, look(fingerprint)) is None
    assert compared < 5000 * 5000 / 2 / 1000
