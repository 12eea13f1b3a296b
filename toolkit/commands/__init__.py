"""Commands of ``toolkit``: one module per command, found by listing this folder.

The file name is the command's name (with ``-`` for ``_``); the module's ``command`` is a click command, which parses,
calls and prints, and holds no logic.
"""

from __future__ import annotations

import importlib
import pkgutil

import click


def names() -> list[str]:
    """Names of all command modules."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> click.Command:
    """Command of the module called `name`."""
    command: click.Command = importlib.import_module(f"{__name__}.{name}").command
    return command
