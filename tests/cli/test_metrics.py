"""The metrics command as a user meets it: output, exit codes, one-line errors, nothing half-made."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyramids
import pytest
from PIL import Image

from metrics import cli, scores
from metrics.measuring import measure


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """`console.run` takes over SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Function that runs the command in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["metrics", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        if isinstance(stop.value.code, str):  # what sys.exit prints
            return 1, out, err + stop.value.code
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of 32x32."""
    path = tmp_path_factory.mktemp("images")
    for k in range(12):
        write(path / f"{k:02d}.png", k)
    return path


def write(path: Path, seed: int, size: tuple[int, int] = (32, 32)) -> None:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)


def test_swd_table_and_json(
    run: Callable[..., tuple[int, str, str]], make_pyramid: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    pyramid = make_pyramid(24, 64)
    code, out, err = run("swd", pyramid, folder, "--resolution", "32", "--json", tmp_path / "swd.json", "--seed", "3")
    assert (code, out) == (0, "")
    result = json.loads((tmp_path / "swd.json").read_text())
    assert (result["metric"], result["num_images"], result["seed"]) == ("swd", 12, 3)
    assert result["real"]["kind"] == "pyramid"
    table = err[err.index("SWD x1000") :]
    for level, value in (*result["levels"].items(), ("average", result["value"])):
        floor = result["floor"]["value"] if level == "average" else result["floor"]["levels"][level]
        row = next(line.split() for line in table.splitlines() if line.split()[:1] == [level])
        error = result["standard_error"] if level == "average" else result["levels_error"][level]
        assert row == [level, f"{value:.2f}", f"{error:.2f}", f"{floor:.2f}", f"{value / floor:.1f}"]
    assert "floor (12 images)" in table
    assert "note: measured on 12 images" in table
    assert list(tmp_path.iterdir()) == [tmp_path / "swd.json"]


def test_ms_ssim_beside_a_reference(run: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    code, out, err = run("ms-ssim", folder, "--reference", folder, "--num-images", "8", "--json", "-")
    result = json.loads(out)
    assert code == 0
    assert result["num_pairs"] == 4
    assert result["reference"]["value"] == result["value"]
    assert f"reference  {result['value']:.4f}" in err


def test_stdout_of_a_real_process_holds_json_alone(folder: Path) -> None:
    command = [sys.executable, "-m", "metrics.cli", "ms-ssim", str(folder), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["metric"] == "ms-ssim"
    assert "MS-SSIM" in done.stderr


def test_help(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"\n  {command} " in out for command in ("ms-ssim", "report", "swd"))
    for command in ("ms-ssim", "report", "swd"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"Examples:\n    metrics {command}" in out
        assert "\\b" not in out


def test_report(run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.report.write_report", lambda run, out, evaluations: out or run / "report.html")
    assert run("report", "runs/demo") == (0, "", "the report is runs/demo/report.html\n")
    assert run("report", "runs/demo", "--out", "x.html")[2] == "the report is x.html\n"


def _nothing(path: Path) -> list[object]:
    return [path / "nope"]


def _empty(path: Path) -> list[object]:
    (path / "empty").mkdir()
    return [path / "empty"]


def _text(path: Path) -> list[object]:
    (path / "notes.txt").write_text("hello")
    return [path / "notes.txt"]


def _not_an_image(path: Path) -> list[object]:
    write(path / "set" / "a.png", 0)
    (path / "set" / "b.png").write_text("hello")
    return [path / "set"]


def _truncated(path: Path) -> list[object]:
    for name in "abc":
        write(path / "set" / f"{name}.png", 0)
    whole = (path / "set" / "b.png").read_bytes()
    (path / "set" / "b.png").write_bytes(whole[: len(whole) // 2])
    return [path / "set"]


def _mixed(path: Path) -> list[object]:
    write(path / "set" / "a.png", 0)
    write(path / "set" / "b.png", 0, (16, 16))
    return [path / "set"]


def _small(path: Path) -> list[object]:
    for name in "ab":
        write(path / "set" / f"{name}.png", 0, (8, 8))
    return [path / "set"]


def _foreign(path: Path) -> list[object]:
    (path / "foreign.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
    return [path / "foreign.h5"]


def _checkpoint(path: Path) -> list[object]:
    (path / "cut.safetensors").write_bytes(bytes(100))
    return [path / "cut.safetensors"]


BAD_SETS = [_nothing, _empty, _text, _not_an_image, _truncated, _mixed, _small, _foreign, _checkpoint]


@pytest.mark.parametrize("command", ["swd", "ms-ssim"])
@pytest.mark.parametrize("bad", BAD_SETS, ids=lambda bad: bad.__name__.strip("_"))
def test_bad_sets(
    run: Callable[..., tuple[int, str, str]],
    command: str,
    bad: Callable[[Path], list[object]],
    tmp_path: Path,
    folder: Path,
) -> None:
    arguments = bad(tmp_path)
    if command == "swd":
        arguments = [*arguments, *(arguments if bad is _small else [folder])]
    code, out, err = run(command, *arguments, "--json", tmp_path / "out.json")
    assert code == 1
    assert out == ""
    message = err[err.index("error: ") :]
    assert "\n" not in message
    assert "Traceback" not in err
    if bad is not _small:
        assert str(arguments[0]) in message
    assert not list(tmp_path.glob("*.json*"))


def test_bad_values(
    run: Callable[..., tuple[int, str, str]], folder: Path, make_pyramid: Callable[..., Path], tmp_path: Path
) -> None:
    pyramid = make_pyramid(24, 64)
    cases: list[tuple[int, str, list[object]]] = [
        (1, "has images of 64x64, .* of 32x32; .*--resolution 32", ["swd", pyramid, folder]),
        (1, "has no level of 256 pixels; it has 4, 8, 16, 32, 64", ["swd", pyramid, folder, "--resolution", 256]),
        (1, "resolution 33 is not a side", ["swd", folder, folder, "--resolution", 33]),
        (1, "more than the 12 fake images", ["swd", pyramid, folder, "--resolution", 32, "--num-images", 20]),
        (1, "two images or more, got 1", ["ms-ssim", folder, "--num-images", 1]),
        (1, "folder .*gone does not exist", ["swd", pyramid, folder, "--json", tmp_path / "gone" / "x.json"]),
        (1, "is a folder; name a file", ["ms-ssim", folder, "--json", tmp_path]),
        (1, "--memory must be", ["swd", folder, folder, "--memory", 0]),
        (2, "--seed", ["ms-ssim", folder, "--seed", -1]),
        (2, "--batch-size", ["ms-ssim", folder, "--batch-size", 0]),
        (2, "No such option", ["ms-ssim", folder, "--images", 4]),
        (2, "Missing argument 'FAKE'", ["swd", folder]),
        (2, "No such command", ["swe", folder, folder]),
    ]
    for expected, pattern, arguments in cases:
        code, out, err = run(*arguments)
        assert (code, out) == (expected, ""), arguments
        assert "Traceback" not in err
        assert re.search(pattern, err), (pattern, err)


def test_unwritable_target_is_found_before_any_work(
    run: Callable[..., tuple[int, str, str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metrics.measuring.open_image_set", lambda *a, **k: pytest.fail("opened an image set"))
    assert run("ms-ssim", folder, "--json", "/no/such/folder/x.json")[0] == 1


NETWORK = ["--extractor", "random-projection", "--no-cache"]


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty-four reals and twenty fakes of 16x16, as arrays."""
    paths = [tmp_path_factory.mktemp("pair") / name for name in ("real.npy", "fake.npy")]
    for seed, path in enumerate(paths):
        np.save(path, np.random.default_rng(seed).integers(0, 256, (24 - 4 * seed, 3, 16, 16)).astype(np.uint8))
    return paths


ON_FEATURES = [name for name in scores.general_names() if scores.load(name).extractor is not None]


@pytest.mark.parametrize("name", [*ON_FEATURES, "is", "pr", "dc"])
def test_metrics_on_features(run: Callable[..., tuple[int, str, str]], name: str, pair: list[Path]) -> None:
    two_sets = scores.load(scores.name_of(name) or "").two_sets
    code, out, err = run(name, *(pair if two_sets else pair[1:]), *NETWORK, "--json", "-")
    assert code == 0
    result = json.loads(out)
    assert result["metric"].endswith("-random-projection")
    assert result["extractor"]["network"] == "random-projection"
    assert f"{result['value']:.4f}" in err
    assert "features of random-projection: " in err.splitlines()[-1] or "fake.npy" in err
    assert "Traceback" not in err


def test_all_has_the_options_of_every_metric(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed from what the metrics declare: each has an option of its own, and what is said there reaches it."""
    declared = [(name, option) for name in scores.names() for option in scores.load(name).options]
    texts = [text for option in cli._all_command().params for text in option.opts]
    assert len(texts) == len(set(texts))
    help_text = re.sub(r"\s+", " ", run("all", "--help")[1])
    arguments: list[str] = []
    expected: dict[str, dict[str, Any]] = {}
    for name, option in declared:
        (text,) = {f"--{option.name}", f"--{name}-{option.name}"} & {
            f"--{given}" for given, (metric, _) in scores.options_of_all(["device"]).items() if metric == name
        }
        assert text in texts
        assert f"{name}: {option.help}" in help_text or f"{name}: {option.help.split()[0]}" in help_text
        value = option.choices[-1] if option.choices else option.default + 1 if option.name != "device" else "cuda"
        arguments += [text, str(value)]
        expected.setdefault(name, {})[option.name.replace("-", "_")] = value
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(cli, "_run_metrics", lambda *_, **given: seen.append(given))
    assert run("all", "real", "fake", *arguments)[0] == 0
    assert seen[0]["options"] == expected
    assert seen[0]["device"] == "cpu"  # of the networks: --swd-device is another
    assert run("all", "real", "fake")[0] == 0
    defaults = {(name, option.name.replace("-", "_")): option.default for name, option in declared}
    assert {(name, key): v for name, own in seen[1]["options"].items() for key, v in own.items()} == defaults
    code, _, err = run("all", "real", "fake", "--gamma", "nan")
    assert code == 1
    assert "--gamma must be at least 0" in err
    assert "--prd-repeats" in run("all", "real", "fake", "--prd-repeats", "0")[2]
    assert len(seen) == 2


def test_options_of_single_metrics_reach_them(run: Callable[..., tuple[int, str, str]], pair: list[Path]) -> None:
    own = ("--memory", "1", "--subsets", "7", "--gamma", "0.2", "--channels", "separate", "--prd-repeats", "2")
    code, out, _ = run("all", *pair, *NETWORK, *own, "--geometry-score-repeats", "3", "--json", "-")
    assert code == 0
    found = {result["metric"]: result["protocol"] for result in json.loads(out)}
    assert found["kd-random-projection"]["subsets"] == 7
    assert found["ms-ssim"]["channels"] == "separate"
    assert (found["geometry-score"]["gamma"], found["geometry-score"]["repeats"]) == (0.2, 3)
    assert found["prd-random-projection"]["repeats"] == 2


def test_all_and_aliases(run: Callable[..., tuple[int, str, str]], pair: list[Path], tmp_path: Path) -> None:
    code, out, err = run("all", *pair, *NETWORK, "--json", "-", "--cache", tmp_path)
    assert code == 0
    assert len(json.loads(out)) == len(scores.general_names())
    assert re.findall("^(.*) was left out", err, re.MULTILINE) == ["modes"]
    assert not list(tmp_path.iterdir())  # --no-cache
    code, out, err = run("geometry", *pair, "--repeats", "2", "--gamma", "0.1", "--json", "-")
    assert (code, json.loads(out)["protocol"]["gamma"]) == (0, 0.1)


def test_statistics_and_comparison(run: Callable[..., tuple[int, str, str]], pair: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "real.npz"
    code, _, err = run("statistics", pair[0], out, "--extractor", "random-projection", "--cache", tmp_path / "cache")
    assert code == 0
    assert f"the statistics are in {out}" in err
    assert f"24 computed, 0 taken from the cache {tmp_path / 'cache'}" in err
    assert run("statistics", pair[0], out, *NETWORK)[0] == 1
    assert run("statistics", pair[0], out, *NETWORK, "--overwrite")[0] == 0
    for name, real in (("a", pair[0]), ("b", out)):
        assert run("fid", real, pair[1], *NETWORK, "--json", tmp_path / f"{name}.json")[0] == 0
    code, printed, err = run("compare", tmp_path / "a.json", tmp_path / "b.json", "--json", "-")
    assert code == 0
    (found,) = json.loads(printed)
    assert found["values"] == pytest.approx([found["values"][0]] * 2)
    assert found["verdict"] in err
    code, _, err = run("compare", tmp_path / "a.json", pair[0])
    assert (code, err.count("\n")) == (1, 0)
    assert "is not JSON" in err


def test_bad_values_of_metrics_on_features(
    run: Callable[..., tuple[int, str, str]], pair: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "w.pth").write_bytes(b"no weights")
    cases: list[tuple[int, str, list[object]]] = [
        (1, "there is no network called nope", ["fid", *pair, "--extractor", "nope"]),
        (1, "w.pth", ["fid", *pair, *NETWORK, "--weights", tmp_path / "w.pth"]),
        (1, "gone.pth is not a file", ["fid", *pair, *NETWORK, "--weights", tmp_path / "gone.pth"]),
        (1, "--splits 21 is more than the 20 images", ["is", pair[1], *NETWORK, "--splits", 21]),
        (1, "--num-images 21 is more than the 20 fake", ["kid", *pair, *NETWORK, "--num-images", 21]),
        (1, "there is no device", ["fid", *pair, *NETWORK, "--device", "abacus"]),
        (1, "cannot be written", ["fid", *pair, *NETWORK[:2], "--cache", pair[0]]),
        (1, "end with .svg or .png", ["prd", *pair, *NETWORK, "--plot", tmp_path / "x.pdf"]),
        (2, "--neighbours", ["pr", *pair, *NETWORK, "--neighbours", 0]),
        (2, "--subsets", ["kid", *pair, *NETWORK, "--subsets", "x"]),
        (2, "--channels", ["ms-ssim", pair[1], "--channels", "both"]),
        (2, "--resize", ["fid", *pair, "--resize", "nearest"]),
        (2, "No such option", ["swd", *pair, "--extractor", "inception"]),
    ]
    for expected, pattern, arguments in cases:
        code, out, err = run(*arguments)
        assert (code, out) == (expected, ""), (arguments, err)
        assert "Traceback" not in err
        assert re.search(pattern, err), (pattern, err)


def test_features_that_are_not_finite_and_help_of_statistics(
    run: Callable[..., tuple[int, str, str]], pair: list[Path], tmp_path: Path
) -> None:
    features = np.random.default_rng(0).standard_normal((30, 64)).astype(np.float32)
    features[3, 5] = np.nan
    np.savez(tmp_path / "bad.npz", features=features)
    for name in (name for name in ON_FEATURES if scores.load(name).two_sets):
        for sets in ((tmp_path / "bad.npz", pair[1]), (pair[0], tmp_path / "bad.npz")):
            code, out, err = run(name, *sets, *NETWORK, "--json", "-")
            assert (code, out) == (1, "")
            assert re.search(r"bad.npz: features holds numbers that are not finite", err)
            assert "Traceback" not in err
    text = run("statistics", "--help")[1]
    assert "Images of the set; all if not given." in text
    assert "of each set" not in text


@pytest.mark.slow
def test_a_killed_measurement_goes_on(tmp_path: Path) -> None:
    sets = [tmp_path / "real.npy", tmp_path / "fake.npy"]
    for seed, path in enumerate(sets):
        np.save(path, np.random.default_rng(seed).integers(0, 256, (2500, 3, 16, 16)).astype(np.uint8))
    arguments = ["fid", *map(str, sets), *NETWORK[:2], "--batch-size", "4", "--cache", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "metrics.cli", *arguments, "--json", "-"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in tmp_path.glob("cache/*/digests")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    counts = re.search(r"(\d+) computed, (\d+) taken", done.stderr)
    assert counts is not None
    computed, taken = map(int, counts.groups())
    assert computed + taken == 5000
    assert min(computed, taken) > 0
    (expected,) = measure(["fid"], *sets, extractor="random-projection", no_cache=True).results
    assert json.loads(done.stdout)["value"] == pytest.approx(expected["value"], rel=1e-6)


def test_modes_from_training_to_the_table(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    weights = tmp_path / "digits.safetensors"
    grey = pyramids.noise(20, 32)[:, :1].repeat(3, 1)
    data = pyramids.write(tmp_path / "grey.h5", grey, labels=[k % 10 for k in range(20)])
    code, out, err = run("train-digits", data, weights, "--epochs", "1")
    assert (code, out) == (0, "")
    assert "of 3 images that it was not shown" in err
    assert run("train-digits", data, weights, "--epochs", "1")[0] == 1
    np.save(tmp_path / "fake.npy", pyramids.noise(8, 32, seed=1))
    options = ("--reference", data, "--weights", weights, "--no-cache", "--per-evaluation", "4", "--json", "-")
    code, out, err = run("modes", tmp_path / "fake.npy", *options)
    assert code == 0
    result = json.loads(out)
    assert result["protocol"]["evaluations"] == 2
    assert result["extractor"]["training"]["training_images"] == 17
    for text in ("this set", "reference", "KL from even", "modes of an even generator", "+- "):
        assert text in err
    assert "--extractor" not in run("modes", "--help")[1]
    code, _, err = run("modes", tmp_path / "fake.npy")
    assert code == 1
    assert "train it once with metrics train-digits" in err
