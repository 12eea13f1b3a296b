"""A process that decodes JPEG files with libjpeg 8d, one after the other, until its input ends.

libjpeg 8d comes in the package jpeglib. It is kept apart because it ends or crashes the process that it runs in when a
file is damaged in certain ways, and writes its warnings to the standard error of the process.

Each request is a header (`HEADER`: bytes of the file, height, width), then the file. The answer is one byte, `DONE` or
`REFUSED`, and after `DONE` the pixels: height x width x RGB. The first answer, `DONE` without pixels, says that the
library is loaded. This file imports nothing of ours, so that it starts quickly from anywhere.
"""

import ctypes
import os
import signal
import struct
import sys
import tempfile
from typing import Any, BinaryIO

HEADER = struct.Struct("<QII")
DONE, REFUSED = b"+", b"-"

_RGB = 2  # libjpeg's number of the colour space
_DEFAULT = -1  # for the method of the inverse DCT and for dithering: what the library does by itself
_NOTHING, _EVERYTHING = ctypes.c_uint(0), ctypes.c_uint(0xFFFFFFFF)  # which flags are changed, and to what


def main() -> None:
    """Serve standard input and output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the one who asks, who then closes our input
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    library = _library()
    _send(answers, DONE)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "photograph.jpg")  # noqa: PTH118  pathlib would be the slowest import of all
        while len(header := requests.read(HEADER.size)) == HEADER.size:
            size, height, width = HEADER.unpack(header)
            with open(path, "wb") as file:  # noqa: PTH123  the library reads from files alone
                file.write(requests.read(size))
            pixels = ctypes.create_string_buffer(height * width * 3)
            done = library.read_jpeg_spatial(
                path.encode(), pixels, None, None, _RGB, _DEFAULT, _DEFAULT, _NOTHING, _EVERYTHING
            )
            _send(answers, DONE, memoryview(pixels)) if done else _send(answers, REFUSED)


def _library() -> Any:
    """Load libjpeg 8d."""
    import jpeglib

    with jpeglib.version("8d"):
        return jpeglib.version._get_lib()


def _send(answers: BinaryIO, *parts: bytes | memoryview) -> None:
    for part in parts:
        answers.write(part)
    answers.flush()


if __name__ == "__main__":
    main()
