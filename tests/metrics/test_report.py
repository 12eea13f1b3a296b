"""The report as a whole: one file that needs nothing else, from whole, young, damaged and hostile run directories."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest
from report_page import Page, rendered
from synthetic_run import ms_ssim_result, swd_result, write_lines, write_run

from datasets.errors import InputError
from metrics.report import page, write_report
from metrics.report.run_directory import read_run

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def edit(run, **fields):
    info = json.loads((run / "run.json").read_text()) | fields
    (run / "run.json").write_text(json.dumps(info))


def test_says_what_was_trained_on_what_and_how_well(run):
    shown = rendered(run)
    results = [
        row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if row["metric"] == "swd"
    ]
    assert ("h1", "hubble") in shown.texts
    assert "A pggan generator of 1.3M weights trained on 6,300 images of 32\u00d732 pixels." in shown.text
    assert "digest 3fa9c1000000" in shown.text
    assert "Finished 400,000 images shown" in shown.text
    assert f"{results[-1]['value']:.1f} real against real 3.10 \u00b7 untrained {results[0]['value']:.0f}" in shown.text
    assert "among reals 0.208" in shown.text
    fall = 1 - results[-1]["value"] / results[0]["value"]
    assert f"SWD fell by {fall:.0%} from that of the untrained generator" in shown.text
    for heading in ("Reals and samples", "How the samples developed", "Scores", "Training", "Levels", "Reproduce"):
        assert ("h2", heading) in shown.texts
    assert ("code", "python training/run.py --preset demo --data runs/hubble.h5 --out runs/demo") in shown.texts
    assert "penalty: 10.0" in shown.text
    assert "torch 2.13.0" in shown.text


def test_shows_one_moment_of_development_per_chosen_snapshot(run):
    shown = rendered(run)
    moments = [image["alt"] for image in shown.all("img") if image["alt"].startswith("Samples after")][1:]
    assert moments[0] == "Samples after 0 images"
    assert moments[-1] == "Samples after 400,000 images"
    assert len(moments) == 12
    assert "220k 32\u00d732, 67% faded in" in shown.text  # fades in from 180k to 240k


def test_is_one_file_that_needs_no_network(run):
    text = write_report(run).read_text(encoding="utf-8")
    shown = Page(text)
    addresses = [
        value for _, attributes in shown.elements for key, value in attributes.items() if key in ("src", "href")
    ]
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)", text)
    policy = next(meta["content"] for meta in shown.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert f"'sha256-{digest}'" in policy


def test_charts_are_pictures_with_a_title(run):
    shown = rendered(run)
    charts = [attributes for attributes in shown.all("svg") if attributes.get("role") == "img"]
    titles = [text for tag, text in shown.texts if tag == "title"][1:]
    assert len(charts) == len(titles) == 7
    assert len({chart["aria-labelledby"] for chart in charts}) == 7
    assert titles[0].startswith("Sliced Wasserstein distance")
    assert "dashed line 3.40" in titles[0]
    assert all(image["alt"] for image in shown.all("img"))


def test_what_a_run_says_of_itself_is_text_and_nothing_else(run):
    edit(run, data={"name": HOSTILE, "content_digest": HOSTILE}, command=HOSTILE, versions={HOSTILE: HOSTILE})
    (run / "config.yaml").write_text(f"name: {HOSTILE}\n")
    write_lines(run / "metrics.jsonl", [ms_ssim_result(0, 0.3, 0.2) | {"metric": HOSTILE, "warnings": [HOSTILE]}])
    shown = rendered(run)
    assert len(shown.all("script")) == 1
    assert not [attributes for _, attributes in shown.elements if "onerror" in attributes]
    assert ("h1", HOSTILE) in shown.texts
    assert ("code", HOSTILE) in shown.texts
    assert (
        json.loads(next(f for f in shown.all("figure") if "data-hover" in f)["data-hover"])["series"][0]["name"]
        == HOSTILE.upper()
    )


def test_a_run_that_has_only_begun(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    shown = rendered(tmp_path)
    assert ("h1", tmp_path.name) in shown.texts
    assert "In progress 0 images shown" in shown.text
    for sentence in (
        "No sample pictures",
        "No metric has been recorded yet.",
        "Nothing has been logged yet.",
        "no config.yaml",
    ):
        assert sentence in shown.text
    assert "Not measured" in shown.text


@pytest.mark.parametrize(
    "name", ["log.jsonl", "metrics.jsonl", "samples", "config.yaml", "samples/reals.png", "checkpoints"]
)
def test_any_one_part_may_be_missing(run, name):
    target = run / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert ("h1", "hubble") in rendered(run).texts


def test_a_single_tick(tmp_path):
    shown = rendered(write_run(tmp_path / "run", ticks=1, evaluations=1, snapshots=1, stop_at=0.1))
    assert "At 10% 40,000 of 400,000 images; last entry 20" in shown.text
    assert "Too early to say" in shown.text
    assert ("h2", "How the samples developed") not in shown.texts


def test_a_report_is_replaced_whole_or_not_at_all(run, monkeypatch):
    (run / "report.html").write_text("before")

    def break_down(*_, **__):
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(page, "render", break_down)
        with pytest.raises(RuntimeError):
            write_report(run)
    assert (run / "report.html").read_text() == "before"
    rendered(run)
    assert not list(run.glob(".*"))


def test_the_same_run_gives_the_same_report(run, monkeypatch):
    monkeypatch.setattr(page.time, "time", lambda: 1_700_000_000.0)
    assert write_report(run).read_bytes() == write_report(run, run / "again.html").read_bytes()


def test_a_long_run_of_large_pictures_stays_light(tmp_path):
    """500 ticks, 500 snapshots of 8x8 cells of 128 pixels: half a gigapixel in, less than 4 MB of page out."""
    run = write_run(tmp_path / "run", ticks=500, evaluations=100, snapshots=2, cell=128)
    last = run / "samples" / "fakes-000400000.png"
    for images in range(800, 400_000, 800):
        (run / "samples" / f"fakes-{images:09d}.png").hardlink_to(last)
    size = write_report(run).stat().st_size
    assert size < 4_000_000
    for chart in page.training_charts(read_run(run)):
        assert all(len(curve["x"]) <= 400 for curve in json.loads(chart.hover)["series"])


def test_needs_no_torch():
    code = "import sys, metrics.report.page; sys.exit('torch' in sys.modules or 'training' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", "{", r"run\.json: not JSON .* restore the file"),
        ("run.json", "[1]", r"run\.json: holds a list, not an object"),
        ("run.json", b"\xff\xfe", r"run\.json: not UTF-8 text"),
        ("run.json", '{"total_images": "many"}', r"run\.json: total_images is 'many', not a whole number"),
        ("run.json", '{"levels": {"4": 1}}', r"run\.json: levels is not a list of objects"),
        ("run.json", '{"levels": [{"level": 2}]}', r"run\.json: levels\[0\]: start is None, not a whole number"),
        (
            "run.json",
            '{"levels": [{"level": 900000000, "start": 0, "fade_end": 0, "end": 1, "batch": 1}]}',
            r"run\.json: levels\[0\]: level is 900000000; levels are whole numbers from 2 to 11",
        ),
        ("run.json", '{"grid": 8}', r"run\.json: grid is 8, not an object"),
        ("run.json", '{"grid": {"columns": 0, "rows": 1, "cell": 4}}', r"run\.json: grid is .*none of these may be 0"),
        (
            "log.jsonl",
            '{"images": 1}\n{"images": 2, "lo\n{"images": 3}\n',
            r"log\.jsonl, line 2: not JSON .* remove this line",
        ),
        ("log.jsonl", '{"images": 1}\n\xff\n{"images": 3}\n', r"log\.jsonl, line 2: not JSON"),
        ("log.jsonl", "5\n", r"log\.jsonl, line 1: holds a int, not an object"),
        ("log.jsonl", '{"loss_d": 1}\n', r"log\.jsonl, line 1: images is None, not a whole number"),
        ("log.jsonl", '{"images": -1}\n', r"log\.jsonl, line 1: images is -1, not a whole number"),
        ("log.jsonl", '{"images": 1, "loss_d": "low"}\n', r"log\.jsonl, 1 images: loss_d is 'low', not a number"),
        ("log.jsonl", '{"images": 1, "level": 40}\n', r"log\.jsonl, 1 images: level is 40; levels are"),
        ("metrics.jsonl", '{"images": 1, "value": 2}\n', r"metrics\.jsonl, 1 images: metric is None, not a name"),
        (
            "metrics.jsonl",
            '{"images": 1, "metric": "swd", "value": []}\n',
            r"metrics\.jsonl, 1 images, swd: value is \[\]",
        ),
        ("metrics.jsonl", '{"images": 1, "metric": "swd", "levels": [3]}\n', r"swd: levels is \[3\], not an object"),
        (
            "metrics.jsonl",
            '{"images": 1, "metric": "swd", "levels": {"a": 1}}\n',
            r"swd: levels holds 'a', not a resolution",
        ),
        ("metrics.jsonl", '{"images": 1, "metric": "swd", "floor": 3}\n', r"swd: floor is 3, not an object"),
        ("metrics.jsonl", '{"images": 1, "metric": "swd", "warnings": "x"}\n', r"swd: warnings is 'x', not a list"),
        ("events.jsonl", '{"images": 1, "done": "went on"}\n', r"events\.jsonl, line 1: found is None, not text"),
        (
            "events.jsonl",
            '{"images": 1, "found": "a", "done": "b", "back_to": "c"}\n',
            r"line 1: back_to is 'c', not a",
        ),
    ],
)
def test_a_damaged_file_is_named_in_one_line(run, name, text, message):
    (run / name).write_bytes(text if isinstance(text, bytes) else text.encode("latin-1"))
    with pytest.raises(InputError, match=message) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


def test_what_is_not_a_run_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone does not exist; name the folder that was given to training as --out"):
        write_report(tmp_path / "gone")
    with pytest.raises(InputError, match=r"is not a run directory: it holds no run\.json"):
        write_report(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, not a run directory"):
        write_report(tmp_path / "file")


def test_where_a_report_cannot_be_written(run, tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*report\.html: the folder .*none does not exist"):
        write_report(run, tmp_path / "none" / "report.html")
    with pytest.raises(InputError, match="is a folder; name a file to write"):
        write_report(run, run)
    assert not (tmp_path / "none").exists()


def test_a_line_torn_by_a_kill_is_ignored(run):
    before = read_run(run)
    for name in ("log.jsonl", "metrics.jsonl"):
        with (run / name).open("ab") as file:
            file.write(b'{"images": 500000, "metric": "sw\xc3')
    after = read_run(run)
    assert after.ticks == before.ticks
    assert after.evaluations == before.evaluations


def test_a_whole_last_line_without_its_end_counts(run):
    path = run / "log.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert read_run(run).images_shown == 400_000


def test_numbers_that_are_not_finite_are_gaps_and_are_pointed_out(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rows[40]["loss_d"] = None
    rows[41]["loss_d"] = float("nan")
    rows[42]["loss_d"] = float("-inf")
    write_lines(run / "log.jsonl", rows)
    shown = rendered(run)
    assert f"loss_d was not finite in 3 of 100 ticks, first at {rows[40]['images']:,} images." in shown.text
    assert "The numbers broke down" in shown.text


def test_what_a_killed_session_logged_beyond_its_checkpoint_is_superseded(run):
    write_lines(
        run / "log.jsonl", [{"images": n, "loss_d": v} for n, v in [(1, 10), (2, 20), (3, 30), (2, 21), (4, 41)]]
    )
    write_lines(
        run / "metrics.jsonl",
        [
            swd_result(0, {"16": 9.0}),
            ms_ssim_result(0, 0.5, 0.2),
            swd_result(5, {"16": 4.0}),
            swd_result(3, {"16": 5.0}),
        ],
    )
    read = read_run(run)
    assert [(row["images"], row["loss_d"]) for row in read.ticks] == [(1, 10), (2, 21), (4, 41)]
    assert [(row["metric"], row["images"], row["value"]) for row in read.evaluations] == [
        ("swd", 0, 9.0),
        ("swd", 3, 5.0),
        ("ms-ssim", 0, 0.5),
    ]


def test_table_of_levels_tells_speed_time_and_memory_of_each(run):
    level = {"start": 0, "fade_end": 0, "end": 2, "batch": 8, "level": 2}
    edit(run, levels=[level, level | {"start": 2, "fade_end": 3, "end": 9, "level": 3, "learning_rate": 0.002}])
    write_lines(
        run / "log.jsonl",
        [
            {
                "images": 1,
                "level": 2,
                "seconds": 2.0,
                "images_per_sec": 50.0,
                "peak_memory_mib": 90,
                "lr_g": 0.1,
                "lr_d": 0.1,
            },
            {
                "images": 2,
                "level": 2,
                "seconds": 5.0,
                "images_per_sec": 10.0,
                "peak_memory_mib": 80,
                "lr_g": 0.1,
                "lr_d": 0.3,
            },
        ],
    )
    shown = rendered(run)
    cells = [text for tag, text in shown.texts if tag == "td"]
    dash = "\u2013"
    assert cells[:9] == ["4\u00d74", "0", dash, "2", "8", "0.1, 0.1 G, 0.3 D", "30.0", "5 s", "90 MiB"]
    assert cells[9:] == ["8\u00d78", "2", "3", "9", "8", "0.002", dash, dash, dash]


def test_evaluations_are_shown_with_values_and_pictures(run, tmp_path):
    result = {
        "metric": "fid", "value": 12.345, "standard_error": 0.5, "num_images": 5000, "warnings": ["<few> images"],
        "floor": {"value": 3.25, "num_images": 2500}, "real": {"name": "data/photos.h5"}, "fake": {"name": "runs/a"},
    }  # fmt: skip
    curve = {"precision": [0.0, 0.5, 1.0], "recall": [1.0, 0.75, 0.0]}
    prd = {**result, "metric": "prd-vgg16", "value": 0.9, "curve": curve, "warnings": []}
    assert "Evaluations" not in rendered(run).text
    (run / "evaluation-all.json").write_text(json.dumps([result, prd]))
    (tmp_path / "other.json").write_text(json.dumps(dict(result, metric="kid", value=0.25, num_images=None)))
    path = write_report(run, evaluations=[tmp_path / "other.json", run / "evaluation-all.json"])
    page = path.read_text(encoding="utf-8")
    assert page.count("evaluation-all.json") == 1
    assert page.count("data:image/svg+xml;base64,") == 3
    text = Page(page).text
    for part in ("12.35 ± 0.5", "3.25", "5,000", "a against photos.h5", "other.json", "unknown", "features of vgg16"):
        assert part in text, part
    assert "&lt;few&gt;" in page
    assert "<few>" not in page


@pytest.mark.parametrize(
    "damage",
    [{"value": float("nan")}, {"levels": 3}, {"curve": {"precision": [1]}}, {"floor": {"num_images": 3}}, {"real": 7}],
)
def test_damaged_evaluations_are_one_clear_line(run, damage):
    result = {"metric": "fid", "value": 1.0, "num_images": 5, "floor": None, "real": {}, "fake": {}, **damage}
    (run / "evaluation.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"evaluation.json holds a result that is damaged"):
        write_report(run)
    assert not (run / "report.html").exists()
