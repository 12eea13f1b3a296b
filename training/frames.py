"""Films, written frame by frame: an MP4 file, a GIF, a strip, or a folder of PNG files, as the name says."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets import atomic
from datasets.errors import InputError
from training.grid import save_png

Frame = NDArray[np.uint8]
"""RGB, shape (height, width, 3); all frames of a film have one size."""

_LEAST_WIDTH = 320  # of a film, if its pixels are not enlarged by a given factor: smaller ones are hard to see


def check_target(out: Path, *, overwrite: bool = False) -> None:
    """Check, before any work is done, that a film can be written to `out`.

    Raises
    ------
    InputError
        If the suffix is none of ours, something stands there, its folder cannot be written, or the encoder is missing.
    """
    suffix = out.suffix.lower()
    if suffix not in ("", ".mp4", ".gif", ".png"):
        raise InputError(f"{out}: name a file that ends in .mp4, .gif or .png, or a folder (no suffix) for PNG files")
    if suffix:
        atomic.check_writable(out, overwrite=overwrite)
    else:
        check_new_folder(out)
    if suffix == ".mp4":
        encoder()


def check_new_folder(out: Path) -> None:
    """Check that a folder of pictures can be made.

    Raises
    ------
    InputError
        If `out` exists and is not an empty folder, or the folder it is to lie in cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} exists already; name a new or empty folder")
    if not out.exists():
        atomic.check_writable(out)


def encoder() -> str:
    """Path of the ffmpeg program.

    Raises
    ------
    InputError
        If it is not there.
    """
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise InputError(
            "MP4 files need the encoder of imageio-ffmpeg, which is not installed: pip install 'growgan[video]', or "
            "write a .gif or a folder of PNG files instead"
        )
    import imageio_ffmpeg

    try:
        return cast("str", imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise InputError(
            f"imageio-ffmpeg finds no encoder ({' '.join(str(error).split())}); install ffmpeg, or write a .gif or a "
            "folder of PNG files instead"
        ) from None


def write_film(out: Path, frames: Iterable[Frame], fps: float) -> int:
    """Write a film that appears under its name only when it is complete. The memory it takes is that of a few frames.

    Parameters
    ----------
    out : Path
        ``.mp4``: H.264, visually lossless, which every browser plays. ``.gif``: 256 colours a frame, looping; delays
        are whole hundredths of a second, and Pillow keeps the frames in memory. ``.png``: a strip, all frames side by
        side, likewise in memory. No suffix: a folder of PNG files.
    frames : iterable of Frame
        Asked for one at a time. They are the same whatever the file; the bytes of an MP4 depend on the encoder.
    fps : float
        Frames a second.

    Returns
    -------
    int
        Number of frames.

    Raises
    ------
    InputError
        See `check_target`; or if the encoder fails, as on a full disk.
    """
    check_target(out, overwrite=True)
    counter = _Counter(frames)
    with atomic.system_errors(out):
        if out.suffix.lower() == ".mp4":
            with atomic.replacing(out) as temporary:
                _write_mp4(out, temporary, iter(counter), fps)
        elif out.suffix.lower() == ".gif":
            with atomic.replacing(out) as temporary:
                _write_gif(temporary, iter(counter), fps)
        elif out.suffix.lower() == ".png":
            save_png(out, np.concatenate(list(counter), axis=1))
        else:
            with atomic.new_folder(out) as folder:
                for k, frame in enumerate(counter):
                    Image.fromarray(frame).save(folder / f"{k:06d}.png")
    return counter.count


def enlarged(frame: Frame, zoom: int | None) -> Frame:
    """Frame with every pixel repeated `zoom` times; None: often enough to be easy to see."""
    factor = zoom or -(-_LEAST_WIDTH // frame.shape[1])
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


class _Counter:
    """Counts frames as they go by, and checks that there are some, of one size."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = frames
        self.count = 0

    def __iter__(self) -> Iterator[Frame]:
        size = None
        for frame in self._frames:
            if frame.shape != (size or frame.shape):
                raise ValueError(f"a frame of {frame.shape} in a film of {size}")
            size = frame.shape
            self.count += 1
            yield frame
        if not self.count:
            raise InputError("there are no frames to write")


def _write_mp4(out: Path, temporary: Path, frames: Iterator[Frame], fps: float) -> None:
    first = next(frames)
    height, width = first.shape[:2]
    command = [encoder(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    # The colours of a pixel pair are stored once, so both sides must be even: a black line is added if need be.
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
    command += ["-r", f"{fps:.6f}", "-i", "-", "-an", "-vf", even, "-c:v", "libx264", "-crf", "16"]
    command += ["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(temporary.absolute())]
    with tempfile.TemporaryFile() as messages:
        # A session of its own: Ctrl-C is for us, and we end the encoder ourselves.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages, start_new_session=True
        )
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended by itself, and its exit code says so
                stdin = cast("IO[bytes]", process.stdin)
                stdin.write(np.ascontiguousarray(first).tobytes())
                for frame in frames:
                    stdin.write(np.ascontiguousarray(frame).tobytes())
                stdin.close()
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            with contextlib.suppress(OSError):
                cast("IO[bytes]", process.stdin).close()
        if code:
            messages.seek(0)
            said = " ".join(messages.read().decode(errors="replace").split())[-300:]
            raise InputError(f"cannot write {out}: the encoder ended with code {code}: {said or 'it said nothing'}")


def _write_gif(temporary: Path, frames: Iterator[Frame], fps: float) -> None:
    pictures = (Image.fromarray(frame) for frame in frames)
    first = next(pictures)
    delay = max(10 * round(100 / fps), 20)  # in ms; players take less than 20 for "unknown" and show 100
    with temporary.open("wb") as file:
        first.save(file, format="GIF", save_all=True, append_images=pictures, duration=delay, loop=0)
