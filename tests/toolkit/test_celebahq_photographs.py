"""libjpeg 8d: its rule of colours, what it does to odd files, and that nothing it does harms this process."""

import hashlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from oracles import celebahq as oracle
from PIL import Image
from skimage import data

from datasets.errors import InputError
from toolkit.celebahq import old_jpeg, photographs
from toolkit.celebahq.photographs import decode_photo

SCENE = data.astronaut()[30:233, 100:431]  # 203 x 331: no whole number of blocks


def jpeg(pixels=SCENE, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def modern(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize(("subsampling", "sampling"), [(2, (2, 2)), (1, (1, 2)), (0, (1, 1))])
@pytest.mark.parametrize("progressive", [False, True])
def test_colours_are_enlarged_by_the_inverse_dct(tmp_path, subsampling, sampling, progressive):
    """The oracle has the ideal cosines; the library's whole numbers round a few pixels otherwise, by a level or so."""
    content = jpeg(subsampling=subsampling, progressive=progressive)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    stored = jpeglib.read_dct(str(path))
    tables = [stored.qt[0], stored.qt[1], stored.qt[1]]
    ideal = oracle.colours_of_libjpeg_8d(stored.Y, stored.Cb, stored.Cr, tables, sampling)[:203, :331].astype(int)
    difference = np.abs(decode_photo(content, "a.jpg") - ideal)
    assert (difference > 0).mean() < 0.04
    assert (difference > 1).mean() < 0.006
    assert difference.max() <= 3
    if sampling != (1, 1):
        assert (np.abs(modern(content) - ideal) > 1).mean() > 0.04, "libjpeg-turbo would not be told from it"


def test_a_real_photograph():
    """MD5 of what jpeglib 1.0.2's libjpeg 8d made of a 4:2:0 JPEG of scikit-image; all whole numbers, on any machine.

    The same way makes 9cad8178d6cb0196b36f7b34bc5eb6d3 of CelebA's 000001.jpg, if the authors' library is this one.
    """
    content = Path(data.__file__).with_name("retina.jpg").read_bytes()
    assert hashlib.md5(content).hexdigest() == "5fa589edda0ab6832e3afcd92c402412"
    assert hashlib.md5(decode_photo(content, "a").tobytes()).hexdigest() == "7c0c63f0f3693b54ca489bf814e43bdc"
    assert hashlib.md5(modern(content).tobytes()).hexdigest() == "14fff49603d7dd63bfe014ad3d8c925c"


def test_full_colours_and_grey_are_decoded_as_by_everyone():
    for content in (jpeg(subsampling=0), jpeg(mode="L")):
        np.testing.assert_array_equal(decode_photo(content, "a.jpg"), modern(content))


def test_exif_turns_are_not_done():
    exif = Image.Exif()
    exif[274] = 6
    content = jpeg(subsampling=0, exif=exif)
    np.testing.assert_array_equal(decode_photo(content, "a.jpg"), modern(content))


def test_what_the_recipe_could_not_use_is_decoded_as_elsewhere():
    assert decode_photo(jpeg(mode="CMYK"), "a.jpg").shape == (203, 331, 3)
    file = io.BytesIO()
    Image.fromarray(SCENE).save(file, "PNG")
    np.testing.assert_array_equal(decode_photo(file.getvalue(), "a.png"), SCENE)


@pytest.mark.parametrize("content", [b"", b"no image", jpeg()[:4000], jpeg()[:100], b"\xff\xd8\xff" + b"abc" * 100])
def test_damaged_files_are_refused(content):
    with pytest.raises(InputError, match=r"000001\.jpg"):
        decode_photo(content, "000001.jpg")


def test_a_file_that_crashes_the_library_harms_nobody(monkeypatch):
    monkeypatch.setattr(photographs, "decode", lambda data, where: None)  # nobody looks at it before
    monkeypatch.setattr(photographs.simplejpeg, "decode_jpeg_header", lambda data: (8, 8, "YCbCr", "420"))
    with pytest.raises(InputError, match="cannot be decoded by libjpeg 8d"):
        decode_photo(b"\xff\xd8\xff" + b"abc" * 100, "000001.jpg")
    monkeypatch.undo()
    content = jpeg(subsampling=0)
    np.testing.assert_array_equal(decode_photo(content, "a.jpg"), modern(content))


def test_threads_get_their_own_pixels():
    photographs_of = [np.roll(SCENE, 40 * k, axis=1) for k in range(4)]
    contents = [jpeg(np.ascontiguousarray(pixels), subsampling=0) for pixels in photographs_of]
    wrong = []

    def work(content):
        expected = modern(content)
        wrong.extend(_ for _ in range(5) if not np.array_equal(decode_photo(content, "a.jpg"), expected))

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FORK = """
import os, sys, growgan
from toolkit.celebahq.photographs import _decoders, decode_photo
with open(sys.argv[1], "rb") as file:
    content = file.read()
first = decode_photo(content, "a").tobytes()
child = os.fork()
assert len(_decoders._idle) == (1 if child else 0)
assert decode_photo(content, "a").tobytes() == first
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can be forked")
def test_a_forked_process_has_decoders_of_its_own(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    root = Path(photographs.__file__).parents[2]
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORK, path], cwd=root, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_without_jpeglib_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(photographs, "_decoders", photographs._Decoders())
    monkeypatch.setattr(photographs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"jpeglib.*growgan\[celebahq\]"):
        decode_photo(jpeg(), "a.jpg")


def test_a_broken_jpeglib_is_told(monkeypatch, tmp_path):
    broken = tmp_path / "old_jpeg.py"
    broken.write_text("import no_such_package\n")
    monkeypatch.setattr(photographs, "_decoders", photographs._Decoders())
    monkeypatch.setattr(old_jpeg, "__file__", str(broken))
    with pytest.raises(InputError, match="cannot be loaded"):
        decode_photo(jpeg(), "a.jpg")
