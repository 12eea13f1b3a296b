"""Time a step of our trainer, discriminator and generator, beside the machine's limit and beside other programs.

    python benchmarks/training.py [--resolution 16] [--rounds 5] [--threads 2] [--precision float32] [--device cpu]
                                  [--peer gan_zoo=PATH] [--peer pro_gan_pytorch=PATH] [--peer rosinality=PATH]

The networks of the paper at full width (fmap_base 8192, fmap_max 512), grown to the resolution and past its fade-in;
WGAN-GP with lambda 10 and drift; Adam; average of the generator; random images. All programs run in one process in
alternation, after a round that is not counted. Peers are checkouts of public repositories:

gan_zoo          facebookresearch/pytorch_GAN_zoo
pro_gan_pytorch  akanimax/pro_gan_pytorch
rosinality       rosinality/progressive-gan-pytorch, whose discriminator is wider and whose networks are always those
                 for 128x128, so its operations are more

They are mended from outside where they do not run as they are, see `PEERS`. Peers compute in float32, or at --precision
under autocast, with the same random images. `plain` is our trainer without Winograd's convolutions (on processors).

Columns: images/s of the best round and of the median; the median of the ratios, within rounds, to the fastest peer and
to every other program; processor seconds of the best round; the peak memory of a fresh process that does two steps (on
a GPU, of the allocator); operations as torch counts them, and how many times the time of the same number of operations
in one big matrix product on this machine the best round took. Less than 1 is possible only with fewer operations:
`ours` is measured against the operations of `plain`.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import importlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import growgan  # isort: skip  # noqa: F401
import click
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from datasets.console import table
from datasets.levels import level_of
from training import compute, growth
from training.config import Config
from training.feed import Shown
from training.state import TrainingState
from training.step import update

BATCH = {4: 16, 8: 16, 16: 16, 32: 16, 64: 8, 128: 4, 256: 4, 512: 2, 1024: 1}
LATENT = 512
Step = Callable[[], None]


def widths(resolution: int) -> list[int]:
    """Feature maps of the levels from 4x4 up."""
    return [min(8192 // 2 ** (level - 1), 512) for level in range(2, level_of(resolution) + 1)]


def ours(
    resolution: int, batch: int, device: torch.device, precision: compute.Precision, *, fewer_products: bool = True
) -> Step:
    config = Config(
        growth=growth.Config(initial_resolution=resolution, batch=batch),
        compute=compute.Config(precision=precision, winograd=fewer_products),
    )
    compute.set_up(device, config.compute)
    state = TrainingState(config, resolution, device)
    stage = growth.Schedule(config.growth, level_of(resolution)).stage(0)
    images = torch.randint(0, 256, (batch, 3, resolution, resolution), dtype=torch.uint8).to(device)
    return lambda: void(update(state, Shown(images), stage, config, 0))


def plain(resolution: int, batch: int, device: torch.device, precision: compute.Precision) -> Step:
    return ours(resolution, batch, device, precision, fewer_products=False)


def void(_: object) -> None:
    """Forget a result."""


@contextlib.contextmanager
def modules_from(path: Path) -> Iterator[None]:
    """Block in which `path` is the first place for imports; Adam takes the peers' whole-numbered beta1."""
    adam = torch.optim.Adam

    class Adam(adam):  # torch refuses betas of mixed types
        def __init__(self, parameters: Any, **options: Any) -> None:
            super().__init__(parameters, **{**options, "betas": tuple(float(beta) for beta in options["betas"])})

    sys.path.insert(0, str(path))
    torch.optim.Adam = Adam  # type: ignore[misc]
    builtins.Tuple = tuple  # type: ignore[attr-defined]  # pro_gan_pytorch forgets to import it
    try:
        yield
    finally:
        sys.path.remove(str(path))
        torch.optim.Adam = adam  # type: ignore[misc]
        del builtins.Tuple  # type: ignore[attr-defined]


def reals(resolution: int, batch: int, device: torch.device) -> Tensor:
    return torch.rand(batch, 3, resolution, resolution, device=device) * 2 - 1


def gan_zoo(path: Path, resolution: int, batch: int, device: torch.device) -> Step:
    with modules_from(path):
        module = importlib.import_module("models.progressive_gan")
        model = module.ProgressiveGAN(
            LATENT,
            512,
            miniBatchStdDev=True,
            lambdaGP=10.0,
            epsilonD=0.001,
            lossMode="WGANGP",
            useGPU=device.type == "cuda",
        )
        for width in widths(resolution)[1:]:
            model.addScale(width)
    images = reals(resolution, batch, device)
    return lambda: void(model.optimizeParameters(images))


def pro_gan_pytorch(path: Path, resolution: int, batch: int, device: torch.device) -> Step:
    with modules_from(path):
        layers = importlib.import_module("pro_gan_pytorch.custom_layers")
        networks = importlib.import_module("pro_gan_pytorch.networks")
        losses = importlib.import_module("pro_gan_pytorch.losses")
        networks.nf.__defaults__ = (8192, *networks.nf.__defaults__[1:])

        def forward(self: Any, x: Tensor) -> Tensor:  # its own calls a method of torch with too few arguments
            return functional.conv_transpose2d(x, self.weight * self.scale, self.bias)

        layers.EqualizedConvTranspose2d.forward = forward
        level = level_of(resolution)
        generator = networks.Generator(level, latent_size=LATENT).to(device)
        discriminator = networks.Discriminator(level, latent_size=LATENT).to(device)
        average = copy.deepcopy(generator)
        of_generator, of_discriminator = (
            torch.optim.Adam(network.parameters(), lr=0.001, betas=(0, 0.99)) for network in (generator, discriminator)
        )
    loss = losses.WganGP()
    images = reals(resolution, batch, device)

    def apply(optimizer: Any, value: Tensor) -> None:
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value.item()

    def step() -> None:
        noise = torch.randn(batch, LATENT, device=device)
        fakes = generator(noise, level, 1.0).detach()
        apply(of_discriminator, loss.dis_loss(discriminator, images, fakes, level, 1.0))
        layers.update_average(average, generator, beta=0.999)
        fakes = generator(noise, level, 1.0)
        apply(of_generator, loss.gen_loss(discriminator, images, fakes, level, 1.0))

    return step


def rosinality(path: Path, resolution: int, batch: int, device: torch.device) -> Step:
    with modules_from(path):
        module = importlib.import_module("model")
        generator, discriminator = module.Generator(LATENT - 1, 1).to(device), module.Discriminator(1).to(device)
        average = copy.deepcopy(generator)
        of_generator, of_discriminator = (
            torch.optim.Adam(network.parameters(), lr=0.001, betas=(0, 0.99)) for network in (generator, discriminator)
        )
    images, labels, stage = reals(resolution, batch, device), torch.zeros(batch, dtype=torch.long), level_of(resolution)
    labels = labels.to(device)

    def generate() -> Tensor:
        fakes: Tensor = generator(torch.randn(batch, LATENT - 1, device=device), labels, stage - 2, 1.0)
        return fakes

    def judge(x: Tensor) -> Tensor:
        scores: Tensor = discriminator(x, stage - 2, 1.0)[0]
        return scores

    def step() -> None:  # the body of its train.py, which is for GPUs only, told anew
        discriminator.zero_grad()
        generator.requires_grad_(False)
        real = judge(images)
        (0.001 * real.square().mean() - real.mean()).backward()
        fakes = generate()
        judge(fakes).mean().backward()
        share = torch.rand(batch, 1, 1, 1, device=device)
        mixed = (share * images + (1 - share) * fakes).requires_grad_()
        (gradient,) = torch.autograd.grad(judge(mixed).sum(), mixed, create_graph=True)
        (10 * (gradient.flatten(1).norm(2, dim=1) - 1).square().mean()).backward()
        of_discriminator.step()
        generator.zero_grad()
        generator.requires_grad_(True)
        discriminator.requires_grad_(False)
        (-judge(generate()).mean()).backward()
        of_generator.step()
        discriminator.requires_grad_(True)
        for mean, new in zip(average.parameters(), generator.parameters(), strict=True):
            mean.data.mul_(0.999).add_(new.data, alpha=0.001)

    return step


PEERS = {peer.__name__: peer for peer in (gan_zoo, pro_gan_pytorch, rosinality)}


def build(name: str, path: str, resolution: int, device: torch.device, precision: compute.Precision) -> Step:
    """Networks and optimizers of a program; returns its step."""
    torch.manual_seed(0)
    batch = BATCH[resolution]
    if name in PEERS:
        with contextlib.redirect_stdout(io.StringIO()):
            step = PEERS[name](Path(path), resolution, batch, device)

        def at_precision() -> None:
            with compute.Config(precision=precision).autocast(device):
                step()

        return at_precision
    return {"ours": ours, "plain": plain}[name](resolution, batch, device, precision)


def timed(step: Step, device: torch.device) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    wall, processor = time.perf_counter(), time.process_time()
    step()
    wait()
    return time.perf_counter() - wall, time.process_time() - processor


class Counter(TorchDispatchMode):
    """Operations of products and convolutions; torch's own counter fails where gradients by images are taken."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aten = torch.ops.aten
        packet = {aten.baddbmm_: aten.baddbmm, aten.addmm_: aten.addmm}.get(func._overloadpacket, func._overloadpacket)
        if packet in flop_registry:
            self.total += flop_registry[packet](*args, **{**(kwargs or {}), "out_val": out})
        return out


def operations(step: Step) -> float:
    with Counter() as counter:
        step()
    return counter.total / 1e9


def peak(device: torch.device, precision: compute.Precision) -> float:
    """GFLOP/s of a large matrix product: the best of many."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=getattr(torch, precision))
    return 2e-9 * side**3 / min(timed(lambda: void(a @ a), device)[0] for _ in range(10))


def peak_memory(name: str, path: str, resolution: int, device: str, precision: str, threads: int) -> float:
    """MiB that a fresh process needs at most for two steps."""
    arguments = [name, path, str(resolution), device, precision, str(threads)]
    child = subprocess.run([sys.executable, __file__, "--child", json.dumps(arguments)], capture_output=True, text=True)
    if child.returncode:
        raise RuntimeError(child.stderr)
    return float(child.stdout.splitlines()[-1])


def as_child(name: str, path: str, resolution: str, device: str, precision: compute.Precision, threads: str) -> None:
    torch.set_num_threads(int(threads))
    step = build(name, path, int(resolution), torch.device(device), precision)
    step()
    step()
    print(torch.cuda.max_memory_allocated() / 2**20 if torch.device(device).type == "cuda" else resident())


def resident() -> float:
    """MiB that this process had at most in memory; not of getrusage, which Linux lets begin at the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def compare(
    programs: dict[str, str], resolution: int, device: str, precision: compute.Precision, rounds: int, memory: bool
) -> str:
    on = torch.device(device)
    steps = {name: build(name, path, resolution, on, precision) for name, path in programs.items()}
    counts = {name: operations(step) for name, step in steps.items()}  # the round that is not counted
    if "plain" not in steps:
        counts["plain"] = operations(build("plain", "", resolution, torch.device("meta"), "float32"))
    speed = peak(on, precision)
    walls: dict[str, list[float]] = {name: [] for name in steps}
    processor: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        order = list(steps) if number % 2 == 0 else list(reversed(steps))
        for name in order:
            wall, used = timed(steps[name], on)
            walls[name].append(wall)
            processor[name].append(used)
    threads = torch.get_num_threads()
    steps.clear()
    rows = []
    for name, path in programs.items():
        floor = counts["plain" if name == "ours" else name] / speed
        times = BATCH[resolution] / min(walls[name]), BATCH[resolution] / median(walls[name])
        ratio = [
            f"{median(a / b for a, b in zip(clock[name], clock['ours'], strict=True)):.2f}"
            for clock in (walls, processor)
        ]
        space = f"{peak_memory(name, path, resolution, device, precision, threads):.0f}" if memory else "-"
        rows.append(
            (name, f"{times[0]:.2f}", f"{times[1]:.2f}", *ratio, f"{min(processor[name]):.2f}", space,
             f"{counts[name]:.0f}", f"{min(walls[name]) / floor:.2f}")
        )  # fmt: skip
    header = ("program", "img/s", "median", "t/ours", "cpu t/ours", "cpu s", "MiB", "GFLOP", "t/floor")
    return f"{resolution}x{resolution}, batch {BATCH[resolution]}, {speed:.0f} GFLOP/s\n{table(rows, header)}"


def parse_peer(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    peers = dict(value.partition("=")[::2] for value in values)
    for name, path in peers.items():
        if name not in PEERS or not Path(path).is_dir():
            raise click.BadParameter(f"{name}={path}: give one of {', '.join(PEERS)} and the folder of its checkout")
    return {name: str(Path(path).absolute()) for name, path in peers.items()}


@click.command(help=__doc__)
@click.option("--peer", "peers", multiple=True, metavar="NAME=PATH", callback=parse_peer, help="May be repeated.")
@click.option("--resolution", "resolutions", type=int, multiple=True, default=(16, 32, 64, 128), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", type=int, default=torch.get_num_threads, help="Of the processor.  [default: all]")
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--plain/--no-plain", "with_plain", default=True, show_default=True, help="Time it as well.")
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure memory in fresh processes.")
@click.option("--child", hidden=True)
def main(
    peers: dict[str, str],
    resolutions: tuple[int, ...],
    rounds: int,
    threads: int,
    precision: compute.Precision,
    device: str,
    with_plain: bool,
    memory: bool,
    child: str | None,
) -> None:
    if child is not None:
        as_child(*json.loads(child))
        return
    torch.set_num_threads(threads)
    programs = {"ours": "", **({"plain": ""} if with_plain else {}), **peers}
    for resolution in resolutions:
        print(compare(programs, resolution, device, precision, rounds, memory), flush=True)
        print(f"{threads} threads, {precision}, load average {os.getloadavg()[0]:.1f}\n", flush=True)


if __name__ == "__main__":
    main()
