"""One measurement by two processes, as torchrun starts them, against the same by one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.networks import random_state
from safetensors.torch import save_file

from metrics import scores, sharing
from metrics.features.digits import parameter_shapes
from metrics.measuring import measure

OPTIONS = ["--extractor", "random-projection", "--batch-size", "5", "--no-cache", "--json", "-"]


def by_two(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "metrics.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


@pytest.mark.slow
def test_every_metric(tmp_path: Path, scenes: Callable[..., NDArray[np.uint8]]) -> None:
    """Batches of five tear pairs of MS-SSIM apart and leave an odd rest; only the first process speaks."""
    sets = tmp_path / "real.npy", tmp_path / "fake.npy"
    for path, images in zip(sets, (scenes(42, 32), scenes(32, 32, seed=1) // 2), strict=True):
        np.save(path, images)
    random_digits = tmp_path / "digits.safetensors"  # without them the modes would be left out
    save_file(random_state(parameter_shapes()), random_digits)
    done = by_two("all", *sets, *OPTIONS, "--weights", f"digits={random_digits}")
    assert done.returncode == 0, done.stderr
    found = {result["metric"]: result for result in json.loads(done.stdout)}
    alone = measure(
        scores.names(),
        *sets,
        extractor="random-projection",
        batch_size=5,
        no_cache=True,
        all_that_apply=True,
        weights=[f"digits={random_digits}"],
    )
    assert set(found) == {result["metric"] for result in alone.results}
    assert len(found) == len(scores.names())
    for result in alone.results:
        other = found[result["metric"]]
        assert other["value"] == pytest.approx(result["value"], rel=1e-6)
        if "reference" in result:
            assert other["reference"].keys() == result["reference"].keys()
            for key, value in result["reference"].items():
                right = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
                assert other["reference"][key] == right
        assert {key: other[key] for key in ("num_images", "protocol", "real", "fake", "warnings")} == {
            key: result[key] for key in ("num_images", "protocol", "real", "fake", "warnings")
        }
    assert len(re.findall("^MS-SSIM: ", done.stderr, re.MULTILINE)) == 1
    assert len(re.findall("real images:   0%", done.stderr)) == 1  # where every bar begins; one may end twice


def test_alone_nothing_is_exchanged() -> None:
    assert (sharing.rank(), sharing.world_size()) == (0, 1)
    assert sharing.from_first("x") == "x"
