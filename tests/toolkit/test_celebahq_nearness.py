"""The near mode against its proof: no value is farther from the released image than the base is from the recipe's."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data
from synthetic_celeba import enhanced, photograph, recipe

from datasets.errors import InputError
from toolkit.celebahq import deltas, nearness
from toolkit.celebahq.nearness import apply_near
from toolkit.celebahq.place import locate

SIDE = 256


def reduced(image, side):
    """A square of a photograph, (3, side, side)."""
    least = min(image.shape[:2])
    picture = Image.fromarray(image[:least, -least:]).resize((side, side), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def blurred(image, factor):
    """What an enlargement by the Lanczos filter makes of the image at a fraction of its size."""
    side = image.shape[1]
    picture = Image.fromarray(image.transpose(1, 2, 0)).resize((side // factor, side // factor), Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS)).transpose(2, 0, 1))


def shaken(image, levels, seed=0):
    """The image with an error of at most so many levels in every value."""
    error = np.random.default_rng(seed).integers(-levels, levels + 1, image.shape)
    return np.clip(image.astype(np.int64) + error, 0, 255).astype(np.uint8)


def distance(one, other):
    return np.abs(one.astype(np.int64) - other)


@pytest.fixture(scope="module", params=["astronaut", "chelsea", "coffee"])
def pair(request):
    """Base and final: a photograph enlarged four times, and the photograph itself."""
    final = reduced(getattr(data, request.param)(), SIDE)
    return blurred(final, 4), final


@pytest.mark.parametrize("levels", [1, 3, 8])
def test_no_value_is_worse_than_the_base(pair, levels):
    """The theorem, on real photographs and the changes that restore them; and that the plain sum does wrap."""
    proc, final = pair
    change = final.astype(np.int64) - proc
    base = shaken(proc, levels)
    delta = deltas.difference(proc, final)
    result, evidence = apply_near(base, delta, "x.jpg")
    within = np.abs(change) <= 127
    assert within.mean() > 0.999
    assert (distance(result, final) <= distance(base, proc))[within].all()
    assert distance(result, final)[within].max() <= levels
    beyond = distance(result, final)[~within] > levels
    assert beyond.sum() < 2e-4 * result.size  # single values, not noise
    assert np.hypot(*evidence["displacement"]) < nearness.CONFIRMED
    assert evidence["place_confirmed"] or evidence["displacement_error"] > 0.1  # not seen, and said so
    wrapped = distance(deltas.apply(base, delta), final)
    if (wrapped > 100).any():
        assert evidence["resolved"] > 0
        assert (wrapped > 100).sum() > 3 * beyond.sum()
    assert evidence["difference_at_least"] <= levels


def test_highlights_would_turn_black():
    """The photograph of the astronaut has white parts: added modulo 256, thousands of values wrap around."""
    final = reduced(data.astronaut(), SIDE)
    proc = blurred(final, 2)
    base, delta = shaken(proc, 2), deltas.difference(proc, final)
    result, evidence = apply_near(base, delta, "x.jpg")
    wrapped = int((distance(deltas.apply(base, delta), final) > 200).sum())
    assert wrapped > 1000
    assert (distance(result, final) > 2)[np.abs(final.astype(np.int64) - proc) <= 127].sum() == 0
    assert (distance(result, final) > 2).sum() < 10
    assert evidence["resolved"] == int((result != deltas.apply(base, delta)).sum()) >= wrapped
    assert evidence["difference_at_least"] in (1, 2)


def test_all_values_of_the_stated_regime():
    """The three guarantees in the module's text, for all pairs of base and final."""
    final, proc = np.meshgrid(np.arange(256), np.arange(256))
    change = final - proc
    signed = change.astype(np.uint8).view(np.int8).astype(np.int16)
    for error in (-40, -16, -3, -1, 0, 1, 3, 16, 40):
        base = np.clip(proc + error, 0, 255).astype(np.int16)
        for reach in (16, 48):
            found = nearness._signed(base + signed, signed, reach)
            sure = np.abs(change) <= nearness.SURE
            if abs(error) <= reach:
                large = (np.abs(change) <= 191) & (final >= 2 * reach) & (final <= 255 - 2 * reach)
                sure |= (np.abs(change) <= 127) | large
            assert (np.abs(found - final) <= np.abs(base - proc))[sure].all(), (error, reach)
            if reach == 16:
                assert not (np.abs(found - final) <= np.abs(base - proc)).all()  # the regime has an outside


def test_an_exact_base_gives_the_exact_image(pair):
    proc, final = pair
    result, evidence = apply_near(proc, deltas.difference(proc, final), "x.jpg")
    within = np.abs(final.astype(np.int64) - proc) <= 127
    np.testing.assert_array_equal(result[within], final[within])
    assert evidence["difference_at_least"] == 0


@pytest.mark.parametrize("how", ["shifted", "turned", "other photograph", "mirrored"])
def test_another_base_is_refused(pair, how):
    """Never noise, nor a ghost: what is not near is a bad image."""
    proc, final = pair
    base = {
        "shifted": np.roll(proc, 12, axis=2),
        "turned": np.rot90(proc, axes=(1, 2)),
        "other photograph": blurred(reduced(data.rocket(), SIDE), 4),
        "mirrored": proc[:, :, ::-1],
    }[how]
    with pytest.raises(InputError, match=r"^x\.jpg: the pixels made from the photograph are not near those") as error:
        apply_near(np.ascontiguousarray(base), deltas.difference(proc, final), "x.jpg")
    assert "\n" not in str(error.value)


def test_a_base_of_other_brightness_is_refused():
    final = reduced(data.astronaut(), SIDE)
    proc = blurred(final, 2)
    base = np.clip(proc.astype(np.int64) + 40, 0, 255).astype(np.uint8)
    with pytest.raises(InputError, match=r"lead out of the grey levels|is off by about"):
        apply_near(base, deltas.difference(proc, final), "x.jpg")


def edits(proc):
    """Edits of one place, of colours, and of light, of a base (3, side, side)."""
    side = proc.shape[1]
    box, background, light = proc.copy(), proc.copy(), proc.astype(np.float64)
    box[:, 170:220, 20:100] = np.array([255, 0, 0])[:, None, None]
    y, x = np.mgrid[:side, :side] / side
    background[:, ((x - 0.5) / 0.35) ** 2 + ((y - 0.55) / 0.45) ** 2 > 1] = 128
    light += 15 * np.sin(6 * x + 3 * y)
    grey = np.repeat(proc.mean(0, keepdims=True), 3, 0)
    return {"box": box, "background": background, "light": light, "grey": grey}


@pytest.mark.parametrize("edit", ["box", "background", "light", "grey"])
def test_edits_of_a_near_base_are_kept(edit):
    """They were refused once, for want of details in common."""
    proc = reduced(data.chelsea(), SIDE)
    final = np.clip(np.rint(edits(proc)[edit]), 0, 255).astype(np.uint8)
    base = shaken(proc, 1)
    result, evidence = apply_near(base, deltas.difference(proc, final), "x.jpg")
    assert (distance(result, final) > distance(base, proc))[distance(final, proc) <= 127].sum() == 0
    assert evidence["place_confirmed"] or edit not in ("background", "grey")


@pytest.mark.parametrize("pixels", [1, 3])
@pytest.mark.parametrize("edit", ["sharpen", "background", "grey"])
def test_no_displaced_base_is_confirmed(edit, pixels):
    """A pixel is seen; the displacement is told to a tenth of one."""
    proc = reduced(data.chelsea(), SIDE)
    picture = Image.fromarray(proc.transpose(1, 2, 0)).filter(ImageFilter.UnsharpMask(2, 150, 0))
    final = {**edits(proc), "sharpen": np.asarray(picture).transpose(2, 0, 1)}[edit]
    final = np.ascontiguousarray(np.clip(np.rint(final), 0, 255).astype(np.uint8))
    base = shaken(np.roll(proc, pixels, 2), 1)
    found = locate(base, deltas.difference(proc, final))
    assert abs(abs(found.right) - pixels) < 0.1
    assert abs(found.down) < 0.1
    with pytest.raises(InputError, match=r"the delta fits \d\.\d pixels away .* edit one that cannot be checked"):
        apply_near(base, deltas.difference(proc, final), "x.jpg")


@pytest.mark.parametrize("change", ["blur", "sharpen", "brighter"])
def test_other_enhancements_are_confirmed(change):
    proc = reduced(data.chelsea(), SIDE)
    picture = Image.fromarray(proc.transpose(1, 2, 0))
    picture = {
        "blur": lambda: picture.filter(ImageFilter.GaussianBlur(2)),
        "sharpen": lambda: picture.filter(ImageFilter.UnsharpMask(2, 150, 0)),
        "brighter": lambda: picture.point(lambda value: min(255, round(value * 1.15) + 4)),
    }[change]()
    final = np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
    base = shaken(proc, 3)
    result, evidence = apply_near(base, deltas.difference(proc, final), "x.jpg")
    assert (distance(result, final) <= distance(base, proc)).all()
    assert evidence["place_confirmed"]


def test_noise_says_nothing_of_its_place(rng):
    """As a delta of noise fits every base, that is recorded; nothing wraps around all the same."""
    proc = reduced(data.coffee(), SIDE)
    final = np.clip(proc + np.rint(rng.normal(0, 4, proc.shape)), 0, 255).astype(np.uint8)
    base = shaken(proc, 3)
    result, evidence = apply_near(base, deltas.difference(proc, final), "x.jpg")
    assert not evidence["place_confirmed"]
    assert distance(result, final).max() <= 3


def test_a_delta_that_replaces_its_base():
    """Another picture instead of the base: both ends of the range are open, and decided by the values around."""
    proc, final = reduced(data.coffee(), SIDE), reduced(data.astronaut(), SIDE)
    base = shaken(proc, 3)
    result, evidence = apply_near(base, deltas.difference(proc, final), "x.jpg")
    wrong = distance(result, final) > 3
    assert evidence["doubtful"] > 1000
    assert wrong.mean() < 3e-3
    assert (distance(deltas.apply(base, deltas.difference(proc, final)), final) > 3).sum() > 5 * wrong.sum()


def test_random_deltas_are_refused(rng):
    """Nothing can be told from them, and what came out would be noise."""
    proc = reduced(data.coffee(), SIDE)
    with pytest.raises(InputError, match="no edges in common"):
        apply_near(shaken(proc, 1), rng.integers(0, 256, proc.shape, dtype=np.uint8), "x.jpg")


def test_drawn_faces_of_another_recipe():
    """The synthetic set with its recipe's half pixel moved: large errors at drawn lines, and still nothing wraps."""
    jpeg, marks = photograph(0)
    proc = recipe(jpeg, marks, 128)
    final = enhanced(proc, 0)
    base = recipe(jpeg, marks + 0.25, 128)
    assert distance(base, proc).max() > 16
    result, evidence = apply_near(base, deltas.difference(proc, final), "x.jpg")
    assert (distance(result, final) > distance(base, proc)).mean() < 2e-4
    assert evidence["reach"] > nearness.REACH
