"""The restricted unpickler gives what Python's own gives for plain data, and nothing for anything else."""

import collections
import contextlib
import os
import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.array_files import python2_pickle

from datasets import unpickle
from datasets.errors import InputError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers() | st.binary(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
    ),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
def test_plain_data_come_back(value, protocol):
    assert unpickle.loads(pickle.dumps(value, protocol), "x") == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "i1", "?", "<i8", ">i2", "<f4", ">f8", "f2"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4)])
def test_arrays_come_back(dtype, shape, protocol):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    for value in (values, np.asfortranarray(values)):
        found = unpickle.loads(pickle.dumps(value, protocol), "x")
        assert found.dtype == value.dtype
        assert found.shape == value.shape
        assert np.array_equal(found, value)


def test_scalars_and_ordered_dicts_become_plain():
    value = {"a": np.float32(0.1), "b": [np.int64(-7)], "c": collections.OrderedDict(x=1, y=2), "d": b""}
    found = unpickle.loads(pickle.dumps(value, 2), "x")
    assert found == {"a": float(np.float32(0.1)), "b": [-7], "c": {"x": 1, "y": 2}, "d": b""}
    assert type(found["a"]) is float
    assert type(found["c"]) is dict


def test_pickles_of_python_2():
    entries = {"labels": [3, 1, 300], "data": np.arange(12, dtype=np.uint8).reshape(3, 4), "name": "x" * 300}
    data = python2_pickle(entries)
    expected = pickle.loads(data, encoding="bytes")  # proves the oracle that writes them
    found = unpickle.loads(data, "x")
    assert found.keys() == expected.keys() == {b"labels", b"data", b"name"}
    assert found[b"labels"] == expected[b"labels"] == entries["labels"]
    assert np.array_equal(found[b"data"], entries["data"])
    assert not found[b"data"].flags.writeable


def test_values_in_two_places_are_one():
    inner = [1]
    found = unpickle.loads(pickle.dumps([inner, inner]), "x")
    assert found[0] is found[1]
    inner.append(inner)
    found = unpickle.loads(pickle.dumps(inner), "x")
    assert found[1] is found


class Network:
    def __init__(self):
        self.variables = [("w", np.ones(3))]

    def __getstate__(self):
        return {"version": 2, "variables": self.variables}


@pytest.mark.parametrize("protocol", [2, 4])
def test_objects_are_records_if_asked_for_and_refused_if_not(protocol, monkeypatch):
    monkeypatch.setitem(sys.modules, "tfutil", sys.modules.setdefault("tfutil", type(sys)("tfutil")))
    sys.modules["tfutil"].Network = Network
    monkeypatch.setattr(Network, "__module__", "tfutil")
    data = pickle.dumps((Network(), Network()), protocol)
    one, two = unpickle.loads(data, "x", records={"tfutil.Network"})
    assert isinstance(one, unpickle.Record)
    assert one is not two
    assert one.name == "tfutil.Network"
    assert one.state["version"] == 2
    assert np.array_equal(one.state["variables"][0][1], np.ones(3))
    with pytest.raises(InputError, match=r"net\.pkl: the pickle mentions tfutil\.Network, which .* nothing of it was"):
        unpickle.loads(data, "net.pkl")


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "system": (os.system, "touch hacked"),
    "eval": (eval, "open('hacked', 'w')"),
    "exec": (exec, "open('hacked', 'w')"),
    "popen": (subprocess.Popen, ["touch", "hacked"]),
    "open": (open, "hacked", "w"),
    "getattr": (getattr, "text", "upper"),
    "bytearray": (bytearray, 1 << 40),
    "fromfile": (np.fromfile, "/etc/passwd"),
    "zeros": (np.zeros, 1 << 40),
    "object array": (np.dtype, "O"),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_called(name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for data in (
        pickle.dumps(Evil(*HOSTILE[name]), protocol),
        pickle.dumps({"data": [Evil(*HOSTILE[name])]}, protocol),
    ):
        with pytest.raises(InputError, match=r"^x: ") as caught:
            unpickle.loads(data, "x")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a pickle of protocol 2 to 5"),
        (b"(lp0\nI1\na.", "not a pickle of protocol 2 to 5"),
        (b"\x80\x06K\x01.", "not a pickle of protocol 2 to 5"),
        (b"\x80\x02K\x01", "cut short"),
        (b"\x80\x02U\xff.", "cut short"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "cut short"),  # a string of 8 EiB
        (b"\x80\x02T\xff\xff\xff\xff.", "cut short"),
        (b"\x80\x02.", "makes no sense"),
        (b"\x80\x02h\x07.", "makes no sense"),
        (b"\x80\x02(.", "a mark where a value is needed"),
        (b"\x80\x02t.", "makes no sense"),
        (b"\x80\x02K\x01K\x02a.", "items for a value that is no list"),
        (b"\x80\x02K\x01K\x02K\x03s.", "entries for a value that is no dict"),
        (b"\x80\x02}(K\x01u.", "makes no sense"),
        (b"\x80\x02})K\x02s.", "a key that is neither text nor a number"),
        (b"\x80\x02N)R.", "a call of what is no function"),
        (b"\x80\x02]Nb.", "a state for a value that has none"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "made in an unknown way"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "made in an unknown way"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN\x85R.", "an array of a class of its own"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R.", "an array without content"),
        (b"\x80\x02cnumpy\ndtype\nU\x03V99\x85R.", "not of plain numbers"),
        (b"\x80\x02Pabc\n.", "the instruction b'P'"),  # PERSID
        (b"\x80\x02(ios\nsystem\n.", "the instruction b'i'"),  # INST
        (b"\x80\x02\x82\x01.", r"the instruction b'\\x82'"),  # EXT1
        (b"\x80\x02cos\nsystem\n.", r"mentions os\.system"),
        (b"\x80\x02cos\n\x1b[31m\n.", r"mentions os\.\\x1b\[31m"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", r"mentions os\.system"),
        (b"\x80\x04K\x01K\x02\x93.", "a name that is no text"),
        (b"\x80\x02c" + b"a" * 600, "makes no sense"),
    ],
)
def test_hostile_and_damaged_pickles_give_one_line(data, message):
    with pytest.raises(InputError, match=message) as caught:
        unpickle.loads(data, "x")
    assert str(caught.value).startswith("x: ")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_depth_and_length_do_no_harm():
    deep = b"\x80\x02N" + b"\x85" * 100_000 + b"."
    value = unpickle.loads(deep, "x")
    for _ in range(100_000):
        (value,) = value
    assert value is None
    with pytest.raises(InputError, match="a key that is neither"):
        unpickle.loads(b"\x80\x02}N" + b"\x85" * 100_000 + b"Ns.", "x")  # hashing it would end the process


def test_the_number_of_instructions_is_bounded(monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_INSTRUCTIONS", 1000)
    assert len(unpickle.loads(b"\x80\x02](" + b"N" * 900 + b"e.", "x")) == 900
    with pytest.raises(InputError, match="more than 1000 instructions"):
        unpickle.loads(b"\x80\x02](" + b"N" * 1100 + b"e.", "x")


def test_text_cannot_be_encoded_again_and_again():
    text = b"X" + (1 << 16).to_bytes(4, "little") + b"a" * (1 << 16)
    once = b"h\x01h\x02h\x03\x86R"
    head = b"\x80\x02" + text + b"q\x02" + b"U\x06latin1q\x03" + b"c_codecs\nencode\nq\x01"
    assert unpickle.loads(head + once + b".", "x") == b"a" * (1 << 16)
    with pytest.raises(InputError, match="repeats its own text"):
        unpickle.loads(head + once * 1000 + b".", "x")


@contextlib.contextmanager
def one_line_at_most():
    try:
        yield
    except InputError as error:
        if "\n" in str(error):
            pytest.fail(f"more than one line: {error}")


GOOD = pickle.dumps({"data": np.arange(30, dtype=np.uint8).reshape(5, 6), "labels": [1, 2, 3], "t": (1.5, "é")}, 2)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_damage_gives_a_value_or_one_line(data):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(2, len(content) - 1))] = data.draw(st.integers(0, 255))
    with one_line_at_most():
        unpickle.loads(bytes(content[: data.draw(st.integers(2, len(content)))]), "x")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(pickletools.opcodes), max_size=60), st.binary(max_size=60))
def test_any_program_gives_a_value_or_one_line(instructions, arguments):
    program = b"".join(
        code.code.encode("latin1") + arguments[place : place + 4] for place, code in enumerate(instructions)
    )
    with one_line_at_most():
        unpickle.loads(b"\x80\x04" + program + b".", "x")
