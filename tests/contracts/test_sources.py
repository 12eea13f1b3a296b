"""What every source must do; a new file in toolkit/sources needs an example here, and then is tested."""

import io
import pickle
import threading

import numpy as np
import pytest
from PIL import Image

from datasets.decode import decode
from datasets.errors import InputError
from toolkit import sources


def png(number, side=8):
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side + 1, 3), number, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def a_folder(where):
    folder = where / "photos"
    for number, name in enumerate(("B.png", "a/B.png", "a/é.jpg", "b.PNG")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    return folder


def an_image(where):
    path = where / "galaxies.jpg"
    path.write_bytes(png(0))
    return path


EXAMPLES = {"folder": a_folder, "image": an_image}  # name -> function that makes one, whose image k is all k


def test_every_source_has_an_example():
    assert sorted(EXAMPLES) == sources.names()


@pytest.fixture(params=sources.names())
def example(request, tmp_path):
    return request.param, EXAMPLES[request.param](tmp_path)


def test_recognised_by_one_source_only(example):
    name, path = example
    assert [other for other in sources.names() if sources.load(other).recognises(path)] == [name]
    assert type(sources.open_source(path)).__module__ == f"toolkit.sources.{name}"


def test_recognised_by_content_not_by_name(example):
    name, path = example
    moved = path.rename(path.with_name("without suffix"))
    assert sources.load(name).recognises(moved)


def test_describes_itself(example):
    name, _ = example
    assert 20 < len(sources.describe(name)) < 100
    assert sources.describe(name).endswith(".")


def test_images_come_in_order_with_names_sizes_and_pixels(example):
    _, path = example
    source = sources.open_source(path)
    items = [source[k] for k in range(len(source))]
    assert len(items) >= 1
    assert len({item.name for item in items}) == len(items)
    for number, item in enumerate(items):
        assert item.where.endswith(item.name)
        assert str(path) in item.where
        assert item.label is None or item.label >= 0
        assert item.size(max_pixels=1000) == (9, 8)
        assert np.array_equal(decode(item.read(), item.where), np.full((8, 9, 3), number))
    with pytest.raises(InputError, match="more than the 10 allowed"):
        items[0].size(max_pixels=10)
    with pytest.raises(IndexError):
        source[len(source)]


def test_names_tell_nothing_of_the_machine(example):
    _, path = example
    source = sources.open_source(path)
    for text in (source.name, *(source[k].name for k in range(len(source)))):
        assert not text.startswith("/")
        assert str(path.parent) not in text


def test_opening_again_gives_the_same(example):
    _, path = example
    one, two = sources.open_source(path), sources.open_source(path)
    assert [one[k].name for k in range(len(one))] == [two[k].name for k in range(len(two))]


def test_items_travel_to_other_processes(example):
    _, path = example
    item = sources.open_source(path)[0]
    assert pickle.loads(pickle.dumps(item)).read() == item.read()


def test_threads_read_at_once(example):
    _, path = example
    source = sources.open_source(path)
    found = []

    def work():
        found.extend(source[k].read() for k in range(len(source)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 * len(source)
    assert len(set(found)) == len(source)


def test_what_is_no_source(tmp_path):
    with pytest.raises(InputError, match="missing does not exist; name a source of images: folder, image"):
        sources.open_source(tmp_path / "missing")
    (tmp_path / "notes.jpg").write_text("hello")
    with pytest.raises(InputError, match="is no source of images that this program knows"):
        sources.open_source(tmp_path / "notes.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        sources.open_source(tmp_path / "empty")
