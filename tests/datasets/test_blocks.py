"""Digests of blocks behind the end of a file."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import blocks


@given(
    end=st.integers(1, 60),
    covered=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=5),
)
@settings(max_examples=50, deadline=None)
def test_uncovered_is_the_rest(end, covered):
    ranges, taken = [], set()
    for start, length in covered:
        part = set(range(start, start + length))
        if part and not part & taken:
            ranges.append((start, start + length))
            taken |= part
    found = [byte for start, stop in blocks.uncovered(end, ranges) for byte in range(start, stop)]
    assert found == [byte for byte in range(end) if byte not in taken]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 16)
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100) + b"left over from before")
    descriptor = os.open(path, os.O_RDWR)
    blocks.append(descriptor, 100, [(0, 30), (50, 100)])
    os.close(descriptor)
    return path


def test_every_flipped_byte_that_it_answers_for_is_found_and_placed(file):
    good = file.read_bytes()
    assert list(blocks.faults(file)) == []
    for position in range(len(good)):
        content = bytearray(good)
        content[position] ^= 1 << position % 8
        file.write_bytes(content)
        found = list(blocks.faults(file))
        if 30 <= position < 50:
            assert not found
        elif position < 100:
            start, stop = (int(text) for text in found[0].split(" bytes ")[1].split(" do not")[0].split(" to "))
            assert len(found) == 1
            assert start <= position < stop <= start + 16
        else:
            assert found


def test_what_will_be_there_can_be_said_before(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"____rest")
    with path.open("r+b") as opened:
        blocks.append(opened.fileno(), 8, [(0, 8)], lambda offset, data: b"head" + data[4:])
    assert len(list(blocks.faults(path))) == 1
    path.write_bytes(b"head" + path.read_bytes()[4:])
    assert list(blocks.faults(path)) == []


def test_a_file_cut_short_anywhere_is_found(file):
    good = file.read_bytes()
    for size in range(len(good)):
        file.write_bytes(good[:size])
        assert list(blocks.faults(file))
