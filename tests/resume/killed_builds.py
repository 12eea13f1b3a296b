"""Builds that are killed at a given system call, or at a random moment, and begun again. Run as a program by
test_build.py and test_portraits.py, so that it may fork; prints JSON: ``killed_builds.py FOLDER FORMAT SCENARIO KILLS
SEED``.

Every build runs in a process of its own. It counts its system calls that change files; at number n it is sent SIGKILL,
before the call, or in the middle of it if the call writes.
"""

from __future__ import annotations

import growgan  # isort: split

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import joblib  # noqa: F401  once here, not in every child
import numpy as np
from PIL import Image

from datasets.errors import InputError
from toolkit import build as build_module
from toolkit import ledger, plan
from toolkit.celebahq import aligning, mapping, portraits
from toolkit.celebahq.faces.policy import FacePolicy
from toolkit.celebahq.geometry import oriented_square
from toolkit.celebahq.stages import Stages
from toolkit.engine import tasks
from toolkit.engine.output import Output
from toolkit.options import Options
from toolkit.selection import Criteria
from toolkit.sources import open_source
from toolkit.transforms import Crop

assert growgan.__version__
CALLS = ("pwrite", "fdatasync", "fsync", "ftruncate", "replace", "rename", "unlink", "mkdir", "open")


class Bar:
    def update(self, n):
        pass

    def set_postfix_str(self, s, refresh=True):
        pass


def make_source(folder):
    """Twelve photographs of several sizes, one of them too large for one task; some bad, some alike."""
    generator = np.random.default_rng(3)
    folder.mkdir()
    for number in range(12):
        height, width = [(16, 16), (24, 40), (33, 20)][number % 3]
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(
            folder / f"{number:02d}.png"
        )
    shutil.copy(folder / "04.png", folder / "07-again.png")
    return folder


def options_of(scenario, folder):
    if scenario == "plain":
        return Options(resolution=16)
    if scenario in ("portraits", "aligned"):
        (folder / "03.png").write_bytes(b"hello")
        order = "score" if scenario == "portraits" else "source"
        criteria = Criteria(best=6)
        return Options(resolution=32, crop=Crop("none"), labels=False, skip_bad=True, criteria=criteria, order=order)
    if scenario == "tiles":
        return Options(resolution=8, crop=Crop("tile", tile=8, stride=4), shuffle=1)
    (folder / "03.png").write_bytes(b"hello")
    (folder / "99.png").write_bytes((folder / "00.png").read_bytes()[:300])
    return Options(resolution=16, skip_bad=True, shuffle=5, criteria=Criteria(near_duplicates=8, min_size=17))


def portraits_of(folder):
    """Two faces in every third photograph, none in number 5, one in all others."""
    import portrait_photos

    found = {}
    for number, path in enumerate(sorted(folder.iterdir())):
        faces = [portrait_photos.face(8, 6, 3), portrait_photos.face(13 - number % 3, 9, 4 + number % 5)]
        found[path.name] = [] if number == 5 else faces if number % 3 == 0 else faces[1:]
    finder = portrait_photos.CountingFinder(found)
    stages = Stages(resolution=32, direct=True, supersampling=1)
    return portraits.Portraits(open_source(folder), finder, FacePolicy(which="all"), stages), finder


def work(scenario, source, output, options):
    """Build; what it gave, and what else is to be told."""
    quiet = {"jobs": 2, "progress": lambda total, what, initial=0: contextlib.nullcontext(Bar())}
    if scenario not in ("portraits", "aligned"):
        summary = build_module.build(source, output, options, **quiet)
        return {"digest": summary.manifest.content_digest, "kept": summary.rows_kept}
    source, finder = portraits_of(source)
    if scenario == "aligned":
        done = aligning.align(source, output.path, options, **quiet)
        return {"digest": ledger.path_of(done.path).read_text(), "kept": done.kept, "looked": len(finder.looked)}
    tables = {mapping.path_of(output.path): mapping.write}
    summary = build_module.build(source, output, options, **quiet, tables=tables)
    kept = {"kept": summary.rows_kept, "looked": len(finder.looked)}
    return {"digest": summary.manifest.content_digest, **kept}


def warm_up():
    """Compile, or load, once what else every child would."""
    from toolkit.celebahq import quality, recipe

    points = np.array([[6, 8], [12, 8], [9, 11], [7, 14], [11, 14.0]])
    pixels = np.zeros((16, 16, 3), np.uint8)
    done = recipe.render(pixels, oriented_square(points, "x"), "x", resolution=32, direct=True, supersampling=1)
    quality.score(done.pixels)


def child(scenario, source, output, options, kill_at, result):
    """Build, and be killed at system call number `kill_at`."""
    count = 0
    real = {name: getattr(os, name) for name in CALLS}

    def counted(name):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == kill_at:
                if name == "pwrite":
                    real["pwrite"](args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real[name](*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, counted(name))
    build_module.SAVE_SECONDS = plan.SAVE_SECONDS = portraits.SAVE_SECONDS = aligning.SAVE_SECONDS = 0
    tasks._ROW_BYTES = 4 * 3 * 256
    tasks._IMAGES = 1
    code = 0
    try:
        result.write_text(json.dumps({**work(scenario, source, output, options), "calls": count}))
    except InputError as error:
        result.write_text(json.dumps({"error": str(error)}))
        code = 1
    os._exit(code)


def run(scenario, source, output, options, result, kill_at=0, kill_after=None):
    """Signal that ended the build, or 0; and what it said."""
    result.unlink(missing_ok=True)
    process = os.fork()
    if process == 0:
        child(scenario, source, output, options, kill_at, result)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WTERMSIG(status), json.loads(result.read_text()) if result.exists() else None


def content(path):
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    beside = sorted(path.parent.glob(f"{path.name}.*"))
    return [(file.name, file.read_bytes()) for file in files], [(file.name, file.read_bytes()) for file in beside]


def main():
    root, suffix, scenario, kills, seed = (
        Path(sys.argv[1]),
        sys.argv[2],
        sys.argv[3],
        int(sys.argv[4]),
        int(sys.argv[5]),
    )
    generator = random.Random(seed)
    source = make_source(root / "photos")
    options = options_of(scenario, source)
    shards = 3 if suffix == "shards" else 1
    name = {"shards": "set.h5", "folder": "portraits"}.get(suffix, f"set.{suffix}")
    if scenario in ("portraits", "aligned"):
        warm_up()
    result = root / "result.json"
    (root / "whole").mkdir()
    whole = Output(path=root / "whole" / name, shards=shards)
    begun = time.monotonic()
    _, said = run(scenario, source, whole, options, result)
    seconds = time.monotonic() - begun
    digest, calls = said["digest"], said["calls"]
    faults, kept_rows, looked = [], [], []
    expected = sorted(path.name for path in (root / "whole").iterdir())
    for number in range(kills):
        folder = root / f"killed{number}"
        folder.mkdir()
        output = Output(path=folder / name, shards=shards)
        history = []
        for attempt in range(generator.randint(1, 3)):
            if generator.random() < 0.25:
                moment = {"kill_after": generator.uniform(0, seconds)}
            elif attempt:
                moment = {"kill_at": generator.randint(1, calls)}
            else:  # spread over the whole build
                moment = {"kill_at": 1 + int((number + generator.random()) * calls / kills)}
            ended, said = run(scenario, source, output, options, result, **moment)
            history.append((moment, ended, said))
            if said is not None and ended == 0:
                break
        if not (said and ended == 0):
            ended, said = run(scenario, source, output, options, result)
            history.append(("end", ended, said))
        kept_rows.append(said.get("kept", 0))
        looked.append(said.get("looked", 0))
        left = sorted(path.name for path in folder.iterdir())
        same_files = suffix == "lmdb" or content(output.path)[0] == content(whole.path)[0]
        same_ledger = content(output.path)[1] == content(whole.path)[1]
        if said.get("digest") != digest or not same_files or not same_ledger or left != expected:
            faults.append([history, left, same_files, same_ledger])
        shutil.rmtree(folder)
    told = {"calls": calls, "seconds": seconds, "faults": faults, "kept": kept_rows, "looked": looked}
    sys.stdout.write(json.dumps(told))


main()
