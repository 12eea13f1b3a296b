"""Labels of images that lie in folders or archives: from ``dataset.json``, or from folders of classes.

``dataset.json`` is how StyleGAN's tools store labels, beside the images (Karras et al. 2020, arXiv:2006.06676, released
code): ``{"labels": [["00000/img00000000.png", 6], ...]}``, each label a class number or a one-hot vector, or
``{"labels": null}``. Numbers are kept; a class is then called by its number, unless ``"label_names"`` stands beside, as
in the files that ``toolkit convert`` writes. Where there is no such file, and every
image lies below one of two or more folders, these folders, sorted, are the classes. Folders that hold everything, as
``photos/`` in an archive of that folder, are no classes and are passed over.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

JSON_NAME = "dataset.json"
MAX_CLASSES = 1 << 16  # three times ImageNet-21k; a class number beyond is a mistake, and would cost memory
_ADVICE = "mend it, or pass --no-labels"


@dataclasses.dataclass(frozen=True)
class Labels:
    """Class numbers of all images.

    Attributes
    ----------
    numbers : ndarray of int64, shape (number of images,)
        In 0..C-1.
    names : tuple of str
        Name of every class, by class number; C in all.
    """

    numbers: NDArray[np.int64]
    names: tuple[str, ...]


def find(names: Sequence[str], read: Callable[[str], tuple[str, bytes] | None]) -> Labels | None:
    """Labels of the images called `names`, or None if they have none.

    Parameters
    ----------
    names : sequence of str
        Paths of the images inside their folder or archive, with ``/`` between the parts; at least one.
    read : callable
        ``read("photos/dataset.json")`` gives the name for error messages and the content of that file, or None if there
        is none. It is asked for in every folder that holds all images, from the top.

    Raises
    ------
    InputError
        If ``dataset.json`` is damaged, leaves out an image, or has labels that are no classes.
    """
    folder = _common_folder(names)
    places = [folder[:end] for end in range(len(folder) + 1) if end == 0 or folder[end - 1] == "/"]
    for place in places:
        found = read(place + JSON_NAME)
        if found is not None:
            where, data = found
            return from_json(data, [name.removeprefix(place) for name in names], where)
    return from_folders([name.removeprefix(folder) for name in names])


def from_folders(names: Sequence[str]) -> Labels | None:
    """Classes from the first folder of every name; None unless all images lie in folders, in at least two."""
    tops = [name.split("/", 1)[0] for name in names if "/" in name]
    classes = sorted(set(tops))
    if len(tops) < len(names) or len(classes) < 2:
        return None
    number_of = {name: number for number, name in enumerate(classes)}
    return Labels(np.array([number_of[top] for top in tops], np.int64), tuple(classes))


def from_json(data: bytes, names: Sequence[str], where: str) -> Labels | None:
    """Classes from the content of a ``dataset.json``; None if it says that there are none.

    Entries of images that are not there are passed over, as the training code of StyleGAN does.

    Raises
    ------
    InputError
        If it is damaged, leaves out an image, or has labels that are no classes.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({_line(error)}); {_ADVICE}") from None
    entries = content.get("labels") if isinstance(content, dict) else content
    if entries is None:
        return None
    if not isinstance(content, dict) or not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise InputError(f'{where} must be {{"labels": [[name, label], ...]}} or {{"labels": null}}; {_ADVICE}')
    label_of: dict[str, Any] = {}
    for entry, label in entries:
        name = entry.replace("\\", "/").removeprefix("./")  # as Windows writes it
        if name in label_of and label_of[name] != label:
            raise InputError(f"{where} gives {name!r} two labels; {_ADVICE}")
        label_of[name] = label
    numbers, num_classes = np.empty(len(names), np.int64), 0
    widths: set[int | None] = set()
    for index, name in enumerate(names):
        if name not in label_of:
            raise InputError(f"{where} has no label for {name!r}; every image needs one; {_ADVICE}")
        numbers[index], width = _class_of(label_of[name], name, where)
        widths.add(width)
        num_classes = max(num_classes, width or 0, int(numbers[index]) + 1)
    if len(widths) > 1:
        raise InputError(f"{where} mixes class numbers and vectors, or vectors of several lengths; {_ADVICE}")
    return Labels(numbers, _names_of_classes(content.get("label_names"), num_classes))


def _names_of_classes(given: object, num_classes: int) -> tuple[str, ...]:
    """Names that our own exports add under ``label_names``, if they fit; otherwise the numbers."""
    if isinstance(given, list) and num_classes <= len(given) <= MAX_CLASSES:
        names = tuple(name for name in given if isinstance(name, str))
        if len(names) == len(given):
            return names
    return tuple(map(str, range(num_classes)))


def _common_folder(names: Sequence[str]) -> str:
    """Path of the deepest folder that holds all images, with its ``/``, or nothing."""
    first, last = min(names), max(names)  # what these two share, all share
    shared = next((at for at, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), len(first))
    return first[: first.rfind("/", 0, shared) + 1]


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)


def _class_of(label: object, name: str, where: str) -> tuple[int, int | None]:
    """Class number of one label, and the length of its vector if it is one."""
    if isinstance(label, list):
        if len(label) <= MAX_CLASSES and sum(value == 1 for value in label) == 1 == sum(value != 0 for value in label):
            return label.index(1), len(label)
        raise InputError(
            f"{where}: the label of {name!r} is a vector that is not one-hot; classes are needed; {_ADVICE}"
        )
    whole = isinstance(label, float) and label.is_integer()
    if (isinstance(label, int) and not isinstance(label, bool)) or whole:
        number = int(label)  # type: ignore[call-overload]
        if 0 <= number < MAX_CLASSES:
            return number, None
    shown = repr(label)[:40]
    raise InputError(
        f"{where}: the label of {name!r} is {shown}, not a class number in 0..{MAX_CLASSES - 1}; {_ADVICE}"
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
