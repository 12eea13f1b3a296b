"""The ``toolkit`` command: gathers the commands of `toolkit.commands`."""

from __future__ import annotations

import growgan  # guards against foreign packages of our names, so it comes first

# isort: split
import click

from datasets import console
from toolkit import commands


class _Commands(click.Group):
    """Imports a command when it is asked for, so that none pays for what only another needs."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return [name.replace("_", "-") for name in commands.names()]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = cmd_name.replace("-", "_")
        return commands.load(name) if name in commands.names() else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(growgan.__version__, prog_name="toolkit")
def cli() -> None:
    """Make, check and show data sets for progressive growing: pyramids of every level from 4x4 up.

    \b
    Examples:
      toolkit make-pyramid photos/ photos.h5 --resolution 128
      toolkit make-pyramid galaxies.jpg galaxies.h5 --tile 32 --stride 8
      toolkit inspect photos.h5
      toolkit show photos.h5 photos.png
      toolkit verify photos.h5
      toolkit convert photos.h5 photos.lmdb --encoding png
      toolkit convert photos.h5 photos-tf --to tfrecord
      toolkit align photos/ portraits/ --landmarks yunet
      toolkit build-celebahq celeba/ celeba-hq.h5 --deltas deltas/
    """  # noqa: D301


def main() -> None:
    """Run the command line."""
    console.run(cli)


if __name__ == "__main__":
    main()
