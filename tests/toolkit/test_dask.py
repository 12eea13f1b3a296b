"""Builds on a cluster: a real scheduler and real workers on loopback, one of which is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

import growgan
from datasets.errors import InputError
from toolkit.engine.cluster import Cluster

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
WORKER = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
SECONDS = 120  # to wait for anything, on a busy machine


class Processes:
    """A scheduler and workers of this test."""

    def __init__(self, folder):
        self.folder, self.running = folder, []
        self.file = folder / "scheduler.json"
        self.scheduler = self.start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)
        )
        wait_until(lambda: self.file.exists() and self.file.stat().st_size)
        self.address = json.loads(self.file.read_text())["address"].replace("tcp://", "dask://")

    def start(self, *arguments, environment=ENVIRONMENT):
        with (self.folder / f"log{len(self.running)}").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments], stdout=log, stderr=log, cwd=self.folder, env=environment
            )
        self.running.append(process)
        return process

    def worker(self, environment=ENVIRONMENT):
        place = self.folder / f"worker{len(self.running)}"
        return self.start(
            "worker",
            "--scheduler-file",
            str(self.file),
            *WORKER,
            "--local-directory",
            str(place),
            environment=environment,
        )

    def stop(self):
        for process in reversed(self.running):
            process.kill()
            process.wait()


def wait_until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    started = Processes(tmp_path_factory.mktemp("cluster"))
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dask") / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(150):
        small = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.jpg")
    return folder


def begin(*arguments, folder):
    with (folder / "said").open("w") as said:
        command = [sys.executable, "-m", "toolkit.cli", "make-pyramid", *map(str, arguments)]
        return subprocess.Popen(command, stdout=said, stderr=said, env=ENVIRONMENT)


def end(process, folder):
    """Exit code and what was said; what progress bars draw over is left out."""
    process.wait(timeout=SECONDS)
    return process.returncode, "\n".join(
        line for line in (folder / "said").read_text().replace("\r", "\n").splitlines() if "img/s" not in line
    )


def rows_written(folder):
    bars = (folder / "said").read_text().replace("\r", "\n").splitlines()
    counts = [int(line.split("/", 1)[0].rsplit(" ", 1)[-1]) for line in bars if "writing rows" in line]
    return max(counts, default=0)


def test_a_killed_worker_changes_nothing(processes, source, tmp_path):
    options = ["--resolution", "256", "--shuffle", "3"]
    first, *others = [processes.worker() for _ in range(4)]
    here = begin(source, tmp_path / "here.h5", *options, folder=tmp_path)
    assert end(here, tmp_path)[0] == 0
    there = begin(source, tmp_path / "there.h5", *options, "--scheduler", processes.address, folder=tmp_path)
    wait_until(lambda: rows_written(tmp_path) >= 10 or there.poll() is not None)
    assert there.poll() is None, end(there, tmp_path)
    first.send_signal(signal.SIGKILL)
    code, said = end(there, tmp_path)
    assert code == 0, said
    for name in ("{}.h5", "{}.h5.ledger.jsonl"):
        assert (tmp_path / name.format("here")).read_bytes() == (tmp_path / name.format("there")).read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert [worker.poll() for worker in others] == [None] * 3


def test_what_workers_cannot_do_is_one_line(processes, source):
    """Other versions of what decodes images; a source that only this machine has; a task that kills them."""
    script = """
import os, sys
from pathlib import Path
import growgan
from datasets.errors import InputError
from toolkit.engine import cluster
from toolkit.sources import folder
from toolkit.engine.workers import hired

versions = cluster.deciding_versions()
for path, expected in ((sys.argv[2], {**versions, "pillow": "1.0"}), ("/nowhere", versions)):
    cluster.deciding_versions = lambda: expected
    folder.Source.__reduce__ = lambda self: (folder.Source, (Path(path),))
    with hired(1, sys.argv[1]) as workers:
        source = folder.Source(Path(sys.argv[2]))
        try:
            list(workers.in_order(source.__getitem__, range(3)))
        except InputError as error:
            print(error)
with hired(1, sys.argv[1]) as workers:
    try:
        list(workers.in_order(os._exit, [1]))  # of one task two workers die: so many as this scheduler puts up with
    except InputError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, processes.address, str(source)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=SECONDS,
        cwd=Path(growgan.__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    versions, place, killed = done.stdout.splitlines()
    assert re.fullmatch(
        rf"worker tcp://127.0.0.1:\d+ has pillow {PIL.__version__}, but this machine 1.0, so its pixels .*",
        versions,
    )
    assert re.fullmatch(
        r"worker tcp://127.0.0.1:\d+: /nowhere does not exist; .*; all workers must see the source under the same path",
        place,
    )
    assert re.fullmatch(
        r"task killed every worker that tried it, the last tcp://127.0.0.1:\d+; see its log, .*", killed
    )
    assert done.stderr == ""


def test_work_waits_for_a_worker_and_ends_if_none_comes(tmp_path):
    script = """
import sys, time
import growgan
from datasets.errors import InputError
from toolkit.engine import cluster
from toolkit.engine.workers import hired

cluster._LOOK, cluster._SILENT, cluster._ABANDONED = 0.2, 1, 100
with hired(1, sys.argv[1]) as workers:
    for number, _ in enumerate(workers.in_order(time.sleep, [0.1] * 20)):
        if number == 2:
            print("begun", flush=True)
    print("done", number, flush=True)
    cluster._ABANDONED = 3
    try:
        for number, _ in enumerate(workers.in_order(time.sleep, [0.1] * 10_000)):
            if number == 2:
                print("begun", flush=True)
    except InputError as error:
        print(error)
"""
    started = Processes(tmp_path)
    said = tmp_path / "said"
    try:
        worker = started.worker()
        with said.open("w") as errors:
            command = [sys.executable, "-c", script, started.address]
            work = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=ENVIRONMENT)
        started.running.append(work)
        assert work.stdout.readline() == "begun\n"
        worker.kill()
        wait_until(said.read_text)
        assert said.read_text() == f"no worker is left at {started.address}; waiting for one, up to 100 s\n"
        worker = started.worker()
        assert work.stdout.readline() == "done 19\n"
        assert work.stdout.readline() == "begun\n"
        worker.kill()
        since = time.monotonic()
        last = work.communicate(timeout=SECONDS)[0]
        assert time.monotonic() - since > 2
        assert last == (
            f"the scheduler {started.address} has no workers left; none came for 3 s; "
            "start some with dask worker HOST:PORT\n"
        )
        assert [line.split(";")[0] for line in said.read_text().splitlines()] == [
            f"no worker is left at {started.address}",
            f"a worker is there again at {started.address}",
            f"no worker is left at {started.address}",
        ]
    finally:
        started.stop()


def test_a_killed_scheduler_is_one_line_and_the_build_goes_on_without_it(processes, source, tmp_path):
    out = tmp_path / "set.h5"
    build = begin(source, out, "--resolution", "256", "--scheduler", processes.address, folder=tmp_path)
    wait_until(lambda: rows_written(tmp_path) >= 5 or build.poll() is not None)
    processes.scheduler.kill()
    code, said = end(build, tmp_path)
    assert (code, len(said.strip().splitlines())) == (1, 1), said
    assert "was lost; see that it runs; what is done is kept, and the same command goes on" in said
    code, said = end(begin(source, out, "--resolution", "256", folder=tmp_path), tmp_path)
    assert code == 0, said
    assert "going on with an interrupted build" in said


@pytest.mark.parametrize("address", ["127.0.0.1:1", "dask://", "dask://a:1/b", "tcp://a:1", "dask://a"])
def test_what_is_no_address(address):
    with pytest.raises(InputError, match=r"is no address of a Dask scheduler; write dask://HOST:PORT"):
        Cluster(address)


def test_dask_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"needs Dask; install it with pip install growgan\[dask\]"):
        Cluster("dask://127.0.0.1:1")


def test_nobody_there(monkeypatch):
    def refuse(address, timeout):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.raises(
        InputError, match=r"no Dask scheduler answers at 127\.0\.0\.1:1 \(.*Connection refused\); start"
    ):
        Cluster("dask://127.0.0.1:1")
