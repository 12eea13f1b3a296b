"""The layers: which package may import which, and that the data tools start without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "datasets": {"datasets"},
    "toolkit": {"toolkit", "datasets"},
    "metrics": {"metrics", "datasets"},
    "training": {"training", "datasets", "metrics"},
}
LIGHT = {"datasets", "toolkit"}  # no torch, so that the data tools start in a blink
# The one exception: networks that are files of PyTorch need torch, which is imported when such a file is opened.
RUNS_TORCH = ROOT / "toolkit" / "celebahq" / "restoration" / "spandrel.py"
FILES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the package's name"
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    names = imported(path)
    assert names & set(ALLOWED) <= ALLOWED[package]
    if package in LIGHT:
        assert not names & {"torch", "torchvision"} or (path == RUNS_TORCH and "torchvision" not in names)


def test_the_one_module_that_runs_torch_imports_it_late() -> None:
    top = ast.parse(RUNS_TORCH.read_text(encoding="utf-8")).body
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"torch", "spandrel", "safetensors"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_have_a_docstring(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("module", ["toolkit.cli", "datasets.formats", "datasets.decode"])
def test_data_tools_start_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_metrics_command_does_not_import_the_trainer() -> None:
    code = "import sys, metrics.cli; sys.exit('training' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_package_is_listed_for_installation() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES if path.name == "__init__.py"}
    assert listed == found


def test_a_foreign_datasets_package_gives_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import toolkit.cli"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the package 'datasets' that Python finds is ")
    assert done.stderr.count("\n") == 1
