"""CelebA-HQ from deltas of an independent encoder: exact and near."""

import hashlib
import io
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import synthetic_celeba
from celeba_sets import SIDE, copy, make_exact, opened, planes, report_of
from PIL import Image
from synthetic_celeba import SPLITS

from datasets.errors import InputError
from datasets.levels import pyramid
from toolkit.celebahq import released
from toolkit.celebahq.bases import Bases
from toolkit.celebahq.released import Released


@pytest.fixture(scope="module")
def exact_set(tmp_path_factory):
    return make_exact(tmp_path_factory.mktemp("exact") / "CelebA")


@pytest.fixture(scope="module")
def near_set(tmp_path_factory):
    return synthetic_celeba.make(tmp_path_factory.mktemp("near") / "CelebA", count=3)


@pytest.fixture
def celeba(exact_set, tmp_path):
    """To be spoilt."""
    return copy(exact_set, tmp_path / "CelebA")


def test_exact(exact_set):
    """The encoder is hashlib, bz2 and Fernet by themselves; what comes out has the MD5 of the list."""
    source = opened(exact_set)
    assert len(source) == len(exact_set.finals) == 6
    for index, final in enumerate(exact_set.finals):
        item = source[index]
        assert item.size() == (SIDE, SIDE)
        rendered = item.read()
        np.testing.assert_array_equal(planes(rendered), final)
        assert rendered.details["match"] == "exact"
        assert "near" not in rendered.details
        assert hashlib.md5(planes(rendered).tobytes()).hexdigest() == rendered.details["final_md5"]
        assert (rendered.details["idx"], rendered.details["file"]) == (index, exact_set.names[index])
        assert rendered.details["orig_idx"] == int(exact_set.names[index][:6]) - 1
        assert rendered.details["split"] == SPLITS[index]
        assert item.name == exact_set.names[index]
        assert rendered.applied[-1] == "delta"
    with pytest.raises(IndexError):
        source[6]


def test_near(near_set):
    """Bases of today's Pillow and SciPy, which ours are near: no value is worse than the base, none wraps around."""
    source, bases = opened(near_set), Bases(near_set.folder, side=near_set.side)
    for index, (name, proc, final) in enumerate(zip(near_set.names, near_set.procs, near_set.finals, strict=True)):
        rendered = source[index].read()
        base = planes(bases.render(name, near_set.photo(index).read_bytes())).astype(np.int64)
        assert rendered.details["match"] == "near"
        evidence = rendered.details["near"]
        assert evidence["place_confirmed"]
        assert evidence["resolved"] > 0
        assert evidence["base_md5"] != rendered.details["proc_md5"]
        assert evidence["result_md5"] == hashlib.md5(planes(rendered).tobytes()).hexdigest()
        error = np.abs(planes(rendered).astype(np.int64) - final)
        assert (error <= np.abs(base - proc)).all()
        assert (np.abs((base + (final - proc.astype(np.int64))) % 256 - final) > 200).sum() > 100  # it would wrap


def test_strict_refuses_near_ones(near_set):
    with pytest.raises(InputError, match=r"000001\.jpg: the MD5 .* near the released ones, which --strict refuses"):
        opened(near_set, strict=True)[0].read()
    with pytest.raises(InputError, match=r"of the 3 images cannot be made; .*--strict refuses"):
        report_of(near_set, strict=True).require_good()


def test_strict_takes_exact_ones(exact_set):
    np.testing.assert_array_equal(planes(opened(exact_set, strict=True)[2].read()), exact_set.finals[2])


def test_smaller_images_are_levels_of_the_large_ones(exact_set):
    rendered = opened(exact_set, resolution=16)[1].read()
    np.testing.assert_array_equal(planes(rendered), pyramid(exact_set.finals[1])[4])
    assert rendered.applied[-1] == "box-4"
    with pytest.raises(InputError, match="give 64 or less"):
        opened(exact_set, resolution=128)


def test_a_pickle_opens_the_same_set(celeba):
    source = opened(celeba)
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(planes(again[3].read()), celeba.finals[3])
    text = pickle.dumps(source)
    released._reopen.cache_clear()  # as in another process
    celeba.change_list(1, 3, "0" * 32)
    with pytest.raises(InputError, match="has changed since the build began"):
        pickle.loads(text)


@pytest.mark.parametrize("layout", ["plain", "7z folder", "zip", "photographs alone", "unpacked deltas"])
def test_usual_layouts(celeba, tmp_path, layout):
    photos = celeba.folder / "Img" / "img_celeba"
    place = celeba.folder
    if layout == "plain":
        photos.rename(celeba.folder / "img_celeba")
    elif layout == "7z folder":
        (celeba.folder / "Img" / "img_celeba.7z").mkdir()
        photos.rename(celeba.folder / "Img" / "img_celeba.7z" / "img_celeba")
    elif layout == "zip":
        with zipfile.ZipFile(celeba.folder / "Img" / "img_celeba.zip", "w") as archive:
            for name in celeba.names:
                archive.write(photos / name, f"img_celeba/{name}")
        shutil.rmtree(photos)
    elif layout == "photographs alone":
        place = photos
    else:
        with zipfile.ZipFile(celeba.zip) as archive:
            archive.extractall(celeba.deltas / "deltas00000")
        celeba.zip.unlink()
    source = Released(place, celeba.deltas, side=SIDE)
    np.testing.assert_array_equal(planes(source[4].read()), celeba.finals[4])
    assert source[4].stamp
    assert "missing" not in source[4].stamp


def test_previews_are_upright(celeba):
    with Image.open(io.BytesIO(celeba.photo(4).read_bytes())) as picture:
        width, height = picture.size
    assert opened(celeba)[4].preview().shape == (width, height, 3)  # turned, by its EXIF tag
