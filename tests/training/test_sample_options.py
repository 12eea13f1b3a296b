"""Which images a command draws, in which layout, of which classes, and from which checkpoint; the CSV of a log."""

from __future__ import annotations

import csv
from pathlib import Path

import click
import pytest
import torch

from datasets.errors import InputError
from training import checkpoint
from training.csv_log import write_csv
from training.grid import snapshot_cells
from training.moment import checkpoint_at
from training.options import Cells, Layout, LayoutType, LimitList, NumberList, arrange, check_creatable
from training.sample import check_options
from training.sampler import Sampler


def test_lists_of_numbers() -> None:
    parse = NumberList().convert
    assert parse("3,17,85-90", None, None) == [3, 17, 85, 86, 87, 88, 89, 90]
    assert parse(" 7 - 7, 0,7", None, None) == [7, 0, 7]
    for text in ("", "3,", "5-3", "-4", "a", "1.5", "1-2-3", "0-99999999999", "٣"):
        with pytest.raises(click.BadParameter, match="is not a list of numbers"):
            parse(text, None, None)


def test_limits_of_truncation() -> None:
    parse = LimitList().convert
    assert parse("none,2, 0.5", None, None) == [None, 2.0, 0.5]
    for text in ("", "0", "0.0", "-1", "nan", "1e3", "2,", "None"):
        with pytest.raises(click.BadParameter, match="is not a list of limits above 0"):
            parse(text, None, None)


def test_layouts() -> None:
    parse = LayoutType().convert
    assert parse("8x4", None, None) == (8, 4)
    assert parse("12", None, None) == (12, None)
    for text in ("0x3", "3x0", "8x", "x4", "8X4", "-1", "1000"):
        with pytest.raises(click.BadParameter, match="is not a layout"):
            parse(text, None, None)


def arranged(
    classes: int = 0,
    *,
    numbers: list[int] | None = None,
    num: int = 5,
    layout: Layout | None = None,
    labels: list[int] | None = None,
    class_rows: bool = False,
) -> tuple[list[int], list[int] | None, int]:
    sampler = Sampler(torch.nn.Identity(), 2, 1.0, 4, class_counts=[3] * classes)
    cells: Cells = arrange(sampler, numbers=numbers, num=num, layout=layout, labels=labels, class_rows=class_rows)
    return cells.numbers.tolist(), None if cells.classes is None else cells.classes.tolist(), cells.columns


def test_arrangements() -> None:
    assert arranged() == ([0, 1, 2, 3, 4], None, 3)
    assert arranged(layout=Layout(2, 3)) == ([0, 1, 2, 3, 4, 5], None, 2)
    assert arranged(layout=Layout(2, None)) == ([0, 1, 2, 3, 4], None, 2)
    assert arranged(numbers=[9, 4], layout=Layout(2, 2)) == ([9, 4], None, 2)
    assert arranged(3) == ([0, 1, 2, 3, 4], None, 3)
    assert arranged(3, labels=[2, 0]) == ([0, 1, 2, 3, 4], [2, 0, 2, 0, 2], 3)
    assert arranged(3, class_rows=True, layout=Layout(2, None)) == ([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2], 2)
    assert arranged(3, class_rows=True, layout=Layout(2, 1)) == ([0, 1], [0, 0], 2)
    assert arranged(3, class_rows=True, labels=[2, 1], numbers=[7, 5, 6])[:2] == ([7, 5, 6] * 2, [2, 2, 2, 1, 1, 1])


def test_arrangements_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="--grid has 2 cells for 3 numbers"):
        arranged(numbers=[1, 2, 3], layout=Layout(2, 1))
    with pytest.raises(InputError, match="--grid has 4 rows, and there are 3 classes"):
        arranged(3, class_rows=True, layout=Layout(2, 4))
    with pytest.raises(InputError, match="--grid has 2 columns for 3 numbers"):
        arranged(3, class_rows=True, layout=Layout(2, None), numbers=[1, 2, 3])
    with pytest.raises(InputError, match="--label 3: the generator knows the classes 0 to 2"):
        arranged(3, labels=[0, 3])
    with pytest.raises(InputError, match="--label needs a generator that is told the class"):
        arranged(labels=[0])
    with pytest.raises(InputError, match="--class-rows needs a generator that is told the class"):
        arranged(class_rows=True)


@pytest.mark.parametrize(
    ("asked", "out", "message"),
    [
        ("--neighbours --grid", "x.png", "--neighbours does not go with --grid; every row is a sample"),
        ("--neighbours --gap", "x.png", "--neighbours does not go with --gap"),
        ("--truncation-rows --class-rows", "x.png", "--truncation-rows does not go with --class-rows; --num or"),
        ("--numbers --num", "x", "--numbers does not go with --num; leave one of them out"),
        ("--class-rows --num", "x.png", "--class-rows does not go with --num"),
        ("--num --grid", "x.png", "--num does not go with both sides of --grid"),
        ("--nearest", "x.png", "--nearest goes with --neighbours DATA"),
        ("--compare-at", "x.png", "--compare-at goes with --neighbours DATA"),
        ("--by", "x.png", "--by goes with --neighbours DATA"),
        ("--weights", "x.png", "--weights goes with --neighbours DATA"),
        ("--gap", "x", "--gap is for one picture; let x end in .png"),
        ("--zoom", "x", "--zoom is for one picture; let x end in .png"),
        ("--grid", "x", "--grid makes one picture; let x end in .png"),
        ("--num", "x.jpg", r"x.jpg: end in .png for one picture, or name a folder \(without .jpg\)"),
        ("--num", "x.MP4", "x.MP4: end in .png"),
        ("--num", "x.npy", "x.npy: end in .png"),
        ("--num", "x.zip", "x.zip: end in .png"),
    ],
)
def test_options_that_would_say_nothing_are_refused(asked: str, out: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_options(asked.split(), Layout(2, 2) if "--grid" in asked else None, Path(out))


def test_options_that_go_together() -> None:
    for asked, out in (
        ("--num", "samples.v2"),
        ("--num", "x.PNG"),
        ("--neighbours --nearest --by --weights --numbers --zoom --class-rows", "x.png"),
        ("--truncation-rows --num --gap --zoom", "x.png"),
        ("--class-rows --grid", "x"),
        ("--class-rows --grid --numbers --gap", "x.png"),
    ):
        check_options(asked.split(), Layout(2, 2) if "--grid" in asked else None, Path(out))
    check_options(["--num", "--grid"], Layout(2, None), Path("x.png"))


def test_what_cannot_be_created_is_known_before_the_work(tmp_path: Path) -> None:
    for out in (tmp_path / "no" / "x.png", tmp_path / f"{'x' * 250}.png"):
        with pytest.raises(InputError, match=r"cannot write .*: no file can be created there \(.*\); choose another"):
            check_creatable(out)
    check_creatable(tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_cells_of_a_run_s_grid() -> None:
    numbers, classes = snapshot_cells(3, 2, 0)
    assert (numbers.tolist(), classes) == ([0, 1, 2, 3, 4, 5], None)
    numbers, classes = snapshot_cells(2, 3, 2)
    assert classes is not None
    assert (numbers.tolist(), classes.tolist()) == ([0, 1] * 3, [0, 0, 1, 1, 0, 0])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for images, level in ((0, 2), (40, 2), (100, 3), (160, 3), (1_000_000_000, 4)):
        state = checkpoint.Checkpoint(images, {"level": level}, {"average/w": torch.ones(2)})
        checkpoint.save(checkpoint.path_of(folder, images), state)
    return tmp_path / "run"


def test_moments_of_a_run(run: Path) -> None:
    def at(images: int | None = None, resolution: int | None = None) -> int:
        return checkpoint.images_of(checkpoint_at(run, images, resolution))

    assert checkpoint_at(run) == run
    assert at(100) == 100
    assert at(resolution=4) == 40
    assert at(resolution=8) == 160
    assert at(159, 8) == 100
    assert at(resolution=16) == 1_000_000_000
    broken = checkpoint.path_of(run / "checkpoints", 160)
    broken.write_bytes(broken.read_bytes()[:-1])
    assert at(resolution=8) == 100


def test_moments_that_are_not_there(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint at 99 images shown; there are 0, 40, 100, 160, 1000000000"):
        checkpoint_at(run, 99)
    with pytest.raises(InputError, match="no checkpoint at 64x64; there are 4x4, 8x8, 16x16 "):
        checkpoint_at(run, resolution=64)
    with pytest.raises(InputError, match="no checkpoint at 8x8 until 60 images shown"):
        checkpoint_at(run, 60, 8)
    with pytest.raises(InputError, match="is one checkpoint; --at chooses"):
        checkpoint_at(checkpoint.path_of(run / "checkpoints", 40), 40)
    with pytest.raises(InputError, match="holds no checkpoints"):
        checkpoint_at(tmp_path, 40)


def test_csv_of_a_log(tmp_path: Path) -> None:
    log, table = tmp_path / "log.jsonl", tmp_path / "log.csv"
    write_csv(log, table)
    assert not table.exists()
    log.write_text(
        '{"images": 8, "loss_d": -1.25, "note": "a, \\"b\\"", "levels": {"32": 1.0}}\n'
        '{"images": 16, "loss_d": null, "extra": true}\n'
        '{"images": 24, "loss'  # torn by a kill
    )
    write_csv(log, table)
    with table.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["images", "loss_d", "note", "extra"],
            ["8", "-1.25", 'a, "b"', ""],
            ["16", "", "", "True"],
        ]
