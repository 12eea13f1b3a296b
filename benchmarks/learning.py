"""Does it learn? Train with growing, without, and with another program, for equal processor time; then measure.

    python benchmarks/learning.py --data photos.h5 --out runs/learning [--seconds 400] [--seeds 3] [--phase-kimg 3.5]
                                  [--peer gan_zoo=PATH]

growing  our trainer from 4x4 up to the data set's own resolution
fixed    the same from its finest resolution on, everything else equal
gan_zoo  the trainer of facebookresearch/pytorch_GAN_zoo (a checkout of it), with networks of the same widths, the same
         batches, learning rate, half-life of the average and schedule in images

Every run is a process of one thread whose steps, with the loading of data and the log, may take --seconds of processor
time, user and system; imports, the building of networks and the writing of checkpoints are not counted. At fifths of
that time a checkpoint is kept, which is measured when all runs are done: SWD and MS-SSIM of --num-images of the
averaged generator, enlarged to the finest resolution while it is still growing, against as many reals. Runs take turns
by seed, so that a busy hour meets all. Finished runs are skipped when the command is run again; a run that was broken
off begins anew.

Written into OUT: table.md (also printed), results.json, swd.png (SWD against time), and 16 samples of every run.

pytorch_GAN_zoo needs a few mends from outside to run with today's PyTorch and without a GPU, see `mended`. It is given
the reals from memory, from the pyramid's levels, which saves it the reading and resizing of files.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import growgan  # isort: skip  # noqa: F401
import click
import numpy as np
import torch
from numpy.typing import NDArray

from datasets.formats import open_pyramid
from datasets.levels import level_of
from metrics import canvas, evaluate
from metrics.cache import default_folder
from metrics.images import PyramidImageSet
from metrics.report.scales import Scale, tick_text
from training import checkpoint, loop, provenance
from training.architectures.pggan import Config as Network
from training.config import Config, SnapshotConfig
from training.ema import Config as Average
from training.grid import save_png, tile
from training.growth import Config as Growth
from training.growth import Schedule
from training.importing import import_generator
from training.plan import make_plan
from training.sampler import GeneratorImageSet, Sampler
from training.step import update

MARKS = 5
NETWORK = Network(fmap_base=256, fmap_max=32)
BATCH, SMALL_BATCH, SMALL_SCALE = 16, 8, 3  # the small one from 32x32 on, the scale number 3 of the peer
RATE = 0.002
DECAY, THEIR_DECAY = 0.995, 0.999  # of the moving average
ENDLESS = 1e6  # kimg; the clock ends the run
COLOURS = {"growing": "#0b6fa4", "fixed": "#d9822b", "gan_zoo": "#4b8b3b"}
Point = dict[str, Any]


def marks(seconds: float) -> list[float]:
    return [seconds * k / MARKS for k in range(1, MARKS + 1)]


class Clock:
    """Processor time, user and system, of the steps of a run."""

    def __init__(self) -> None:
        self.spent = 0.0
        self.going = False
        self._last = 0.0

    def tick(self) -> float:
        """Seconds so far; the first call, and that after a pause, starts the clock."""
        now = time.process_time()
        self.spent += now - self._last if self.going else 0.0
        self.going, self._last = True, now
        return self.spent


def ours(job: dict[str, Any], folder: Path) -> list[Point]:
    """Train until each mark of the clock, where a signal stops the trainer; then let it resume."""
    reader = open_pyramid(Path(job["data"]))
    finest = reader.manifest.resolution
    config = Config(
        network=NETWORK,
        growth=Growth(
            initial_resolution=4 if job["program"] == "growing" else finest,
            fade_kimg=job["phase_kimg"],
            stabilize_kimg=job["phase_kimg"],
            total_kimg=ENDLESS,
            batch=BATCH,
            batch_by_resolution=dict.fromkeys((32, 64, 128, 256, 512, 1024), SMALL_BATCH),
            learning_rate=RATE,
        ),
        ema=Average(decay=DECAY),
        snapshots=SnapshotConfig(every_kimg=ENDLESS, log_every_kimg=1, keep=MARKS + 1, metric_images=0),
        seed=job["seed"],
    )
    clock, points = Clock(), []
    mark = 0.0
    plans = make_plan(config, Schedule(config.growth, level_of(finest)))

    def timed(*arguments: Any) -> Any:
        if not clock.going:
            clock.tick()
        result = update(*arguments)
        if clock.tick() >= mark:
            signal.raise_signal(signal.SIGTERM)
        return result

    loop.update, loop.make_plan = timed, lambda *_: plans  # type: ignore[assignment]  # the plan is made once
    for mark in marks(job["seconds"]):  # noqa: B007  # `timed` reads it
        loop.train(config, reader, folder / "run", torch.device("cpu"))
        clock.going = False  # what comes after the last step is the checkpoint
        path = checkpoint.listed(folder / "run" / "checkpoints")[0]
        name = str(path.relative_to(folder))
        points.append({"seconds": clock.spent, "images": checkpoint.images_of(path), "checkpoint": name})
    return points


class Enough(Exception):  # noqa: N818  # no error
    """The time is up."""


class Batches:
    """Shuffled batches of one level, as the peer's loader of files would give them."""

    def __init__(self, images: NDArray[np.uint8], batch: int) -> None:
        self.images, self.batch = images, batch

    def __len__(self) -> int:
        return len(self.images) // self.batch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in torch.randperm(len(self.images))[: len(self) * self.batch].view(-1, self.batch):
            yield torch.from_numpy(self.images[rows.numpy()]).float() / 127.5 - 1, torch.zeros(self.batch, 1)


@contextlib.contextmanager
def mended(path: str) -> Iterator[Any]:
    """Give the peer's trainer, made to run.

    torchvision is only its reader of files, Adam's betas are of mixed types, and its average has no `module` on a CPU.
    """
    adam = torch.optim.Adam

    def of_floats(parameters: Any, **options: Any) -> torch.optim.Adam:
        return adam(parameters, **{**options, "betas": tuple(float(beta) for beta in options["betas"])})

    vision, transforms = types.ModuleType("torchvision"), types.ModuleType("torchvision.transforms")
    vision.transforms = transforms  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": vision, "torchvision.transforms": transforms}
    sys.path.insert(0, path)
    trainer = importlib.import_module("models.trainer.progressive_gan_trainer").ProgressiveGANTrainer
    importlib.import_module("models.networks.progressive_conv_net").GNet.module = property(lambda self: self)
    torch.optim.Adam = of_floats  # type: ignore[assignment,misc]
    with warnings.catch_warnings(action="ignore"):
        yield trainer
    torch.optim.Adam = adam  # type: ignore[misc]


def gan_zoo(job: dict[str, Any], folder: Path) -> list[Point]:
    """Let the peer's own trainer go through its scales; look at the clock after every step."""
    reader = open_pyramid(Path(job["data"]))
    scales = range(level_of(reader.manifest.resolution) - 1)  # 0 is 4x4
    phase = [round(1000 * job["phase_kimg"] / (BATCH if scale < SMALL_SCALE else SMALL_BATCH)) for scale in scales]
    config = {
        "depthScales": [NETWORK.channels(scale + 2) for scale in scales],
        "dimLatentVector": NETWORK.latent_width,
        "maxIterAtScale": [phase[0], *(2 * steps for steps in phase[1:-1]), 10**9],
        "alphaNJumps": [0, *(steps // 5 for steps in phase[1:])],
        "alphaSizeJumps": [0, *(5 for _ in phase[1:])],
        "miniBatchSize": BATCH,
        "baseLearningRate": RATE,
    }
    points: list[Point] = []
    clock, images = Clock(), 0
    torch.manual_seed(job["seed"])
    with mended(job["peer"]) as base, (folder / "log.txt").open("w") as log, contextlib.redirect_stdout(log):

        class Trainer(base):  # type: ignore[misc]
            def getDataset(self, scale: int, size: Any = None) -> Any:  # noqa: N802, ARG002
                return range(reader.manifest.num_images)

            def getDBLoader(self, scale: int) -> Any:  # noqa: N802
                level = reader.level(scale + 2)
                return Batches(level.gather(np.arange(len(level))), self.modelConfig.miniBatchSize)

            def initModel(self) -> None:  # noqa: N802
                super().initModel()
                step = self.model.optimizeParameters

                def counted(reals: torch.Tensor, **options: Any) -> Any:
                    nonlocal images
                    losses = step(reals, **options)
                    images += len(reals)
                    with torch.no_grad():  # after its own step of 0.999: together DECAY
                        new, old = self.model.netG.parameters(), self.model.avgG.parameters()
                        for parameter, average in zip(new, old, strict=True):
                            average.lerp_(parameter, 1 - DECAY / THEIR_DECAY)
                    if clock.tick() >= marks(job["seconds"])[len(points)]:
                        points.append({"seconds": clock.spent, "images": images, "checkpoint": f"{len(points)}.pt"})
                        self.model.save(str(folder / points[-1]["checkpoint"]))
                        if len(points) == MARKS:
                            raise Enough
                        clock.going = False
                        clock.tick()
                    return losses

                self.model.optimizeParameters = counted

        trainer = Trainer("", useGPU=False, config=config, miniBatchScheduler={SMALL_SCALE: SMALL_BATCH})
        clock.tick()
        with contextlib.suppress(Enough):
            trainer.train()
    for point in points:
        saved, _ = import_generator(folder / point["checkpoint"])
        point["checkpoint"] = point["checkpoint"].replace(".pt", ".safetensors")
        checkpoint.save(folder / point["checkpoint"], saved)
    return points


PROGRAMS = {"growing": ours, "fixed": ours, "gan_zoo": gan_zoo}


def run(job: dict[str, Any], folder: Path) -> None:
    """Train in a fresh process of one thread, unless that was done."""
    if (folder / "points.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, "--child", json.dumps([job, str(folder)])]
    begun = time.perf_counter()
    with (folder / "stderr.txt").open("w") as errors:
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=errors, check=True)
    print(f"{folder.name}: trained in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)


def as_child(job: dict[str, Any], folder: str) -> None:
    torch.set_num_threads(1)
    points = PROGRAMS[job["program"]](job, Path(folder))
    (Path(folder) / "points.json").write_text(json.dumps(points, indent=1))


def sampler_of(folder: Path, point: Point, resolution: int) -> Sampler:
    """Averaged generator at a point of a run, drawing at the finest resolution."""
    sampler, _ = Sampler.from_path(folder / point["checkpoint"])
    sampler.resolution = resolution
    return sampler


def measure(data: Path, folder: Path, num_images: int) -> list[Point]:
    """SWD and MS-SSIM at every point of a run; done once."""
    file = folder / "measured.json"
    if not file.exists():
        evaluator = reals(data, num_images)
        points: list[Point] = json.loads((folder / "points.json").read_text())
        for point in points:
            sampler = sampler_of(folder, point, open_pyramid(data).manifest.resolution)
            swd, ms_ssim = evaluator(GeneratorImageSet(sampler, folder.name, 0))
            point |= {"level": sampler.level, "alpha": sampler.alpha, "swd": swd["levels"], "average": swd["value"]}
            point |= {"ms_ssim": ms_ssim["value"], "reference": ms_ssim["reference"]["value"], "floor": swd["floor"]}
        file.write_text(json.dumps(points, indent=1))
    measured: list[Point] = json.loads(file.read_text())
    return measured


@functools.cache
def reals(data: Path, num_images: int) -> evaluate.Evaluator:
    images = PyramidImageSet(open_pyramid(data))
    return evaluate.Evaluator(["swd", "ms-ssim"], images, num_images=num_images, cache_folder=default_folder())


def with_range(numbers: list[float], form: str = ".1f") -> str:
    """Mean, and the lowest and highest of several seeds."""
    return f"{mean(numbers):{form}} ({min(numbers):{form}} to {max(numbers):{form}})"


def tables(found: dict[str, list[list[Point]]], seconds: float, num_images: int) -> str:
    """Markdown: the end of the runs, and SWD on the way."""
    first = next(iter(found.values()))[0][-1]
    levels = list(first["swd"])
    header = ["", "images shown", *(f"SWD {level}" for level in levels), "SWD", "MS-SSIM"]
    rows = [header, ["---"] * len(header)]
    for program, runs in found.items():
        ends = [points[-1] for points in runs]
        values = [with_range([end["swd"][level] for end in ends]) for level in levels]
        values += [with_range([end["average"] for end in ends]), with_range([end["ms_ssim"] for end in ends], ".3f")]
        rows.append([program, with_range([end["images"] for end in ends], ".0f"), *values])
    floor = first["floor"]
    values = [f"{floor['levels'][level]:.1f}" for level in levels]
    rows.append(["reals against reals", "", *values, f"{floor['value']:.1f}", f"{first['reference']:.3f}"])
    way = [["SWD after", *(f"{mark:.0f} s" for mark in marks(seconds))], ["---"] * (MARKS + 1)]
    for program, runs in found.items():
        way.append([program, *(with_range([points[k]["average"] for points in runs]) for k in range(MARKS))])
    lines = [["| " + " | ".join(row) + " |" for row in rows_] for rows_ in (rows, way)]
    seeds = len(next(iter(found.values())))
    note = f"Mean of {seeds} seeds (lowest to highest); SWD x1000, {num_images} images; {seconds:.0f} s of one thread."
    return "\n".join([*lines[0], "", note, "", *lines[1], ""])


def draw(found: dict[str, list[list[Point]]], seconds: float, path: Path) -> None:
    """SWD against processor time: a thin line for every seed, a thick one for their mean, the floor dashed."""
    width, height, left, top, right, bottom = 720, 400, 60, 20, 20, 50
    sheet = canvas.canvas_for(path, width, height)
    runs = [points for several in found.values() for points in several]
    x, y = Scale(0, seconds), Scale(0, 1.05 * max(point["average"] for points in runs for point in points))

    def at(time_: float, value: float) -> tuple[float, float]:
        across, up = x.position(time_), y.position(value)
        return left + across * (width - left - right), height - bottom - up * (height - top - bottom)

    for tick in y.ticks():
        sheet.line([at(0, tick), at(seconds, tick)], "#e5e5e5")
        sheet.text((left - 6, at(0, tick)[1] + 4), tick_text(tick), anchor="end", size=11)
    for mark in (0.0, *marks(seconds)):
        sheet.text((at(mark, 0)[0], height - bottom + 16), tick_text(mark), anchor="middle", size=11)
    sheet.line([at(0, y.high), at(0, 0), at(seconds, 0)], "#999999")
    sheet.text(((left + width - right) / 2, height - 12), "processor seconds of one thread", anchor="middle")
    for row, (program, several) in enumerate(found.items()):
        for points in several:
            sheet.line([at(point["seconds"], point["average"]) for point in points], COLOURS[program])
        middle = [[points[k] for points in several] for k in range(MARKS)]
        line = [at(mean(p["seconds"] for p in some), mean(p["average"] for p in some)) for some in middle]
        sheet.line(line, COLOURS[program], 3)
        sheet.rectangle(width - 120, top + 18 * row, 10, 10, COLOURS[program])
        sheet.text((width - 104, top + 18 * row + 10), program, size=12)
    floor = runs[0][0]["floor"]["value"]
    sheet.line([at(0, floor), at(seconds, floor)], "#666666", dashed=True)
    sheet.text((left + 8, at(0, floor)[1] - 6), "reals against reals", size=11, colour="#666666")
    sheet.text((left + 8, top), "SWD x1000, mean of levels", size=12)
    canvas.save(sheet, path)


def parse_peer(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    name, _, path = (value or "gan_zoo=.").partition("=")  # type: ignore[assignment]
    if name != "gan_zoo" or not Path(path).is_dir():
        raise click.BadParameter(f"{value}: give gan_zoo and the folder of its checkout")
    return None if value is None else str(Path(path).absolute())


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="A pyramid.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of runs and results.")
@click.option("--seconds", default=400.0, show_default=True, help="Processor time of a run.")
@click.option("--seeds", default=3, show_default=True, help="Runs of every program.")
@click.option("--phase-kimg", default=3.5, show_default=True, help="Length of a fade-in, and of what follows it.")
@click.option("--num-images", default=2048, show_default=True, help="To measure; half of the reals at most.")
@click.option("--peer", metavar="gan_zoo=PATH", callback=parse_peer, help="Train with this program, too.")
def main(
    data: Path, out: Path, seconds: float, seeds: int, phase_kimg: float, num_images: int, peer: str | None
) -> None:
    programs = [program for program in PROGRAMS if program != "gan_zoo" or peer]
    reader = open_pyramid(data)
    finest = reader.manifest.resolution
    num_images = min(num_images, reader.manifest.num_images // 4 * 2)  # an even number: pairs for MS-SSIM
    job = {"data": str(data.absolute()), "seconds": seconds, "phase_kimg": phase_kimg, "peer": peer}
    for seed in range(seeds):
        for program in programs[seed % len(programs) :] + programs[: seed % len(programs)]:
            run({**job, "program": program, "seed": seed}, out / f"{program}-{seed}")
    found = {
        program: [measure(data, out / f"{program}-{seed}", num_images) for seed in range(seeds)] for program in programs
    }
    rows = np.linspace(0, reader.manifest.num_images - 1, 16 * seeds).round().astype(np.int64)
    save_png(out / "reals.png", tile(reader.level(level_of(finest)).gather(rows), 8))
    for program, runs in found.items():
        ends = [sampler_of(out / f"{program}-{seed}", points[-1], finest) for seed, points in enumerate(runs)]
        save_png(out / f"{program}.png", tile(np.concatenate([end.images(0, np.arange(16)) for end in ends]), 8))
    draw(found, seconds, out / "swd.png")
    facts = {"data": reader.manifest.content_digest, "num_images": num_images, "versions": provenance.versions()}
    results = {"seconds": seconds, "phase_kimg": phase_kimg, **facts, "found": found}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "table.md").write_text(tables(found, seconds, num_images))
    print((out / "table.md").read_text(), end="")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        as_child(*json.loads(sys.argv[2]))
    else:
        main()
