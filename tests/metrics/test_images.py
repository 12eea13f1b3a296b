"""Image sets: what they give, what they refuse, and how plug-ins take part."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.levels import pyramid
from metrics import opening as module
from metrics.images import ArrayImageSet, BoxFiltered, ImageSet
from metrics.opening import open_image_set

Images = NDArray[np.uint8]


def save(images: Images, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{k:03d}.png")
    return folder


class _EntryPoint:
    """Stands for an installed plug-in."""

    def __init__(self, name: str, load: Callable[[], Callable[..., ImageSet | None]]) -> None:
        self.name, self.load = name, load


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> list[_EntryPoint]:
    """The installed plug-ins; none but those that a test adds."""
    installed: list[_EntryPoint] = []
    monkeypatch.setattr(module, "entry_points", lambda group: installed if group == "metrics.image_sets" else [])
    return installed


def test_array(scenes: Callable[..., Images]) -> None:
    images = scenes(5, 16)
    array = ArrayImageSet(images, "samples", "run")
    assert (array.name, array.kind, array.num_images, array.resolution) == ("samples", "run", 5, 16)
    np.testing.assert_array_equal(array.read(np.array([3, 0])), images[[3, 0]])
    assert array.digest == ArrayImageSet(images.copy()).digest != ArrayImageSet(images[::-1]).digest


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 3, 16, 16), np.float32),
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((2, 3, 16, 8), np.uint8),
        np.zeros((3, 16, 16), np.uint8),
        np.zeros((0, 3, 16, 16), np.uint8),
    ],
)
def test_array_of_the_wrong_kind(images: NDArray[np.generic]) -> None:
    with pytest.raises(InputError, match=r"samples: images must be uint8 in 0..255 of shape \(n, 3, r, r\), got "):
        ArrayImageSet(images, "samples")  # type: ignore[arg-type]


def test_folder(scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]) -> None:
    images = scenes(12, 16)
    save(images[:11], tmp_path / "set" / "a")
    save(images[11:], tmp_path / "set" / "b")
    folder = open_image_set(tmp_path / "set")
    assert (folder.kind, folder.num_images, folder.resolution) == ("folder", 12, 16)
    np.testing.assert_array_equal(folder.read(np.array([11, 2, 2])), images[[11, 2, 2]])
    save(images[11:], tmp_path / "elsewhere" / "z")
    save(images[:11], tmp_path / "elsewhere" / "deep" / "er")
    assert open_image_set(tmp_path / "elsewhere").digest == folder.digest  # content in order, not names
    save(images[:1], tmp_path / "elsewhere" / "z")
    assert open_image_set(tmp_path / "elsewhere").digest != folder.digest


def test_folder_of_mixed_sizes(scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]) -> None:
    save(scenes(3, 16), tmp_path)
    Image.new("RGB", (24, 24)).save(tmp_path / "002.png")
    mixed = open_image_set(tmp_path)
    assert mixed.resolution is None
    with pytest.raises(InputError, match=r"000.png is 16x16 pixels but .*002.png is 24x24; .*toolkit make-pyramid"):
        mixed.read(np.arange(2))
    assert [image.shape for image in mixed.read_each(np.array([2, 0]))] == [(3, 24, 24), (3, 16, 16)]


def test_folder_of_images_that_are_not_square(tmp_path: Path, plug_ins: list[_EntryPoint]) -> None:
    Image.new("RGB", (24, 16)).save(tmp_path / "wide.png")
    wide = open_image_set(tmp_path)
    with pytest.raises(InputError, match=r"wide.png is 24x16 pixels; this metric needs square images.*make-pyramid"):
        wide.check_uniform()
    assert wide.read_each(np.array([0]))[0].shape == (3, 16, 24)


def test_folder_with_a_truncated_image(
    scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]
) -> None:
    save(scenes(3, 32), tmp_path)
    whole = (tmp_path / "001.png").read_bytes()
    (tmp_path / "001.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"001.png"):
        open_image_set(tmp_path).read(np.arange(3))
    (tmp_path / "001.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"001.png is not an image"):
        open_image_set(tmp_path)


def test_pyramid(make_pyramid: Callable[..., Path], plug_ins: list[_EntryPoint]) -> None:
    path = make_pyramid(6, 32, 1)
    finest = open_image_set(path)
    assert (finest.kind, finest.num_images, finest.resolution) == ("pyramid", 6, 32)
    coarse = open_image_set(path, resolution=8)
    rows = np.array([4, 1])
    np.testing.assert_array_equal(coarse.read(rows), open_pyramid(path).level(3)[rows])
    np.testing.assert_array_equal(coarse.read(rows), pyramid(finest.read(rows))[3])
    assert finest.digest != coarse.digest
    with pytest.raises(InputError, match="has no level of 64 pixels; it has 4, 8, 16, 32"):
        open_image_set(path, resolution=64)
    with pytest.raises(InputError, match="resolution 20 is not a side"):
        open_image_set(path, resolution=20)


def test_pyramid_with_a_flipped_bit(
    make_pyramid: Callable[..., Path], tmp_path: Path, plug_ins: list[_EntryPoint]
) -> None:
    content = bytearray(make_pyramid(6, 32, 1).read_bytes())
    image = open_pyramid(make_pyramid(6, 32, 1)).level(5)[2].tobytes()
    content[bytes(content).index(image) + 1000] ^= 1
    (tmp_path / "damaged.h5").write_bytes(content)
    damaged = open_image_set(tmp_path / "damaged.h5")
    damaged.read(np.array([0, 1, 3]))
    with pytest.raises(InputError, match=r"damaged.h5: image 2 of data32x32 is damaged; build the file again"):
        damaged.read(np.array([0, 1, 2, 3]))


def test_pyramid_cut_short(make_pyramid: Callable[..., Path], tmp_path: Path, plug_ins: list[_EntryPoint]) -> None:
    content = make_pyramid(6, 32, 1).read_bytes()
    (tmp_path / "short.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"short.h5"):
        open_image_set(tmp_path / "short.h5")


def test_coarser_resolution_of_any_set(
    scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]
) -> None:
    images = scenes(3, 32)
    folder = open_image_set(save(images, tmp_path), resolution=16)
    np.testing.assert_array_equal(folder.read(np.arange(3)), pyramid(images)[4])
    assert folder.resolution == 16
    with pytest.raises(InputError, match="has 32 pixels a side; resolution 64 would enlarge it"):
        open_image_set(tmp_path, resolution=64)
    with pytest.raises(InputError, match="side 48 is not a side a pyramid can have"):
        BoxFiltered(ArrayImageSet(np.zeros((1, 3, 48, 48), np.uint8)), 16)


def test_nothing_there(tmp_path: Path, plug_ins: list[_EntryPoint]) -> None:
    with pytest.raises(InputError, match="nope does not exist; name a folder or archive of images, a pyramid"):
        open_image_set(tmp_path / "nope")
    with pytest.raises(InputError, match=r"holds no images .* but nothing"):
        open_image_set(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"notes.txt cannot be opened; name a folder or archive of images, a pyramid"):
        open_image_set(tmp_path / "notes.txt")


def test_plug_in(scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]) -> None:
    asked = []

    def opener(path: Path, *, num_images: int | None, seed: int) -> ImageSet | None:
        asked.append((path, num_images, seed))
        return ArrayImageSet(scenes(2, 32, seed), str(path), "run") if path.suffix == ".run" else None

    plug_ins.append(_EntryPoint("test", lambda: opener))
    (tmp_path / "x.run").touch()
    found = open_image_set(tmp_path / "x.run", num_images=7, seed=3, resolution=16)
    assert asked == [(tmp_path / "x.run", 7, 3)]
    assert (found.kind, found.resolution) == ("run", 16)
    assert open_image_set(save(scenes(1, 16), tmp_path / "folder")).kind == "folder"


def test_plug_in_that_cannot_be_imported(
    scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]
) -> None:
    def broken() -> Callable[..., ImageSet | None]:
        raise ImportError("no module named torch")

    plug_ins.append(_EntryPoint("training", broken))
    assert open_image_set(save(scenes(2, 16), tmp_path / "folder")).num_images == 2  # not needed for this
    (tmp_path / "a.safetensors").touch()
    reason = "the plug-in training cannot be loaded: ImportError: no module named torch"
    with pytest.raises(InputError, match=reason):
        open_image_set(tmp_path / "a.safetensors")
    # A run's sample grids are images too: they must not be taken for the images of the run.
    save(scenes(2, 16), tmp_path / "run" / "samples")
    (tmp_path / "run" / "run.json").touch()
    with pytest.raises(InputError, match=reason):
        open_image_set(tmp_path / "run")


def test_archives_and_arrays_are_the_same_images(
    scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]
) -> None:
    images = scenes(5, 16)
    folder = save(images, tmp_path / "folder")
    shutil.make_archive(str(tmp_path / "set"), "zip", folder)
    shutil.make_archive(str(tmp_path / "set"), "gztar", folder)
    np.save(tmp_path / "nchw.npy", images)
    np.savez(tmp_path / "nhwc.npz", images=images.transpose(0, 2, 3, 1), labels=np.arange(5))
    rows = np.array([4, 0, 3])
    for name, kind in (
        ("set.zip", "archive"),
        ("set.tar.gz", "archive"),
        ("nchw.npy", "array"),
        ("nhwc.npz", "array"),
    ):
        found = open_image_set(tmp_path / name)
        assert (found.kind, found.num_images, found.resolution) == (kind, 5, 16)
        np.testing.assert_array_equal(found.read(rows), images[rows])
    assert open_image_set(tmp_path / "set.zip").digest == open_image_set(folder).digest


def test_bad_arrays(tmp_path: Path, plug_ins: list[_EntryPoint]) -> None:
    np.save(tmp_path / "floats.npy", np.zeros((2, 3, 8, 8), np.float32))
    with pytest.raises(InputError, match=r"floats.npy: images must be uint8 .* got float32 .*numpy.clip"):
        open_image_set(tmp_path / "floats.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"objects.npy cannot be read"):
        open_image_set(tmp_path / "objects.npy")
    np.savez(tmp_path / "cut.npz", images=np.zeros((2, 3, 8, 8), np.uint8))
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-30])
    with pytest.raises(InputError, match=r"cut.npz"):
        open_image_set(tmp_path / "cut.npz")


def test_options_of_generators(scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]) -> None:
    """They reach the plug-ins that take them, and are refused where they would be ignored."""
    seen: list[dict[str, object]] = []

    class _Generator(ArrayImageSet):
        def __init__(self) -> None:
            super().__init__(scenes(4, 16))
            self.num_images = None

    def old(path: Path, *, num_images: int | None, seed: int) -> ImageSet | None:
        return _Generator() if path.name == "old" else None

    def new(path: Path, *, num_images: int | None, seed: int, **options: object) -> ImageSet | None:
        seen.append(options)
        return _Generator() if path.name == "new" else None

    plug_ins += [_EntryPoint("old", lambda: old), _EntryPoint("new", lambda: new)]
    for name in ("old", "new"):
        (tmp_path / name).touch()
        open_image_set(tmp_path / name, truncation=None)
    open_image_set(tmp_path / "new", truncation=0.5)
    assert seen == [{}, {"truncation": 0.5}]
    with pytest.raises(InputError, match="the plug-in old, which opens it, has no option truncation"):
        open_image_set(tmp_path / "old", truncation=0.5)
    with pytest.raises(InputError, match="holds images that are there already; --truncation is for generators"):
        open_image_set(save(scenes(2, 16), tmp_path / "images"), truncation=0.5)


@pytest.mark.parametrize("archive", [False, True])
def test_damaged_images_are_left_out_if_asked(
    scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint], archive: bool
) -> None:
    images = scenes(6, 16)
    folder = save(images, tmp_path / "set")
    whole = (folder / "002.png").read_bytes()
    (folder / "002.png").write_bytes(whole[: len(whole) // 2])  # its header is whole
    (folder / "004.png").write_bytes(b"no image")
    path = Path(shutil.make_archive(str(tmp_path / "set"), "zip", folder)) if archive else folder
    with pytest.raises(InputError, match=r"004.png is not an image"):
        open_image_set(path)
    found = open_image_set(path, skip_bad=True)
    assert (found.num_images, found.resolution) == (4, 16)
    np.testing.assert_array_equal(found.read(np.arange(4)), images[[0, 1, 3, 5]])
    assert [name[-7:] for name in found.details["skipped"]] == ["002.png", "004.png"]
    assert "cut short" in next(iter(found.details["skipped"].values()))
    assert "2 of 6 images" in found.warnings[0]
    (folder / "002.png").write_bytes(whole)
    (folder / "004.png").unlink()
    clean = open_image_set(folder, skip_bad=True)
    assert (clean.num_images, clean.warnings, clean.details) == (5, (), {"skipped": {}})
    assert clean.digest == open_image_set(folder).digest
    for file in folder.iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of its 5 images can be decoded"):
        open_image_set(folder, skip_bad=True)


def test_a_damaged_image_says_how_to_go_on(
    scenes: Callable[..., Images], tmp_path: Path, plug_ins: list[_EntryPoint]
) -> None:
    folder = save(scenes(3, 16), tmp_path / "set")
    whole = (folder / "001.png").read_bytes()
    (folder / "001.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"001.png cannot be decoded .* or leave out such images with --skip-bad"):
        open_image_set(folder).read(np.arange(3))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((0, 3, 8, 8), "it holds no image"),
        ((2, 1, 8, 8), r"repeat grey three times: numpy.repeat\(x, 3, axis=1\)"),
        ((2, 8, 8, 1), r"repeat grey three times: numpy.repeat\(x, 3, axis=3\)"),
        ((5, 8, 8), r"three equal channels: numpy.repeat\(x\[:, None\], 3, axis=1\)"),
        ((2, 4, 8, 8), r"RGB only, drop the alpha channel: x\[:, :3\]"),
        ((2, 8, 8, 4), r"RGB only, drop the alpha channel: x\[..., :3\]"),
        ((2, 8, 8, 7), "RGB only, these have 7 channels"),
        ((3, 8, 8), r"a single image needs an axis before its own: x\[None\]"),
        ((8, 8, 3), r"a single image needs an axis before its own: x\[None\]"),
        ((2, 3, 8, 9), "they are 9x8 pixels: crop them to squares"),
        ((2, 8, 9, 3), "they are 9x8 pixels: crop them to squares"),
        ((8, 8), "give it four axes"),
    ],
)
def test_arrays_are_refused_for_their_own_reason(shape: tuple[int, ...], reason: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=rf"x.npy: images must be uint8 .*{reason}"):
        open_image_set(tmp_path / "x.npy")


GREY = np.array([0, 1, 127, 128, 254, 255], np.uint8).repeat(3 * 16).reshape(6, 3, 4, 4)


@pytest.mark.parametrize(
    "array",
    [
        GREY / 255,
        (GREY / 127.5 - 1).astype(np.float32),
        GREY.astype(np.int64),
        GREY.astype(np.float64),
        GREY.astype(np.uint16) * 257,
        GREY[:, :1],
        GREY[:, 0],
        GREY.transpose(0, 2, 3, 1)[..., :1],
        np.concatenate((GREY, GREY[:, :1]), axis=1),
    ],
)
def test_the_recipe_that_a_message_gives_makes_the_right_images(array: NDArray[np.generic], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError) as refusal:
        open_image_set(tmp_path / "x.npy")
    recipe = re.split(r": |, so ", str(refusal.value).replace(" will do", ""))[-1]
    np.save(tmp_path / "x.npy", eval(recipe, {"x": array, "numpy": np}))
    found = open_image_set(tmp_path / "x.npy")
    np.testing.assert_array_equal(found.read(np.arange(6)), GREY)


def test_numbers_that_no_recipe_fits_are_told_with_their_range(tmp_path: Path) -> None:
    cases = {
        "run from -300 to 7": np.array([-300.0, 7]),
        "run from -1 to 200": np.array([-1, 200]),
        "not finite": np.array([0, np.nan]),
        "x.astype\\('uint8'\\) \\* 255": np.array([True, False]),
    }
    for reason, values in cases.items():
        np.save(tmp_path / "x.npy", values.repeat(48).reshape(2, 3, 4, 4))
        with pytest.raises(InputError, match=reason):
            open_image_set(tmp_path / "x.npy")
