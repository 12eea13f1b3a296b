"""What every pyramid format must do, in every encoding and in shards; a new file in datasets/formats is tested too."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from format_variants import VARIANTS, bytes_of, names_in, some_images, write

from datasets import formats
from datasets.errors import InputError
from datasets.levels import levels_up_to, name_of, pyramid, resolution_of
from datasets.manifest import labels_digest, level_digest, names_digest, one_hot, row_digest


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    return request.param


def test_every_format_is_tested():
    assert {variant.format for variant in VARIANTS} == set(formats.names())


def test_written_pixels_are_read_back(variant, tmp_path):
    images = some_images()
    manifest = write(variant, variant.path(tmp_path), images)
    reader = formats.open_pyramid(variant.path(tmp_path))
    assert reader.manifest == manifest
    assert reader.encoding == variant.encoding
    assert (manifest.num_images, manifest.resolution, manifest.dtype) == (6, 16, "uint8")
    levels = pyramid(images)
    for level in levels_up_to(4):
        pixels = reader.level(level)
        assert pixels.shape == (6, 3, resolution_of(level), resolution_of(level))
        assert (pixels.dtype, pixels.ndim, len(pixels)) == (np.uint8, 4, 6)
        assert pixels.nbytes == levels[level].nbytes
        assert np.array_equal(pixels, levels[level])
        for index in INDICES:
            found = pixels[index]
            assert found.shape == levels[level][index].shape
            assert np.array_equal(found, levels[level][index])
    assert names_in(tmp_path) == [variant.path(tmp_path).name]


INDICES = [
    0,
    -1,
    np.int64(3),
    slice(1, 5, 2),
    slice(None, None, -1),
    slice(4, 2),
    [4, 0],
    [4, 0, 4, -1, 5],
    np.array([[1, 2], [3, 4]]),
    [],
    range(3),
    np.array([True, False, True, False, False, True]),
    ...,
    (),
    (-1, 2, slice(1, None), slice(None, None, 2)),
    (slice(2, 4), 1),
    ([4, 0], slice(None), 2),
    ([5, 1], 1, slice(None), 3),
    (2, ..., 1),
    ([1, 2], ..., slice(0, 2)),
]


@pytest.mark.parametrize("index", [6, -7, [0, 6], [-7], 1.5, [0.5], "a", None, [True, False], (0, [1, 2]), (0, None)])
def test_indices_that_mean_nothing(variant, tmp_path, index):
    write(variant, variant.path(tmp_path), some_images())
    with pytest.raises(IndexError):
        formats.open_pyramid(variant.path(tmp_path)).level(3)[index]


@pytest.mark.parametrize("level", [2, 3, 4, 7])  # small rows are copied in another way than large ones
def test_gather_gives_copies_in_the_order_asked_for(variant, tmp_path, level):
    images = some_images(7, 128)
    write(variant, variant.path(tmp_path), images)
    expected = pyramid(images)[level]
    pixels = formats.open_pyramid(variant.path(tmp_path)).level(level)
    for rows in ([6, 0, 3, 3, 1], np.array([2], np.uint8), [], [-1, -7], range(7)):
        found = pixels.gather(rows)
        assert found.flags.c_contiguous
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected[np.asarray(rows, np.int64)])
    out = np.zeros((3, *pixels.shape[1:]), np.uint8)
    assert pixels.gather([5, 1, 5], out) is out
    assert np.array_equal(out, expected[[5, 1, 5]])
    out[:] = 0  # and what is gathered belongs to the caller
    assert np.array_equal(pixels.gather([5, 1, 5]), expected[[5, 1, 5]])
    for rows in (7, [7], [-8], [0.0], [[0]], [True]):
        with pytest.raises(IndexError):
            pixels.gather(rows)
    for wrong in (out[:2], out.astype(np.int8), np.zeros((*out.shape[1:], 3), np.uint8).transpose(3, 0, 1, 2)):
        with pytest.raises(ValueError, match="out must be a C-contiguous uint8 array"):
            pixels.gather([0, 1, 2], wrong)


def test_digests_are_of_the_pixels_and_of_the_names(variant, tmp_path):
    images = some_images()
    manifest = write(variant, variant.path(tmp_path), images)
    reader = formats.open_pyramid(variant.path(tmp_path))
    for level, pixels in pyramid(images).items():
        expected = np.array([np.frombuffer(row_digest(image), np.uint8) for image in pixels])
        assert np.array_equal(reader.row_digests(level), expected)
        assert manifest.level_digests[name_of(level)] == level_digest(expected)
    assert manifest.sources_digest == names_digest(reader.sources())


def test_equal_content_has_equal_digests_in_every_format(tmp_path):
    images = some_images(7, 32)
    found = set()
    for variant in VARIANTS:
        (tmp_path / str(variant)).mkdir()
        manifest = write(variant, variant.path(tmp_path / str(variant)), images, labels=[0, 1, 0, 2, 1, 1, 0])
        found.add((manifest.content_digest, manifest.sources_digest, manifest.labels_digest))
    assert len(found) == 1


def test_labels_are_read_back(variant, tmp_path):
    images, labels = some_images(), [2, 0, 1, 1, 0, 2]
    names = ["cat", "dög", "owl", "a class without images"]
    manifest = write(variant, variant.path(tmp_path), images, labels=labels, label_names=names)
    reader = formats.open_pyramid(variant.path(tmp_path))
    assert reader.labels().dtype == np.int64
    assert reader.labels().tolist() == labels
    assert (manifest.num_classes, manifest.label_names) == (4, names)
    assert manifest.labels_digest == labels_digest(labels)
    assert reader.manifest == manifest
    assert one_hot(reader.labels(), manifest.num_classes).argmax(axis=1).tolist() == labels


def test_labels_without_names_and_no_labels(variant, tmp_path):
    manifest = write(variant, variant.path(tmp_path), some_images(), labels=np.array([0, 0, 4, 1, 0, 0], np.uint8))
    assert (manifest.num_classes, manifest.label_names) == (5, None)
    assert formats.open_pyramid(variant.path(tmp_path)).labels().tolist() == [0, 0, 4, 1, 0, 0]
    manifest = write(variant, variant.path(tmp_path), some_images())
    assert (manifest.num_classes, manifest.label_names, manifest.labels_digest) == (None, None, None)
    assert formats.open_pyramid(variant.path(tmp_path)).labels() is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": [0, 1]}, r"labels must be one whole number for each of 6 rows, got int64 of \(2,\)"),
        ({"labels": [0.5] * 6}, "labels must be one whole number for each of 6 rows, got float64"),
        ({"labels": [0, 0, 0, 0, 0, 3], "label_names": ["a", "b", "c"]}, "label 3 is not one of the 3 classes, 0..2"),
        ({"labels": [0, -1, 0, 0, 0, 0]}, "label -1 is not one of the 1 classes"),
        ({"label_names": ["a"]}, "names of classes without labels"),
        ({"names": ["a"]}, "1 names for 6 rows"),
    ],
)
def test_labels_and_names_that_do_not_fit(variant, tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        write(variant, variant.path(tmp_path), some_images(), **wrong)
    assert names_in(tmp_path) == []


def test_many_classes_with_long_names(variant, tmp_path):
    names = [f"{k:05d} " + "ü" * 90 for k in range(3000)]  # more than fits an attribute of HDF5
    write(variant, variant.path(tmp_path), some_images(), labels=[2999, 1, 2, 3, 4, 5], label_names=names)
    assert formats.open_pyramid(variant.path(tmp_path)).manifest.label_names == names


def test_recognised_by_content_not_by_name_and_by_one_format_only(variant, tmp_path):
    path = variant.path(tmp_path)
    write(variant, path, some_images())
    moved = path.rename(tmp_path / "no suffix")
    assert [other for other in formats.names() if formats.load(other).recognises(moved)] == [variant.format]
    assert formats.is_pyramid(moved)
    assert formats.open_pyramid(moved).manifest.num_images == 6
    impostor = tmp_path / f"text{variant.suffix}"
    impostor.write_text("not a pyramid")
    assert not formats.is_pyramid(impostor)
    with pytest.raises(InputError, match="is not a pyramid"):
        formats.open_pyramid(impostor)


def test_all_its_files(variant, tmp_path):
    write(variant, variant.path(tmp_path), some_images())
    files = formats.open_pyramid(variant.path(tmp_path)).files()
    assert sorted(files) == sorted(file for file in tmp_path.rglob("*") if file.is_file())


def test_names_of_sources_of_every_kind(variant, tmp_path):
    odd = ["a b.png", "ü/日本.jpg", 'quote".png', "new\nline.png", "\udcff raw byte.png", "x" * 5000]
    write(variant, variant.path(tmp_path), some_images(), names=odd)
    assert formats.open_pyramid(variant.path(tmp_path)).sources() == odd


@pytest.mark.parametrize("name", ["a b", "ü日本", "quote\"'", "new\nline", "\udcff", "-dash", "%s{}", ".hidden"])
def test_odd_names_of_the_pyramid_itself(variant, tmp_path, name):
    path = tmp_path / f"{name}{variant.suffix}"
    images = some_images(3, 8)
    write(variant, path, images)
    assert np.array_equal(formats.open_pyramid(path).level(3), images)
    assert names_in(tmp_path) == [path.name]


def test_any_order_of_writing_gives_the_same_content(variant, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    one, two = variant.path(tmp_path / "1"), variant.path(tmp_path / "2")
    first = write(variant, one, some_images())
    second = write(variant, two, some_images(), order=[3, 0, 5, 1, 4, 2])
    assert first == second
    if variant.suffix == ".h5":  # where bytes lie in an LMDB file depends on the order
        assert bytes_of(one) == bytes_of(two)


def test_rows_packed_by_many_threads_and_processes(variant, tmp_path):
    images = some_images(64, 8)
    parts = [list(range(start, 64, 4)) for start in range(4)]
    with variant.create(variant.path(tmp_path), 64, 8) as writer:
        with ThreadPoolExecutor(2) as pool:
            packed = list(pool.map(lambda part: writer.pack(pyramid(images[part])), parts[:2]))
        with multiprocessing.get_context("spawn").Pool(1) as processes:
            packed += processes.map(pickle.loads(pickle.dumps(writer.pack)), [pyramid(images[p]) for p in parts[2:]])
        for part, values in zip(parts, packed, strict=True):
            writer.write(part, values)
        writer.finish([str(row) for row in range(64)])
    assert np.array_equal(formats.open_pyramid(variant.path(tmp_path)).level(3), images)


def test_nothing_under_the_name_before_the_end(variant, tmp_path):
    path = variant.path(tmp_path)
    with variant.create(path, 1, 4) as writer:
        assert not path.exists()
        writer.write([0], writer.pack(pyramid(some_images(1, 4))))
        writer.flush()
        assert not path.exists()
        assert not any(formats.is_pyramid(left) for left in tmp_path.rglob("*"))
        writer.finish(["0"])
        assert path.exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("rows", [0, 3, 6])
def test_an_exception_inside_the_writer_leaves_nothing(variant, tmp_path, rows, error):
    path, images = variant.path(tmp_path), some_images()
    with pytest.raises(error), variant.create(path, 6, 16) as writer:  # noqa: PT012
        if rows:
            writer.write(range(rows), writer.pack(pyramid(images[:rows])))
        raise error
    assert names_in(tmp_path) == []


def test_a_writer_that_is_left_without_finish_leaves_nothing(variant, tmp_path):
    with variant.create(variant.path(tmp_path), 1, 4) as writer:
        writer.write([0], writer.pack(pyramid(some_images(1, 4))))
    assert names_in(tmp_path) == []


def test_an_exception_keeps_the_data_set_that_was_there(variant, tmp_path):
    path = variant.path(tmp_path)
    manifest = write(variant, path, some_images())
    with pytest.raises(RuntimeError), variant.create(path, 4, 4):
        raise RuntimeError
    assert formats.open_pyramid(path).manifest == manifest
    write(variant, path, some_images(4, 8))
    assert formats.open_pyramid(path).manifest.num_images == 4
    assert names_in(tmp_path) == [path.name]


def test_two_writers_of_one_name(variant, tmp_path):
    path = variant.path(tmp_path)
    with variant.create(path, 3, 8) as writer:
        for resume in (False, True):
            with pytest.raises(InputError, match="another process is writing"):
                variant.create(path, 3, 8, resume=resume)
        writer.write(range(3), writer.pack(pyramid(some_images(3, 8))))
        writer.finish(["a", "b", "c"])
    assert np.array_equal(formats.open_pyramid(path).level(3), some_images(3, 8))


def test_finish_refuses_missing_rows(variant, tmp_path):
    path, images = variant.path(tmp_path), some_images()
    with (  # noqa: PT012
        pytest.raises(ValueError, match="2 of 6 rows were not written, the first is 1"),
        variant.create(path, 6, 16) as writer,
    ):
        writer.write([0, 2, 3, 5], writer.pack(pyramid(images[[0, 2, 3, 5]])))
        writer.finish(["x"] * 6)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("row", [-1, 2, 10**9])
def test_rows_that_do_not_exist_are_refused(variant, tmp_path, row):
    with (
        pytest.raises(ValueError, match=rf"row {row} is not in 0..1"),
        variant.create(variant.path(tmp_path), 2, 4) as writer,
    ):
        writer.write([row], writer.pack(pyramid(some_images(1, 4))))


def test_as_many_rows_as_images(variant, tmp_path):
    with (
        pytest.raises(ValueError, match=r"2 images need as many rows, got rows of shape \(1,\)"),
        variant.create(variant.path(tmp_path), 2, 4) as writer,
    ):
        writer.write([0], writer.pack(pyramid(some_images(2, 4))))


def test_levels_of_the_wrong_shape_or_kind_are_refused(variant, tmp_path):
    good = pyramid(some_images(2, 8))
    with variant.create(variant.path(tmp_path), 2, 8) as writer:
        for bad in (
            {**good, 3: good[3][:1]},
            {**good, 2: good[2].astype(np.float32)},
            {3: good[3]},
            {**good, 2: good[3]},
        ):
            with pytest.raises(ValueError, match="must be uint8 of shape"):
                writer.pack(bad)
    assert names_in(tmp_path) == []


def test_what_can_never_become_a_pyramid(variant, tmp_path):
    path = variant.path(tmp_path)
    with pytest.raises(InputError, match=r"needs at least one image, got 0|0 images cannot be cut"):
        formats.create(path, 0, 16, shards=variant.shards)
    with pytest.raises(InputError, match="resolution 12 is not a side"):
        variant.create(path, 4, 12)
    with pytest.raises(InputError, match=r"cannot write .*: No such file or directory"):
        variant.create(variant.path(tmp_path / "missing"), 4, 4)
    with pytest.raises(InputError, match=r"cannot store pixels as 'jpeg'; use one of raw"):
        formats.create(path, 4, 4, shards=variant.shards, encoding="jpeg")
    path.mkdir()
    (path / "photo.jpg").write_text("precious")
    with pytest.raises(InputError, match="is a folder"):
        variant.create(path, 4, 4)
    assert [file.name for file in tmp_path.rglob("*")] == [path.name, "photo.jpg"]


def test_a_level_that_is_not_there(variant, tmp_path):
    write(variant, variant.path(tmp_path), some_images(2, 8))
    reader = formats.open_pyramid(variant.path(tmp_path))
    for read in (reader.level, reader.row_digests):
        with pytest.raises(InputError, match=r"has no level of 16 pixels; it has 4, 8"):
            read(4)


def test_pixels_cannot_be_changed_by_accident(variant, tmp_path):
    write(variant, variant.path(tmp_path), some_images())
    pixels = formats.open_pyramid(variant.path(tmp_path)).level(2)
    with pytest.raises(TypeError, match="does not support item assignment"):
        pixels[0] = 0
    before = bytes_of(variant.path(tmp_path))
    for part in (pixels[0], pixels[:2], pixels[[0, 1]], np.asarray(pixels)):
        if part.flags.writeable:  # then it is a copy
            part[...] = 0
    assert bytes_of(variant.path(tmp_path)) == before


def test_readers_and_pixels_travel_light(variant, tmp_path):
    images = some_images(200, 16)
    write(variant, variant.path(tmp_path), images)
    reader = formats.open_pyramid(variant.path(tmp_path))
    for parcel in (pickle.dumps(reader.level(4)), pickle.dumps(reader)):
        assert len(parcel) < 5000
    assert np.array_equal(pickle.loads(parcel).level(4), images)
    assert np.array_equal(pickle.loads(pickle.dumps(reader.level(4))), images)


def _rows(reader, level, rows):
    return reader.level(level).gather(rows).tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_works_in_other_processes(variant, tmp_path, method):
    images = some_images(40, 16)
    write(variant, variant.path(tmp_path), images)
    reader = formats.open_pyramid(variant.path(tmp_path))
    reader.level(4)
    parts = [list(range(start, 40, 7)) for start in range(7)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        rows = pool.starmap(_rows, [(reader, 4, part) for part in parts])
    assert rows == [images[part].tobytes() for part in parts]


def test_a_reader_works_in_threads(variant, tmp_path):
    images = some_images(40, 32)
    levels = pyramid(images)
    write(variant, variant.path(tmp_path), images)
    reader = formats.open_pyramid(variant.path(tmp_path))
    failures = []

    def read(seed):
        generator = np.random.default_rng(seed)
        for _ in range(50):
            level, rows = int(generator.integers(2, 6)), generator.integers(0, 40, 8)
            if not np.array_equal(reader.level(level).gather(rows), levels[level][rows]):
                failures.append((level, rows))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
