"""What every source must do; a new file in toolkit/sources needs an example in tests/source_examples, and is tested."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import source_examples

from datasets.decode import decode
from datasets.errors import InputError
from toolkit import sources


def pixels_of(item):
    """Pixels (H, W, 3) of an item, whichever kind it is."""
    data = item.read()
    if isinstance(data, bytes):
        return decode(data, item.where)
    assert data.dtype == np.uint8
    return np.repeat(data[..., None], 3, axis=2) if data.ndim == 2 else data


def files_of(path):
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def test_every_source_has_an_example():
    assert source_examples.names() == sources.names()


@pytest.fixture(params=sources.names())
def kind(request):
    return request.param


@pytest.fixture
def example(kind, tmp_path):
    return source_examples.make(kind, tmp_path / "made")


@pytest.fixture
def source(kind, example):
    return sources.open_source(example.path, None if example.recognised else kind)


def test_recognised_by_one_source_only(kind, example, source):
    assert type(source).__module__ == f"toolkit.sources.{kind}"
    assert isinstance(source, sources.Source)
    found = sources.recognise(example.path)
    assert found == [kind] if example.recognised else kind not in found


def test_recognised_by_content_not_by_name(kind, example):
    moved = example.path.rename(example.path.with_name("without suffix"))
    assert sources.recognise(moved) == [kind] or not example.recognised


def test_describes_itself(kind):
    assert 20 < len(sources.describe(kind)) < 100
    assert sources.describe(kind).endswith(".")


def test_images_come_in_order_with_names_sizes_and_pixels(source, example):
    items = [source[k] for k in range(len(source))]
    assert len(items) == len(example.pixels) >= 1
    assert len({item.name for item in items}) == len(items)
    if example.names is not None:
        assert [item.name for item in items] == example.names
    for item, pixels in zip(items, example.pixels, strict=True):
        assert item.where.endswith(item.name)
        assert str(example.path) in item.where
        assert len(item.name.encode("utf-8").splitlines()) == 1
        assert item.size(max_pixels=1 << 20) == (pixels.shape[1], pixels.shape[0])
        assert np.array_equal(pixels_of(item), pixels)
        assert isinstance(item.stamp, str)
    with pytest.raises(InputError, match="more than the 3 allowed"):
        items[0].size(max_pixels=3)
    with pytest.raises(IndexError):
        source[len(source)]


def test_labels_are_class_numbers_with_names(source, example):
    if example.labels is None:
        assert source.label_names is None
        return
    assert [source[k].label for k in range(len(source))] == example.labels
    assert all(isinstance(source[k].label, int) for k in range(len(source)))
    assert isinstance(source.label_names, tuple)
    assert all(isinstance(name, str) and name.isprintable() for name in source.label_names)
    assert len(set(source.label_names)) == len(source.label_names) > max(example.labels)


def test_labels_are_left_out_on_request(kind, example):
    source = sources.open_source(example.path, kind, labels=False)
    assert source.label_names is None
    assert pickle.loads(pickle.dumps(source)).label_names is None


def test_names_tell_nothing_of_the_machine(source, example):
    for text in (source.name, *(source[k].name for k in range(len(source)))):
        assert not text.startswith("/")
        assert str(example.path.parent) not in text


def test_opening_again_gives_the_same(kind, source, example):
    again = sources.open_source(example.path, kind)
    assert source.stamp == again.stamp
    for k in range(len(source)):
        assert (source[k].name, source[k].stamp, source[k].label) == (again[k].name, again[k].stamp, again[k].label)


def test_opening_often_leaves_no_files_open(kind, example):
    def num_open():
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    for _ in range(2):  # the last archive may stay open
        pixels_of(sources.open_source(example.path, kind)[0])
    before = num_open()
    for _ in range(5):
        pixels_of(sources.open_source(example.path, kind)[0])
    assert num_open() <= before


def test_a_pickle_holds_the_path_alone(source, example):
    item = source[len(source) - 1]
    data = pickle.dumps(item)
    assert len(data) < 2000
    assert np.array_equal(pixels_of(pickle.loads(data)), example.pixels[-1])
    assert [pickle.loads(pickle.dumps(source))[k].label for k in range(len(source))] == [
        source[k].label for k in range(len(source))
    ]


def test_reads_after_a_fork(source, example):
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    pixels_of(source[0])

    def work():
        sender.send([pixels_of(source[k]) for k in range(len(source))])

    child = context.Process(target=work)
    child.start()
    assert receiver.poll(60)
    assert all(map(np.array_equal, receiver.recv(), example.pixels))
    child.join()
    assert np.array_equal(pixels_of(source[0]), example.pixels[0])


def test_threads_read_at_once(source, example):
    wrong = []

    def work(number):
        order = np.random.default_rng(number).permutation(len(source)).tolist()
        wrong.extend(k for k in order if not np.array_equal(pixels_of(source[k]), example.pixels[k]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_stamps_change_with_the_files(kind, source, example):
    def stamps(source):
        return source.stamp, [source[k].stamp for k in range(len(source))]

    before, pickled = stamps(source), pickle.dumps(source)
    for file in files_of(example.path):
        os.utime(file, (1, 1))
    again = sources.open_source(example.path, kind)
    assert stamps(again) != before
    if again.stamp != before[0]:
        with pytest.raises(InputError, match="has changed since the build began; run the same command again"):
            pickle.loads(pickled)


@contextlib.contextmanager
def one_line_at_most(text=""):
    """What goes wrong inside is one line, which holds the text."""
    try:
        yield
    except InputError as error:
        message = str(error)
    else:
        return
    assert len(message.splitlines()) == 1
    assert text in message


def test_damage_gives_one_clear_line(kind, example):
    rng = np.random.default_rng(5)
    for file in files_of(example.path):
        whole = file.read_bytes()
        damaged = [whole[:cut] for cut in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1)]
        for place in rng.integers(0, len(whole), 30).tolist():
            damaged += [whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :]]
        for data in damaged:
            file.write_bytes(data)
            for way in (None, kind):
                source = None
                with one_line_at_most():
                    source = sources.open_source(example.path, way)
                for k in range(0 if source is None else len(source)):
                    with one_line_at_most():
                        source[k].size(max_pixels=1 << 20)
                        pixels_of(source[k])
        file.write_bytes(whole)


@pytest.mark.parametrize("other", source_examples.names())
def test_taken_for_another_source_it_is_refused_or_read(kind, other, tmp_path):
    example = source_examples.make(kind, tmp_path / "made")
    with one_line_at_most(str(example.path)):
        pixels_of(sources.open_source(example.path, other)[0])


def test_what_is_no_source(tmp_path):
    with pytest.raises(InputError, match=r"missing does not exist; name a source of images: .*folder, .*image, "):
        sources.open_source(tmp_path / "missing")
    (tmp_path / "notes.jpg").write_text("hello")
    with pytest.raises(InputError, match="is no source of images that this program knows"):
        sources.open_source(tmp_path / "notes.jpg")
    with pytest.raises(InputError, match="there is no source called 'photos'; it may be one of: "):
        sources.open_source(tmp_path / "notes.jpg", "photos")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is empty; name a folder of images"):
        sources.open_source(tmp_path / "empty")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no source of images that this program knows"):
        sources.open_source(tmp_path / "pipe")
