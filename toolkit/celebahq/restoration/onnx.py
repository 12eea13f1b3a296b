"""Networks as ONNX graphs, run by the package onnxruntime on the processor.

An ONNX file names operators and holds their weights; onnxruntime has the standard operators built in. Libraries with
operators of their own are code, so none is loaded, and a graph that needs one is refused. The graph is read from the
bytes of one file, so weights that lie in files beside it are refused too.

A graph says nothing of the range of its numbers and of its factor. Both are found by showing it a smooth picture: of
0..1, 0..255 and -1..1, the first is taken with which the reduced result is like the picture, or else the one with which
it is most like it. Channels are taken to be red, green, blue.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.restoration import Tile, needs_extra

if TYPE_CHECKING:
    import onnxruntime

_TYPES: Final[dict[str, type[np.generic]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
_RANGES: Final = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))  # the likeliest first
_SHOWN = 64  # height and width of the picture that is shown
_ALIKE = 0.1  # of the picture's own deviation; restored pictures differ by some hundredths from what was shown
_UNLIKE = 0.5
_MOST_SCALE = 16
_FILES_BESIDE = b"\x0a\x08location"  # key of an entry of TensorProto.external_data


def recognises(data: bytes) -> bool:
    """True if a file begins with the version of an ONNX graph, 1 to 127, and goes on with a field that may follow."""
    return len(data) > 16 and data[0] == 0x08 and 1 <= data[1] <= 0x7F and data[2] in b"\x12\x1a\x22\x28\x32\x3a\x42"


class Graph:
    """A network as a graph.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    path : Path

    Raises
    ------
    InputError
        If it does not make an RGB image from one.
    """

    multiple = 16  # the windows of networks with attention, and the steps of those that reduce an image first
    margin = 16  # how far a network looks is not asked of its graph; most of the weight lies within this
    blend = 16

    def __init__(self, session: onnxruntime.InferenceSession, path: Path) -> None:
        self._session, self._path = session, path
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) < 1:
            raise InputError(
                f"{path} takes {[value.name for value in inputs]}, not one image alone; take another network"
            )
        self._input, self._output = inputs[0], outputs[0]
        if self._input.type not in _TYPES or self._output.type not in _TYPES:
            raise InputError(
                f"{path} makes {self._output.type} of {self._input.type}; only float, float16 and uint8 are taken"
            )
        shape = [side if isinstance(side, int) and side > 0 else None for side in self._input.shape]
        if len(shape) != 4 or shape[0] not in (None, 1) or 3 not in (shape[1], shape[3]):
            raise InputError(
                f"{path} takes {self._input.shape}; it must take one RGB image, (1, 3, height, width) or "
                "(1, height, width, 3)"
            )
        self._channels_last = shape[1] != 3
        height, width = shape[1:3] if self._channels_last else shape[2:4]
        if (height is None) != (width is None):
            raise InputError(
                f"{path} takes {self._input.shape}; fix both height and width when it is exported, or none"
            )
        self.size = (height, width) if height and width else None
        self.name = "ONNX"
        self.scale, self._range = self._found_out()

    def __call__(self, tile: Tile) -> Tile:
        """Picture of a tile, see `toolkit.celebahq.restoration.Network`."""
        return self._run(tile, self._range)

    def _run(self, tile: Tile, values: tuple[float, float]) -> Tile:
        least, most = values
        image = tile * np.float32(most - least) + np.float32(least)
        kind = _TYPES[self._input.type]
        if kind is np.uint8:
            image = np.rint(image)
        given = image if self._channels_last else np.ascontiguousarray(image.transpose(2, 0, 1))
        try:
            result: NDArray[Any] = self._session.run([self._output.name], {self._input.name: given[None].astype(kind)})[
                0
            ]
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no other class in common
            raise InputError(
                f"{self._path} fails on an image of {tile.shape[1]}x{tile.shape[0]} pixels: {_line(error)}"
            ) from None
        if result.ndim != 4 or len(result) != 1 or result.shape[3 if self._channels_last else 1] != 3:
            raise InputError(f"{self._path} makes {result.shape} of an image, not one RGB image; take another network")
        picture = result[0] if self._channels_last else result[0].transpose(1, 2, 0)
        return np.ascontiguousarray((picture.astype(np.float32) - np.float32(least)) / np.float32(most - least))

    def _found_out(self) -> tuple[int, tuple[float, float]]:
        """Factor and range of values."""
        height, width = self.size or (_SHOWN, _SHOWN)
        rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
        planes = (0.5 + 0.3 * np.sin(5 * rows), 0.4 + 0.3 * np.cos(4 * columns), 0.3 + 0.4 * rows * columns)
        picture = np.stack(planes, axis=2).astype(np.float32)
        ranges = _RANGES[1:2] if "uint8" in self._input.type else _RANGES
        best, least_error, scale = ranges[0], np.inf, 1
        for values in ranges:
            result = self._run(picture, values)
            scale = result.shape[0] // height
            if not 1 <= scale <= _MOST_SCALE or result.shape != (scale * height, scale * width, 3):
                raise InputError(
                    f"{self._path} makes {result.shape[1]}x{result.shape[0]} pixels of {width}x{height}; both "
                    f"sides must grow by the same whole factor, up to {_MOST_SCALE}"
                )
            reduced = result.reshape(height, scale, width, scale, 3).mean(axis=(1, 3))
            rest = (reduced - picture)[
                height // 4 : -height // 4, width // 4 : -width // 4
            ]  # borders have their own ways
            error = float(np.sqrt(np.mean(np.square(rest))) / picture.std())
            if error < least_error:
                best, least_error = values, error
            if error < _ALIKE:
                break
        if not least_error <= _UNLIKE:
            raise InputError(
                f"{self._path} makes a picture that is not like what it was shown (error {least_error:.2g} of its "
                "deviation) with values of 0..1, 0..255 or -1..1; it is no network that restores images, or is damaged"
            )
        return scale, best


def open_network(path: Path, data: bytes) -> Graph:
    """Open a network.

    Raises
    ------
    InputError
        If onnxruntime is not installed; if the file is damaged, has weights in other files or operators that are not
        standard; if it does not make an RGB image from one.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise needs_extra(path, str(error.name)) from None
    if _FILES_BESIDE in data:
        raise InputError(f"{path} has its weights in other files; export it as one file, with the weights inside")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is said by the exceptions
    options.use_deterministic_compute = True
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no other class in common
        reason = _line(error)
        if "is not a registered function/op" in reason or "No opset import for domain" in reason:
            raise InputError(
                f"{path} has an operator that is not standard ({reason}); libraries of operators are code and are not "
                "loaded: export it with standard operators"
            ) from None
        raise InputError(f"{path} is no ONNX graph that onnxruntime can run: {reason}") from None
    return Graph(session, path)


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0].rpartition("FAIL : ")[2] if lines else type(error).__name__
    return " ".join(text.split())[:160]
