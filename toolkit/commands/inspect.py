"""Command ``inspect``: what a data set is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from datasets import console
from toolkit import inspection
from toolkit.command_line import PATH, check_json, facts_table, json_option

_MOST_CLASSES = 20
_MOST_SKIPPED = 20


@click.command("inspect")
@click.argument("file", type=PATH)
@json_option
def command(file: Path, json_to: str | None) -> None:
    """Say what FILE is: counts, levels, classes, digests, options, and where it came from.

    \b
    Examples:
      toolkit inspect photos.h5
      toolkit inspect photos.h5 --json - | jq .content_digest
    """  # noqa: D301
    check_json(json_to)
    found = inspection.inspect(file)
    _print_inspection(found)
    if json_to:
        console.write_json(json_to, found.to_json())


def _print_inspection(found: inspection.Inspection) -> None:
    manifest = found.manifest
    side = manifest.resolution
    options = (f"{name} {value}" for name, value in manifest.options.items() if value not in (None, False))
    stored = f"{found.format}, {found.encoding}, {found.bytes / 1e6:.1f} MB"
    if len(found.files) > 1:
        stored += f" in {len(found.files)} files"
    facts = {
        "file": f"{found.path} ({stored})",
        "rows": f"{manifest.num_images} of {side}x{side}, {manifest.dtype} RGB",
        "classes": _classes(found),
        "content digest": manifest.content_digest,
        "options": ", ".join(options),
        **{name.replace("_", " "): _brief(name, value) for name, value in manifest.provenance.items()},
    }
    console.say(facts_table(facts.items()))
    levels = [(level["name"], f"{level['bytes'] / 1e6:.1f}", f" {level['sha256']}") for level in found.levels()]
    console.say("\n" + console.table(levels, header=("level", "MB", " sha256")))
    if len(found.files) > 1:
        files = [(name, f"{size / 1e6:.1f}") for name, size in found.files]
        console.say("\n" + console.table(files, header=("file", "MB")))
    if found.classes:
        console.say("\n" + console.table(found.classes[:_MOST_CLASSES], header=("class", "rows")))
        if len(found.classes) > _MOST_CLASSES:
            console.say(f"... and {len(found.classes) - _MOST_CLASSES} more classes")
    skipped = found.skipped or []
    for path, reason in skipped[:_MOST_SKIPPED]:
        console.say(f"skipped: {reason}" if path in reason else f"skipped: {path}: {reason}")
    if len(skipped) > _MOST_SKIPPED:
        console.say(f"... and {len(skipped) - _MOST_SKIPPED} more; see the ledger")


def _classes(found: inspection.Inspection) -> str:
    if found.classes is None:
        return "no labels"
    rows = [count for _, count in found.classes]
    return f"{len(rows)}, of {min(rows)} to {max(rows)} rows"


def _brief(name: str, value: Any) -> str:
    """A value of the provenance on one line; --json has all of it."""
    if name == "libraries":
        return ", ".join(f"{library} {version}" for library, version in value.items())
    if name == "conversions":
        return ", then ".join(
            f"to {step['to']}" + (f" at {step['resolution']}x{step['resolution']}" if "of" in step else "")
            for step in value
        )
    if name == "parts":
        return ", ".join(_named(part) for part in value)
    if name == "whole":
        return _named(value)
    return value if isinstance(value, str) else json.dumps(value)


def _named(part: dict[str, Any]) -> str:
    return f"{part['name']} ({part['num_images']} rows, content {part['content_digest'][:16]})"
