"""Which row comes into which part: exact, reproducible, and fair to every class."""

from fractions import Fraction

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from pyramids import assert_rows, listing, noise, write

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit import ledger
from toolkit.derived import assembly
from toolkit.derived.splitting import Shares, membership, split
from toolkit.engine.output import Output
from toolkit.verification import verify


def fractions(*texts):
    return Shares(fractions=tuple(map(Fraction, texts)))


@pytest.mark.parametrize(
    ("texts", "size", "counts"),
    [
        (("0.9", "0.1"), 100, [90, 10]),
        (("0.9", "0.1"), 101, [91, 10]),
        (("0.9", "0.1"), 15, [14, 1]),  # 13.5 and 1.5: the first of equal remainders
        (("0.1",) * 10, 25, [3] * 5 + [2] * 5),
        (("1/3", "1/3", "1/3"), 10, [4, 3, 3]),
        (("0.5",), 9, [4]),  # and 5 go nowhere
        (("0.25", "0.25"), 10, [3, 2]),
        (("0.7", "0.2", "0.1"), 10**6, [700_000, 200_000, 100_000]),  # in floats 0.7 + 0.2 + 0.1 is less than 1
    ],
)
def test_fractions_become_rows(texts, size, counts):
    assert fractions(*texts).of(size) == counts


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 99), min_size=1, max_size=6), st.integers(600, 5000))
def test_fractions_that_are_all_give_all(weights, size):
    shares = tuple(Fraction(weight, sum(weights)) for weight in weights)
    counts = Shares(fractions=shares).of(size)
    assert sum(counts) == size
    assert all(abs(count - share * size) < 1 for count, share in zip(counts, shares, strict=True))


def test_shares_that_do_not_fit():
    with pytest.raises(InputError, match=r"--fractions add up to 1\.1, more than 1"):
        fractions("0.9", "0.2").of(10)
    with pytest.raises(InputError, match="--counts ask for 11 rows, but there are 10"):
        Shares(counts=(9, 2)).of(10)
    with pytest.raises(InputError, match=r"part 2 of 4 rows would be empty"):
        fractions("0.9", "0.1").of(4)


def test_membership_is_what_the_documentation_says():
    """Worked out in plain Python from the words of the docstring."""
    labels = [2, 0, 0, 1, 2, 2, 0, 1, 2, 0, 0, 2, 1]
    keys = {row: xxhash.xxh3_64_intdigest(row.to_bytes(8, "little"), 7) for row in range(13)}
    order = sorted(range(13), key=lambda row: (labels[row], keys[row]))
    first = [row for place, row in enumerate(order) if (place + 1) * 6 // 13 > place * 6 // 13]
    left = [row for row in order if row not in first]
    second = [row for place, row in enumerate(left) if (place + 1) * 4 // 7 > place * 4 // 7]
    found = membership([6, 4], 13, 7, np.array(labels))
    assert [rows.tolist() for rows in found] == [sorted(first), sorted(second)]


GOLDEN = [[0, 1, 2, 4, 6, 7, 8], [3, 5, 9]]
GOLDEN_DIGEST = "fd6fd548cedf4460"


def test_membership_never_changes():
    """Golden: this is what users' splits are made of. Computed by the function itself on 2026-11-22."""
    assert [rows.tolist() for rows in membership([7, 3], 10, 0)] == GOLDEN
    assert xxhash.xxh3_64_hexdigest(membership([900], 1000, 5)[0].astype("<i8").tobytes()) == GOLDEN_DIGEST


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=20, max_size=200),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(0, 2**64 - 1),
)
def test_exact_counts_no_row_twice_and_every_class_in_proportion(labels, counts, seed):
    size = len(labels)
    numbers = np.array(labels)
    parts = membership(counts, size, seed, numbers)
    assert [len(rows) for rows in parts] == counts
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == len(together)
    for number, rows in enumerate(parts):
        assert rows.tolist() == sorted(rows.tolist())
        for label in set(labels):
            exact = Fraction(labels.count(label) * counts[number], size)
            assert abs(int((numbers[rows] == label).sum()) - exact) < number + 1


def test_rows_do_not_favour_a_place():
    rows = membership([5000], 10_000, 1)[0]
    assert abs(rows.mean() - 5000) < 100
    assert abs(np.diff(rows).std() - np.sqrt(2)) < 0.1  # as of fair coins, not one in two regularly


def test_another_seed_is_another_split():
    assert membership([50], 100, 0)[0].tolist() != membership([50], 100, 1)[0].tolist()
    assert membership([50], 100, 3)[0].tolist() == membership([50], 100, 3)[0].tolist()


IMAGES = noise(20)
LABELS = [row % 3 == 0 for row in range(20)]


@pytest.fixture
def whole(tmp_path):
    names = [f"photo {row}" for row in range(20)]
    return write(
        tmp_path / "set.h5",
        IMAGES,
        names=names,
        labels=[int(label) for label in LABELS],
        label_names=["no", "yes"],
        options={"crop": "none"},
        provenance={"source": "photos"},
    )


def run(path, outs, bars, shares=None, *, seed=0, by_label=False):
    outputs = [Output(path=out) for out in outs]
    return split(path, outputs, shares or fractions("0.6", "0.4"), seed=seed, by_label=by_label, jobs=2, progress=bars)


@pytest.mark.parametrize("by_label", [False, True])
def test_parts_are_the_rows_of_the_whole(whole, tmp_path, bars, by_label):
    outs = [tmp_path / "train.lmdb", tmp_path / "test.h5"]
    done = run(whole, outs, bars, seed=3, by_label=by_label)
    chosen = membership([12, 8], 20, 3, np.array(LABELS, int) if by_label else None)
    for number, (out, rows) in enumerate(zip(outs, chosen, strict=True)):
        assert_rows(out, IMAGES[rows])
        reader = open_pyramid(out)
        assert reader.sources() == [f"photo {row}" for row in rows]
        assert reader.labels().tolist() == [int(LABELS[row]) for row in rows]
        assert reader.manifest.label_names == ["no", "yes"]
        assert reader.manifest.options == {"crop": "none"}
        provenance = reader.manifest.provenance
        assert provenance["split"] == {"seed": 3, "by_label": by_label, "counts": [12, 8], "part": number}
        assert provenance["whole"]["content_digest"] == open_pyramid(whole).manifest.content_digest
        assert provenance["whole"]["provenance"] == {"source": "photos"}
        assert done[number].manifest == reader.manifest
    if by_label:
        assert open_pyramid(outs[1]).labels().sum() in (2, 3)  # of 7 of 20


def test_the_same_command_again_finds_its_parts(whole, tmp_path, bars, monkeypatch):
    outs = [tmp_path / "train.h5", tmp_path / "test.h5"]
    monkeypatch.setattr(assembly, "_MOST_ROWS", 1)
    finish = assembly._finish
    with monkeypatch.context() as patch:

        def killed(writer, *arguments):
            if writer.path == outs[1]:
                raise KeyboardInterrupt
            finish(writer, *arguments)

        patch.setattr(assembly, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(whole, outs, bars)
    assert listing(tmp_path) == [".test.h5.partial", "set.h5", "train.h5"]
    done = run(whole, outs, bars)
    assert [(part.copied, part.resumed) for part in done] == [(0, 12), (0, 8)]
    rows = membership([12, 8], 20, 0)
    for out, chosen in zip(outs, rows, strict=True):
        assert_rows(out, IMAGES[chosen])
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"train\.h5 exists already"):
        run(whole, outs, bars, seed=1)
    assert listing(tmp_path) == before


def test_bad_outputs(whole, tmp_path, bars):
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"a\.h5 is named twice"):
        run(whole, [tmp_path / "a.h5", tmp_path / "." / "a.h5"], bars)
    with pytest.raises(InputError, match=r"set\.h5 is what would be read"):
        run(whole, [tmp_path / "a.h5", whole], bars)
    with pytest.raises(InputError, match="names no format"):
        run(whole, [tmp_path / "a.h5", tmp_path / "b"], bars)
    assert listing(tmp_path) == before


def test_by_label_needs_labels(tmp_path, bars):
    path = write(tmp_path / "set.h5", noise(10))
    with pytest.raises(InputError, match="has no labels to split by; leave --by-label out"):
        run(path, [tmp_path / "a.h5", tmp_path / "b.h5"], bars, by_label=True)


def test_every_part_has_its_lines_of_the_ledger(photos, make, tmp_path, bars):
    path = make(photos, shuffle=1).path
    outs = [tmp_path / "a.h5", tmp_path / "b.h5"]
    run(path, outs, bars)
    for out in outs:
        names = open_pyramid(out).sources()
        entries = list(ledger.read(ledger.path_of(out)))
        assert [names[entry.rows[0]] for entry in entries] == [entry.path for entry in entries]
        assert sorted(entry.rows[0] for entry in entries) == list(range(len(names)))
        assert verify(out, jobs=1, progress=bars).ledger == "matches"
