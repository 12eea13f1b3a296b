"""MNIST, Fashion-MNIST and MNIST-RGB."""

import gzip
import importlib.util

import numpy as np
import pytest
from oracles.array_files import idx, pictures, write_mnist

from datasets.errors import InputError
from toolkit.sources import mnist_rgb, open_source, recognise

IMAGES = pictures(7, 28)[:, 0]
LABELS = np.array([5, 0, 4, 1, 9, 2, 1], np.uint8)


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_gives_the_training_images_padded_from_28_to_32(packed, tmp_path):
    folder = write_mnist(tmp_path / "x", IMAGES, LABELS, packed=packed)
    write_mnist(folder, IMAGES[:2], LABELS[:2], packed=packed, part="t10k")
    source = open_source(folder)
    assert recognise(folder) == ["mnist"]
    assert [source[k].label for k in range(7)] == LABELS.tolist()
    assert source.label_names == tuple("0123456789")
    for k in range(7):
        pixels = source[k].read()
        assert pixels.shape == (32, 32)
        assert np.array_equal(pixels[2:30, 2:30], IMAGES[k])
        assert pixels.sum() == IMAGES[k].sum()  # so the border is black
    test = open_source(folder / ("t10k-images-idx3-ubyte" + ".gz" * packed))
    assert [test[k].label for k in range(len(test))] == LABELS[:2].tolist()


def test_names_with_a_dot_and_without_labels(tmp_path):
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx(IMAGES))
    source = open_source(tmp_path)
    assert (len(source), source.label_names, source[0].label) == (7, None, None)
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(LABELS))
    assert open_source(tmp_path)[4].label == 9


def test_other_sides_are_left_as_they_are(tmp_path):
    (tmp_path / "usps").write_bytes(idx(pictures(3, 16)[:, 0]))
    source = open_source(tmp_path / "usps")
    assert source[2].size(max_pixels=256) == (16, 16)
    assert np.array_equal(source[2].read(), pictures(3, 16)[2, 0])


def test_damage_gives_one_line(tmp_path):
    folder = write_mnist(tmp_path, IMAGES, LABELS[:6], packed=False)
    with pytest.raises(InputError, match=r"is of 6 labels, but .* has 7 images; download it again or pass --no-labels"):
        open_source(folder)
    assert len(open_source(folder, labels=False)) == 7
    (folder / "train-labels-idx1-ubyte").write_bytes(b"what")
    with pytest.raises(InputError, match="train-labels-idx1-ubyte is no IDX file of labels, but"):
        open_source(folder)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(LABELS)[:-1])
    with pytest.raises(InputError, match="train-labels-idx1-ubyte is cut short"):
        open_source(folder)
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(idx(IMAGES)[:-1])
    with pytest.raises(InputError, match="train-images-idx3-ubyte is cut short"):
        open_source(images, labels=False)
    images.write_bytes(idx(IMAGES[:0]))
    with pytest.raises(InputError, match="has 0 images of 28x28 pixels; use square ones"):
        open_source(images)
    images.write_bytes(idx(IMAGES[:, :20]))
    with pytest.raises(InputError, match="has 7 images of 28x20 pixels; use square ones"):
        open_source(images)
    packed = gzip.compress(idx(IMAGES))
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    source = open_source(tmp_path / "cut.gz")
    with pytest.raises(InputError, match=r"cut\.gz is cut short"):
        source[6].read()
    with pytest.raises(InputError, match="is neither an IDX file of images nor a folder with train-images-idx3-ubyte"):
        open_source(tmp_path / "train-labels-idx1-ubyte", "mnist")


class TestRgb:
    @pytest.fixture
    def mnist(self, tmp_path):
        """As many images as MNIST has, image k black but for k written into the first two pixels."""
        images = np.zeros((60_000, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(60_000), 256)
        return write_mnist(tmp_path / "mnist", images, (np.arange(60_000) % 10).astype(np.uint8), packed=False)

    def test_a_million_images_by_default(self):
        spec = importlib.util.find_spec("toolkit.sources.mnist_rgb")
        fresh = importlib.util.module_from_spec(spec)  # the examples of the contract tests make it smaller
        spec.loader.exec_module(fresh)
        assert fresh.NUM_IMAGES == 1_000_000

    def test_draws_are_those_of_the_released_tool(self, mnist, monkeypatch):
        monkeypatch.setattr(mnist_rgb, "NUM_IMAGES", 1_000_000)
        source = open_source(mnist, "mnist_rgb")
        assert len(source) == 1_000_000
        assert len(source.label_names) == 1000
        # first two draws of RandomState(123).randint(60000, size=3), as the released data tool calls it for every image
        assert [self.digits(source[k]) for k in (0, 1)] == [[52734, 15725, 28030], [17730, 54370, 15377]]
        generator = np.random.RandomState(123)
        for k in range(1000):
            draw = generator.randint(60_000, size=3).tolist()
            assert source[k].name == f"{k:06d}-{draw[0]}-{draw[1]}-{draw[2]}"
            assert source[k].label == int("".join(str(number % 10) for number in draw))
            assert source.label_names[source[k].label] == "".join(str(number % 10) for number in draw)

    @staticmethod
    def digits(item):
        pixels = item.read().astype(int)
        assert pixels.shape == (32, 32, 3)
        return [int(pixels[2, 2, channel] * 256 + pixels[2, 3, channel]) for channel in range(3)]

    def test_only_by_name_and_only_of_ten_classes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(mnist_rgb, "NUM_IMAGES", 5)
        folder = write_mnist(tmp_path / "x", IMAGES, LABELS + 2, packed=True)
        assert recognise(folder) == ["mnist"]
        with pytest.raises(InputError, match="has 12 classes, not 10 digits"):
            open_source(folder, "mnist_rgb")
        assert open_source(folder, "mnist_rgb", labels=False).label_names is None
