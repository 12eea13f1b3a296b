"""Going on with a run: what must be the same, and where the run stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets.errors import InputError
from datasets.formats import PyramidReader
from training import provenance
from training.checkpoint import Checkpoint, load, path_of
from training.config import Config
from training.folder import RunFolder
from training.ranks import Ranks
from training.settings import differences, from_yaml
from training.state import TrainingState

# A resumed run may change these: they say how long it lasts, what it writes and when it gives up, not what it computes.
_FREE = ("growth.total_kimg", "guards.", "snapshots.")


def top_level(config: Config, reader: PyramidReader) -> int:
    """Level at which the run ends: the data set's, or that of `data.resolution`, which the data set must have."""
    wanted = reader.manifest.resolution if config.data.resolution is None else config.data.resolution
    levels = {1 << level: level for level in range(2, reader.manifest.top_level + 1)}
    if wanted not in levels:
        raise InputError(
            f"data.resolution {wanted} (the preset's, or --set) is not in {reader.path}; it has "
            f"{', '.join(map(str, levels))}; build a finer one, or pass --set data.resolution={max(levels)}"
        )
    return levels[wanted]


def check_options(folder: RunFolder, config: Config) -> None:
    """Refuse to go on with a run that was begun with other options."""
    if not folder.exists:
        return
    try:
        text = folder.config_file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder.config_file} cannot be read ({error}); choose another --out") from None
    try:
        begun = from_yaml(text, str(folder.config_file))
    except InputError as error:
        raise InputError(f"{error}; bring the file back, or choose another --out") from None
    changed = {key: pair for key, pair in differences(begun, config).items() if not key.startswith(_FREE)}
    if changed:
        listing = ", ".join(f"{key} was {old} and is {new}" for key, (old, new) in changed.items())
        raise InputError(
            f"{folder.path} holds a run with other options: {listing}; give the same options to go on, or another --out"
        )


def resume(
    folder: RunFolder, state: TrainingState, reader: PyramidReader, ranks: Ranks, arithmetic: Mapping[str, Any]
) -> tuple[Checkpoint | None, list[str]]:
    """Bring `state` and the logs to the newest whole checkpoint; all ranks to the one that the first finds.

    `arithmetic` is what `training.provenance.describe_arithmetic` says of this session.

    Returns
    -------
    tuple of (Checkpoint or None, list of str)
        That checkpoint, and what to tell the user.

    Raises
    ------
    InputError
        If there are checkpoints but no whole one, or logs but no checkpoint (starting again would erase them), or the
        run was trained on other data.
    """
    if not ranks.first:
        return go_to_checkpoint(folder, state, ranks), []
    saved, faults = folder.last_checkpoint()
    if saved is None:
        if faults:
            raise InputError(f"no checkpoint of {folder.path} is whole: {'; '.join(faults)}; remove it to start again")
        if folder.log_file.exists() and folder.log_file.stat().st_size:
            raise InputError(f"{folder.path} has a log but no checkpoint; bring it back, or remove it to start again")
        folder.rewind(-1)
        ranks.tell(None)
        return None, []
    _check_data(folder, saved.facts["data"], reader)
    ranks.tell(saved.images)
    _take(state, saved, folder)
    folder.rewind(state.images)
    notes = [f"left out a broken checkpoint: {fault}" for fault in faults]
    notes.append(f"going on from {saved.images} images shown")
    before = {**saved.facts["versions"], **saved.facts.get("arithmetic", {})}
    now = {**provenance.versions(), **arithmetic}
    if changed := [f"{k} was {v} and is {now[k]}" for k, v in before.items() if k in now and v != now[k]]:
        notes.append(
            f"since the checkpoint {', '.join(changed)}: the same images and random numbers will follow, "
            "but the last bits will not be those of a run that was never stopped"
        )
    return saved, notes


def go_to_checkpoint(
    folder: RunFolder, state: TrainingState, ranks: Ranks, until: int | None = None
) -> Checkpoint | None:
    """Bring the state of every rank to the newest whole checkpoint after at most `until` images, if there is one."""
    saved = folder.last_checkpoint(until)[0] if ranks.first else None
    images = ranks.tell(None if saved is None else saved.images)
    if images is None:
        return None
    saved = saved or load(path_of(folder.checkpoints, images))
    _take(state, saved, folder)
    return saved


def _take(state: TrainingState, saved: Checkpoint, folder: RunFolder) -> None:
    """Bring `state` to a checkpoint."""
    state.restore(saved.tensors, str(folder.checkpoints))
    state.images, state.seconds = saved.images, float(saved.facts["seconds"])
    state.phase = int(saved.facts["phase"])
    state.parts = {int(level): parts for level, parts in saved.facts["parts"].items()}
    state.caution, state.roll_backs = float(saved.facts["caution"]), int(saved.facts["roll_backs"])


def _check_data(folder: RunFolder, data: dict[str, str], reader: PyramidReader) -> None:
    digest = reader.manifest.content_digest
    if data["content_digest"] != digest:
        raise InputError(
            f"{folder.path} was trained on {data['path']} (digest {data['content_digest'][:12]}), "
            f"not on {reader.path} ({digest[:12]}); give the same --data to go on, or another --out"
        )
