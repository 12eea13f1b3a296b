import base64
import bz2
import hashlib
import hmac
import sys

import numpy as np
import pytest
from cryptography.fernet import Fernet

from datasets.errors import InputError
from toolkit.celebahq import deltas

JPEG = bytes(range(256)) * 20
KEY = deltas.derive_key(JPEG, "000123.jpg")


@pytest.fixture
def images(rng):
    """The recipe's image and the released one: they differ by all values."""
    return rng.integers(0, 256, (3, 16, 16), dtype=np.uint8), rng.integers(0, 256, (3, 16, 16), dtype=np.uint8)


def test_the_key():
    """Golden: computed with hashlib for the reference, and again here from the definition of PBKDF2."""
    key = deltas.derive_key(b"hello", "000001.jpg")
    assert key == b"rsidDXpw7ExebVtCA9IoqABMTruwhJel99bL2hHf--Q="


def test_the_key_from_the_definition():
    step = block = hmac.digest(b"hello", b"000001.jpg\0\0\0\1", "sha256")
    for _ in range(6):
        step = hmac.digest(b"hello", step, "sha256")
        block = bytes(a ^ b for a, b in zip(block, step, strict=True))
    assert deltas.derive_key(b"hello", "000001.jpg", iterations=7) == base64.urlsafe_b64encode(block)


def test_round_trip_with_both_checksums(images):
    base, final = images
    proc_md5, final_md5 = (hashlib.md5(image.tobytes()).hexdigest() for image in images)
    token = deltas.encrypt(deltas.difference(base, final), KEY)
    assert deltas.md5_of(base) == proc_md5
    delta = deltas.decrypt(token, deltas.derive_key(JPEG, "000123.jpg"), "delta00000.dat", side=16)
    rebuilt = deltas.apply(base, delta)
    assert deltas.md5_of(rebuilt) == final_md5
    np.testing.assert_array_equal(rebuilt, final)
    assert (delta.shape, delta.dtype) == ((3, 16, 16), np.uint8)


def test_a_token_of_another_encoder_opens(images):
    """As the released ones were made: bytes, bz2, Fernet, one after the other."""
    token = Fernet(KEY).encrypt(bz2.compress(images[0].tobytes()))
    np.testing.assert_array_equal(deltas.decrypt(token, KEY, "a.dat", side=16), images[0])


def test_sums_wrap_around():
    base, final = np.array([250, 3, 0], np.uint8), np.array([4, 250, 255], np.uint8)
    assert deltas.difference(base, final).tolist() == [10, 247, 255]
    assert deltas.apply(base, np.array([10, 247, 255], np.uint8)).tolist() == [4, 250, 255]


def test_checksums_are_of_the_pixels_in_their_order(images):
    base = images[0]
    turned = np.ascontiguousarray(base.transpose(1, 2, 0)).transpose(2, 0, 1)  # equal pixels, other memory
    assert deltas.md5_of(turned) == hashlib.md5(base.tobytes()).hexdigest()
    assert deltas.md5_of(np.frombuffer(b"abc", np.uint8)) == "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321


@pytest.mark.parametrize("change", ["jpeg", "one bit of the jpeg", "name"])
def test_a_wrong_key_fails_loudly(images, change):
    token = deltas.encrypt(images[0], KEY)
    jpeg = {"jpeg": b"other", "one bit of the jpeg": JPEG[:-1] + bytes([JPEG[-1] ^ 1]), "name": JPEG}[change]
    key = deltas.derive_key(jpeg, "000124.jpg" if change == "name" else "000123.jpg")
    with pytest.raises(InputError, match=r"^a\.dat does not open: its photograph is not the original JPEG") as error:
        deltas.decrypt(token, key, "a.dat", side=16)
    assert "\n" not in str(error.value)


def test_a_token_cut_anywhere_fails_loudly(images):
    token = deltas.encrypt(images[0], KEY)
    for size in [0, 1, 3, 4, 50, 99, 100, *range(len(token) - 70, len(token))]:
        with pytest.raises(InputError, match=r"^a\.dat (is not a delta|does not open)") as error:
            deltas.decrypt(token[:size], KEY, "a.dat", side=16)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"^a\.dat is not a delta"):
        deltas.decrypt(token[:-1], KEY, "a.dat", side=16)


@pytest.mark.parametrize("content", [b"", b"<html>Quota exceeded</html>", b"\0" * 200, base64.b64encode(b"\1" * 89)])
def test_other_files_are_no_deltas(content):
    with pytest.raises(InputError, match=r"^a\.dat is not a delta \(a Fernet token\)"):
        deltas.decrypt(content, KEY, "a.dat", side=16)


def test_a_changed_token_fails_loudly(images):
    token = bytearray(deltas.encrypt(images[0], KEY))
    token[len(token) // 2] = ord("A") if token[len(token) // 2] != ord("A") else ord("B")
    with pytest.raises(InputError, match="does not open"):
        deltas.decrypt(bytes(token), KEY, "a.dat", side=16)


WHOLE = bytes(3 * 16 * 16)
CONTENTS = {
    "no stream": (b"hello", "holds no bz2 stream"),
    "empty": (b"", "holds 0 bytes of pixels and not 768"),
    "too little": (bz2.compress(WHOLE[:-1]), "holds 767 bytes of pixels and not 768"),
    "too much": (bz2.compress(WHOLE + b"\0"), "holds more than 768 bytes"),
    "bomb": (bz2.compress(bytes(300_000_000)), "holds more than 768 bytes"),
    "smaller image": (bz2.compress(bytes(3 * 8 * 8)), "delta of an image of 8x8 pixels; pass --delta-side 8$"),
    "larger image": (bz2.compress(bytes(3 * 2048 * 2048)), "of 2048x2048 pixels; pass --delta-side 2048$"),
    "no power of two": (bz2.compress(bytes(3 * 12 * 12)), "holds 432 bytes of pixels and not 768"),
    "larger and cut": (bz2.compress(bytes(range(256)) * 12 * 64)[:-9], "holds more than 768 bytes"),
    "cut stream": (bz2.compress(WHOLE)[:-3], "in one whole bz2 stream"),
    "two streams": (bz2.compress(WHOLE) + bz2.compress(b"more"), "in one whole bz2 stream"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents_that_are_no_pixels_are_refused(kind):
    content, message = CONTENTS[kind]
    with pytest.raises(InputError, match=rf"^a\.dat .*{message}"):
        deltas.decrypt(Fernet(KEY).encrypt(content), KEY, "a.dat", side=16)


def test_the_released_size_is_the_default():
    token = deltas.encrypt(np.full((3, 1024, 1024), 7, np.uint8), KEY)
    assert deltas.decrypt(token, KEY, "a.dat").shape == (3, 1024, 1024)
    with pytest.raises(InputError, match=r"1024x1024 pixels; pass --delta-side 1024$"):
        deltas.decrypt(token, KEY, "a.dat", side=16)


@pytest.mark.parametrize(
    "other", [np.zeros((3, 16, 15), np.uint8), np.zeros((3, 16, 16), np.int16), np.zeros(1, np.uint8)]
)
def test_arrays_that_would_not_wrap_are_refused(images, other):
    for function in (deltas.apply, deltas.difference):
        with pytest.raises(ValueError, match="need uint8 of equal shapes"):
            function(images[0], other)


def test_names_that_cannot_be_a_salt():
    with pytest.raises(InputError, match=r"cannot be the name of a CelebA photograph; names are like 000001\.jpg"):
        deltas.derive_key(b"x", "grün.jpg")


def test_without_the_package_there_is_one_clear_line(images, monkeypatch):
    token = deltas.encrypt(images[0], KEY)
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for call in (lambda: deltas.encrypt(images[0], KEY), lambda: deltas.decrypt(token, KEY, "a.dat", side=16)):
        with pytest.raises(InputError, match=r"need the package cryptography; .*pip install 'growgan\[celebahq\]'"):
            call()
