"""What every pyramid format must do; a new file in datasets/formats is tested by being there."""

import multiprocessing
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from datasets import formats
from datasets.errors import InputError
from datasets.levels import levels_up_to, pyramid, resolution_of
from datasets.manifest import Manifest, level_digest, names_digest, row_digest

pytestmark = pytest.mark.parametrize("name", formats.names())


def some_images(count=6, side=16):
    return np.random.default_rng(count).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def write(path, images, order=None, names=None, provenance=None):
    with formats.writer_for(path)(path, len(images), images.shape[-1]) as writer:
        for row in order if order is not None else range(len(images)):
            writer.write(row, pyramid(images[row]), names[row] if names else f"{row}.png")
        return writer.finish({"crop": "centre"}, provenance or {})


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def path_for(name, folder):
    return folder / f"set{formats.load(name).SUFFIX}"


def bytes_of(path):
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return b"".join(file.read_bytes() for file in files)


def test_written_pixels_are_read_back(name, tmp_path):
    images = some_images()
    manifest = write(path_for(name, tmp_path), images)
    reader = formats.open_pyramid(path_for(name, tmp_path))
    assert reader.manifest == manifest
    assert (manifest.num_images, manifest.resolution, manifest.dtype) == (6, 16, "uint8")
    levels = pyramid(images)
    for level in levels_up_to(4):
        pixels = reader.level(level)
        assert pixels.shape == (6, 3, resolution_of(level), resolution_of(level))
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, levels[level])
        assert np.array_equal(pixels[[4, 0]], levels[level][[4, 0]])
        assert np.array_equal(pixels[-1, 2, 1:, ::2], levels[level][-1, 2, 1:, ::2])
    assert names_in(tmp_path) == [path_for(name, tmp_path).name]


def test_digests_are_of_the_pixels_and_of_the_names(name, tmp_path):
    images = some_images()
    manifest = write(path_for(name, tmp_path), images)
    reader = formats.open_pyramid(path_for(name, tmp_path))
    for level, pixels in pyramid(images).items():
        expected = np.array([np.frombuffer(row_digest(image), np.uint8) for image in pixels])
        assert np.array_equal(reader.row_digests(level), expected)
        side = resolution_of(level)
        assert manifest.level_digests[f"data{side}x{side}"] == level_digest(expected)
    assert manifest.sources_digest == names_digest(reader.sources())


def test_recognised_by_content_not_by_name_and_by_one_format_only(name, tmp_path):
    path = path_for(name, tmp_path)
    write(path, some_images())
    moved = path.rename(tmp_path / "no suffix")
    assert [other for other in formats.names() if formats.load(other).recognises(moved)] == [name]
    assert formats.is_pyramid(moved)
    assert formats.open_pyramid(moved).manifest.num_images == 6
    impostor = tmp_path / f"text{formats.load(name).SUFFIX}"
    impostor.write_text("not a pyramid")
    assert not formats.is_pyramid(impostor)
    with pytest.raises(InputError, match="is not a pyramid"):
        formats.open_pyramid(impostor)


def test_names_of_sources_of_every_kind(name, tmp_path):
    odd = ["a b.png", "ü/日本.jpg", 'quote".png', "new\nline.png", "\udcff raw byte.png", "x" * 5000]
    write(path_for(name, tmp_path), some_images(), names=odd)
    assert formats.open_pyramid(path_for(name, tmp_path)).sources() == odd


def test_any_order_of_writing_gives_the_same_bytes(name, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    one, two = path_for(name, tmp_path / "1"), path_for(name, tmp_path / "2")
    first = write(one, some_images())
    second = write(two, some_images(), order=[3, 0, 5, 1, 4, 2])
    assert first == second
    assert bytes_of(one) == bytes_of(two)


def test_rows_written_by_many_threads(name, tmp_path):
    images = some_images(64, 8)
    path = path_for(name, tmp_path)
    with formats.writer_for(path)(path, 64, 8) as writer:

        def part(start):
            for row in range(start, 64, 4):
                writer.write(row, pyramid(images[row]), str(row))

        threads = [threading.Thread(target=part, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.finish({}, {})
    assert np.array_equal(formats.open_pyramid(path).level(3), images)


def test_nothing_under_the_name_before_the_end(name, tmp_path):
    path = path_for(name, tmp_path)
    with formats.writer_for(path)(path, 1, 4) as writer:
        assert not path.exists()
        writer.write(0, pyramid(some_images(1, 4)[0]), "0")
        assert not path.exists()
        writer.finish({}, {})
        assert path.exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("rows", [0, 3, 6])
def test_an_exception_inside_the_writer_leaves_nothing(name, tmp_path, rows, error):
    path, images = path_for(name, tmp_path), some_images()
    with pytest.raises(error), formats.writer_for(path)(path, 6, 16) as writer:  # noqa: PT012
        for row in range(rows):
            writer.write(row, pyramid(images[row]), str(row))
        raise error
    assert names_in(tmp_path) == []


def test_a_writer_that_is_left_without_finish_leaves_nothing(name, tmp_path):
    path = path_for(name, tmp_path)
    with formats.writer_for(path)(path, 1, 4) as writer:
        writer.write(0, pyramid(some_images(1, 4)[0]), "0")
    assert names_in(tmp_path) == []


def test_an_exception_keeps_the_data_set_that_was_there(name, tmp_path):
    path = path_for(name, tmp_path)
    manifest = write(path, some_images())
    with pytest.raises(RuntimeError), formats.writer_for(path)(path, 1, 4):
        raise RuntimeError
    assert formats.open_pyramid(path).manifest == manifest
    write(path, some_images(2, 8))
    assert formats.open_pyramid(path).manifest.num_images == 2


def test_finish_refuses_missing_rows(name, tmp_path):
    path, images = path_for(name, tmp_path), some_images()
    with (  # noqa: PT012
        pytest.raises(ValueError, match="2 of 6 rows were not written, the first is 1"),
        formats.writer_for(path)(path, 6, 16) as writer,
    ):
        for row in (0, 2, 3, 5):
            writer.write(row, pyramid(images[row]), str(row))
        writer.finish({}, {})
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("row", [-1, 2, 10**9])
def test_rows_that_do_not_exist_are_refused(name, tmp_path, row):
    path = path_for(name, tmp_path)
    with (
        pytest.raises(ValueError, match=rf"row {row} is not in 0..1"),
        formats.writer_for(path)(path, 2, 4) as writer,
    ):
        writer.write(row, pyramid(some_images(1, 4)[0]), "0")


def test_levels_of_the_wrong_shape_or_kind_are_refused(name, tmp_path):
    path = path_for(name, tmp_path)
    good = pyramid(some_images(1, 8)[0])
    for bad in ({**good, 3: good[3][:1]}, {**good, 2: good[2].astype(np.float32)}, {**good, 2: good[3]}):
        with pytest.raises(ValueError, match="must be uint8 of shape"), formats.writer_for(path)(path, 1, 8) as writer:
            writer.write(0, bad, "0")
    with pytest.raises(KeyError), formats.writer_for(path)(path, 1, 8) as writer:
        writer.write(0, {3: good[3]}, "0")
    assert names_in(tmp_path) == []


def test_an_empty_data_set_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="needs at least one image, got 0"):
        formats.writer_for(path_for(name, tmp_path))(path_for(name, tmp_path), 0, 16)
    assert names_in(tmp_path) == []


def test_a_missing_folder_is_one_clear_error(name, tmp_path):
    path = path_for(name, tmp_path / "missing")
    with pytest.raises(InputError, match=r"cannot write .*: No such file or directory"):
        formats.writer_for(path)(path, 1, 4)


def test_a_level_that_is_not_there(name, tmp_path):
    write(path_for(name, tmp_path), some_images(2, 8))
    with pytest.raises(InputError, match=r"has no level of 16 pixels; it has 4, 8"):
        formats.open_pyramid(path_for(name, tmp_path)).level(4)


def test_pixels_cannot_be_changed_by_accident(name, tmp_path):
    write(path_for(name, tmp_path), some_images())
    with pytest.raises(ValueError, match="read-only"):
        formats.open_pyramid(path_for(name, tmp_path)).level(2)[0] = 0


def test_a_reader_travels_light(name, tmp_path):
    images = some_images(200, 16)
    write(path_for(name, tmp_path), images)
    reader = formats.open_pyramid(path_for(name, tmp_path))
    reader.level(4)
    parcel = pickle.dumps(reader)
    assert len(parcel) < 5000
    assert np.array_equal(pickle.loads(parcel).level(4), images)


def _row(reader, level, row):
    return reader.level(level)[row].tobytes()


def test_a_reader_works_in_forked_workers_and_threads(name, tmp_path):
    images = some_images(40, 16)
    write(path_for(name, tmp_path), images)
    reader = formats.open_pyramid(path_for(name, tmp_path))
    reader.level(4)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        rows = pool.starmap(_row, [(reader, 4, row) for row in range(40)])
    assert rows == [image.tobytes() for image in images]


KILLED = """
import sys, time
import numpy as np
from datasets.formats import writer_for
from datasets.levels import pyramid
path, rows = sys.argv[1], int(sys.argv[2])
writer = writer_for(path)(path, 4, 8).__enter__()
for row in range(rows):
    writer.write(row, pyramid(np.zeros((3, 8, 8), np.uint8)), "0")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("rows", [2, 4])
def test_a_killed_writer_leaves_nothing_that_looks_whole(name, tmp_path, rows):
    path = path_for(name, tmp_path)
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(rows)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert not path.exists()
    for leftover in tmp_path.iterdir():  # hidden, and not to be opened under any name
        assert leftover.name.startswith(".")
        assert leftover.name.endswith(".partial")
        with pytest.raises(InputError, match=r"has no manifest|cannot be read|is not a pyramid"):
            formats.open_pyramid(leftover)
    write(path, some_images(2, 8))  # and it does not stand in the way
    assert formats.open_pyramid(path).manifest.num_images == 2


def test_a_truncated_data_set_is_refused_or_its_pixels_are_whole(name, tmp_path):
    path = path_for(name, tmp_path)
    images = some_images(3, 16)
    write(path, images)
    if not path.is_file():
        path = max((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    content = path.read_bytes()
    for size in [0, 1, 7, 8, 100, *range(len(content) // 3, len(content), len(content) // 7), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"cut short|cannot be read|is not a pyramid"):
            formats.open_pyramid(path_for(name, tmp_path))


def test_the_manifest_of_another_version_is_refused(name, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "to_json", lambda self: '{"schema": "growgan.pyramid", "version": 2}')
        write(path_for(name, tmp_path), some_images())
    with pytest.raises(InputError, match="of version 2, this program reads 1"):
        formats.open_pyramid(path_for(name, tmp_path))
