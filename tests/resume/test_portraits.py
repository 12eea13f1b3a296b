"""Portraits that were stopped in any way go on with the same command, and end with the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("suffix", "scenario", "kills"), [("h5", "portraits", 14), ("folder", "aligned", 12)])
def test_killed_at_any_moment(tmp_path, suffix, scenario, kills):
    """While faces are searched, portraits are judged, made, published, and while the sheets are drawn."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_builds.py"), tmp_path, suffix, scenario, str(kills), "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == []
    assert max(result["kept"]) > 0  # some did go on with their rows
    assert min(result["looked"]) < 13  # and some with the faces that were found
