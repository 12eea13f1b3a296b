"""A build that was stopped in any way goes on with the same command, and ends with the same bytes."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit import build as build_module
from toolkit.build import build
from toolkit.engine import process, tasks
from toolkit.engine.journal import Journal, path_of
from toolkit.engine.output import Output
from toolkit.options import Options

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("suffix", "scenario", "kills"),
    [("h5", "plain", 12), ("h5", "chosen", 12), ("lmdb", "tiles", 8), ("shards", "tiles", 8), ("lmdb", "chosen", 6)],
)
def test_killed_at_any_moment(tmp_path, suffix, scenario, kills):
    """SIGKILL before and within system calls and at random moments, up to three times in a row."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_builds.py"), tmp_path, suffix, scenario, str(kills), "1"],
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == []
    assert max(result["kept"]) > 0  # some builds did go on


class Bar:
    def update(self, n):
        pass

    def set_postfix_str(self, s, refresh=True):
        pass


class Builder:
    """Builds of one source in the test's folder, that save after every image."""

    def __init__(self, folder):
        self.folder, self.said, self.made = folder, [], []
        self.source = folder / "photos"
        self.source.mkdir()
        for number in range(8):
            self.photo(f"{number}.png", number)

    def photo(self, name, seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(self.source / name)

    def __call__(self, out="set.h5", *, jobs=1, overwrite=False, shards=1, source=None, **options):
        self.said.clear()
        self.made.clear()
        return build(
            source or self.source,
            Output(path=self.folder / out, overwrite=overwrite, shards=shards),
            Options(**{"resolution": 16, **options}),
            jobs=jobs,
            progress=lambda total, what, initial=0: contextlib.nullcontext(Bar()),
            say=self.said.append,
        )

    def stopped(self, *args, at=5, **options):
        """Stop a build by an interrupt before image number `at` is made."""
        real = process.make

        def make(*arguments):
            if any(part.index >= at for part in arguments[-1].parts):
                raise KeyboardInterrupt
            return real(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "make", make)
            with pytest.raises(KeyboardInterrupt):
                self(*args, **options)

    def is_as_if_built_at_once(self, out="set.h5", **options):
        """The data set, its ledger, and nothing else."""
        other = self(f"other-{out}", **options)
        same = (self.folder / out).read_bytes() == other.path.read_bytes()
        same &= (self.folder / f"{out}.ledger.jsonl").read_bytes() == other.ledger.read_bytes()
        return same and not [path for path in self.folder.iterdir() if path.name.startswith(".")]


@pytest.fixture
def builder(tmp_path, monkeypatch):
    made = Builder(tmp_path)
    monkeypatch.setattr(build_module, "SAVE_SECONDS", 0)
    monkeypatch.setattr(tasks, "_IMAGES", 1)
    real = process.make

    def make(*arguments):
        made.made.extend(part.name for part in arguments[-1].parts)
        return real(*arguments)

    monkeypatch.setattr(process, "make", make)
    return made


@pytest.mark.parametrize("options", [{}, {"shuffle": 3}, {"skip_bad": True}])
def test_only_what_is_missing_is_made(builder, options):
    builder.stopped(**options)
    assert not (builder.folder / "set.h5").exists()
    with pytest.raises(InputError, match="does not exist"):
        open_pyramid(builder.folder / "set.h5")
    with pytest.raises(InputError):
        open_pyramid(builder.folder / ".set.h5.partial")
    summary = builder(jobs=3, **options)
    assert summary.rows_kept == 5
    assert sorted(builder.made) == ["5.png", "6.png", "7.png"]
    assert builder.said == ["going on with an interrupted build: 5 of 8 rows are there"]
    assert builder.is_as_if_built_at_once(**options)


def test_an_image_that_changed_since_is_made_again(builder):
    builder.stopped()
    builder.photo("2.png", 99)
    os.utime(builder.source / "3.png", (1, 1))
    assert builder().rows_kept == 3
    assert builder.made == ["2.png", "3.png", "5.png", "6.png", "7.png"]
    assert builder.is_as_if_built_at_once()


def test_an_image_that_was_replaced_by_another_name(builder):
    """As many images as before, of equal sizes and times, but others under most numbers."""
    for number in range(8):
        path = builder.source / f"{number}.png"
        Image.open(path).convert("RGB").save(path, format="BMP")
        os.utime(path, (9, 9))
    builder.stopped()
    (builder.source / "0.png").rename(builder.source / "9.png")
    builder()
    assert sorted(builder.made) == ["1.png", "2.png", "3.png", "4.png", "5.png", "6.png", "7.png", "9.png"]
    assert builder.is_as_if_built_at_once()


def test_an_image_more_begins_anew(builder):
    builder.stopped()
    builder.photo("00.png", 12)
    assert builder().rows_kept == 0
    assert builder.is_as_if_built_at_once()


@pytest.mark.parametrize("other", [{"resample": "area"}, {"shuffle": 1}, {"skip_bad": True}, {"labels": False}])
def test_other_options_begin_anew_and_say_so(builder, other):
    builder.stopped()
    assert builder(**other).rows_kept == 0
    assert builder.said == [
        f"an interrupted build of {builder.folder / 'set.h5'} was another one; this one begins anew"
    ]
    assert builder.is_as_if_built_at_once(**other)


def test_another_number_of_shards_begins_anew(builder):
    builder.stopped(shards=2)
    assert builder().rows_kept == 0
    builder.stopped("b.h5")
    assert builder("b.h5", shards=2).rows_kept == 0
    assert [path.name for path in builder.folder.iterdir() if path.name.startswith(".")] == []


def test_a_partial_file_that_is_gone_begins_anew(builder):
    builder.stopped()
    (builder.folder / ".set.h5.partial").unlink()
    assert builder().rows_kept == 0
    assert builder.is_as_if_built_at_once()


def test_a_partial_file_of_another_build_is_not_trusted(builder):
    """The rows are there, with their digests, but they are not those that the journal speaks of."""
    builder.stopped()
    for number in range(8):
        builder.photo(f"{number}.png", 50 + number)
    builder.stopped("other.h5", at=7)
    for number in range(8):
        builder.photo(f"{number}.png", number)
        os.utime(builder.source / f"{number}.png", (number, number))
    builder.stopped("third.h5")
    (builder.folder / ".other.h5.partial").replace(builder.folder / ".third.h5.partial")
    assert builder("third.h5").rows_kept == 0
    for path in builder.folder.glob(".*partial"):
        path.unlink()
    assert builder.is_as_if_built_at_once("third.h5")


def test_a_lost_journal_begins_anew(builder):
    builder.stopped()
    path_of(builder.folder / "set.h5").unlink()
    assert builder().rows_kept == 0
    assert builder.is_as_if_built_at_once()


def test_a_photograph_in_many_parts(builder):
    from toolkit.transforms import Crop

    options = {"crop": Crop("tile", tile=8, stride=2), "resolution": 8, "shuffle": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_ROW_BYTES", 6 * 3 * 64)
        builder.stopped(at=2, **options)
        summary = builder(**options)
        assert summary.rows_kept == 2 * 35
        assert builder.is_as_if_built_at_once(**options)


def test_a_source_file_that_vanished(builder):
    plan = build_module.make_plan

    def vanish(*arguments):
        made = plan(*arguments)
        (builder.source / "5.png").rename(builder.folder / "away")
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "make_plan", vanish)
        with pytest.raises(
            InputError, match=r"^.*5\.png was there when .* and is gone; .*; what is done is kept, .* goes on with it$"
        ):
            builder()
    (builder.folder / "away").rename(builder.source / "5.png")
    assert builder().rows_kept == 5
    assert builder.is_as_if_built_at_once()


def test_a_folder_that_lost_its_permission(builder):
    flush = build_module._Saver.save

    def deny(self):
        flush(self)
        if self._journal.find("done", 4):
            raise InputError(f"cannot write {builder.folder}: Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module._Saver, "save", deny)
        with pytest.raises(InputError, match=r"Permission denied; what is done is kept, and the same command goes on"):
            builder()
    assert builder().rows_kept >= 5
    assert builder.is_as_if_built_at_once()


def test_killed_between_the_data_set_and_the_end_of_its_journal(builder):
    """The data set is whole: the same command says so instead of complaining that it exists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "discard", lambda self: None)
        first = builder()
    assert path_of(first.path).exists()
    again = builder()
    assert builder.made == []
    assert builder.said == [f"{first.path} was complete already"]
    assert (again.manifest, again.images, again.rows_kept) == (first.manifest, 8, 8)
    assert builder.is_as_if_built_at_once()
    with pytest.raises(InputError, match="exists already"):
        builder()


def test_a_data_set_that_is_to_be_replaced_stays_until_the_end(builder):
    old = builder(resample="area")
    before = old.path.read_bytes()
    builder.stopped(overwrite=True)
    assert old.path.read_bytes() == before
    with pytest.raises(InputError, match="exists already"):
        builder()
    assert builder(overwrite=True).rows_kept == 5
    assert builder.is_as_if_built_at_once()


def test_a_replaced_source_of_one_file(builder):
    np.save(builder.folder / "a.npy", np.zeros((8, 16, 16, 3), np.uint8))
    builder.stopped(source=builder.folder / "a.npy")
    np.save(builder.folder / "a.npy", np.ones((8, 16, 16, 3), np.uint8))
    os.utime(builder.folder / "a.npy", (5, 5))
    assert builder(source=builder.folder / "a.npy").rows_kept == 0
    assert builder.is_as_if_built_at_once(source=builder.folder / "a.npy")


@pytest.mark.parametrize("out", ["set.h5", "set.lmdb"])
def test_a_disk_that_is_full(builder, out):
    """A real one: the system refuses to let a file grow."""
    script = (
        "import resource, sys, toolkit.cli, toolkit.build as build, toolkit.engine.tasks as tasks\n"
        "build.SAVE_SECONDS, tasks._IMAGES = 0, 1\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)\n"
        "toolkit.cli.main()\n"
    )
    command = ["make-pyramid", str(builder.source), str(builder.folder / out), "--resolution", "16", "--jobs", "1"]
    for limit, code in ((12_000, 1), (1 << 30, 0)):
        done = subprocess.run(
            [sys.executable, "-c", script, str(limit), *command],
            env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        said = done.stderr.replace("\r", "\n").strip().splitlines()
        assert done.returncode == code, done.stderr
        if code:
            assert said[-1].startswith(f"error: cannot write {builder.folder / out}: ")
            assert "File too large" in said[-1] or out == "set.lmdb"  # LMDB does not say why
    digest = open_pyramid(builder.folder / out).manifest.content_digest
    assert digest == builder("whole.h5").manifest.content_digest
    assert not [path for path in builder.folder.iterdir() if path.name.startswith(".")]


def test_two_builds_at_once_are_refused(builder):
    path = builder.folder / "set.h5"
    with Journal(path, {}), pytest.raises(InputError, match=r"another process is making .*set\.h5; wait for it"):
        builder()
    assert sorted(item.name for item in builder.folder.iterdir()) == [".set.h5.journal.partial", "photos"]
