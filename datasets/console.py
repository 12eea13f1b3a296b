"""What all command lines share: exit codes, one-line errors, progress bars, JSON output.

People read stderr (tables, progress); stdout belongs to results. Exit codes: 0 done; 1 the data or the run is at
fault; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from tqdm import tqdm

from datasets.atomic import write_text
from datasets.errors import InputError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(command: click.Command) -> NoReturn:
    """Run a click command as the main program: every foreseeable fault ends in one line and an exit code."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number in _SIGNALS:
            if before[number] is not signal.SIG_IGN:  # a shell lets its background jobs ignore Ctrl-C
                signal.signal(number, _interrupt)
        command.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:  # wrong usage: click's own text names the option
        error.show()
        sys.exit(2)
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our stdout has gone
            sys.exit(1)
        sys.exit(f"error: {one_line(error)}")
    except MemoryError:
        sys.exit("error: out of memory; ask for fewer or smaller images at a time, or use a machine with more memory")
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.exit(0)


def one_line(error: BaseException) -> str:
    """Text of an error for a person: file and reason, on one line."""
    if isinstance(error, OSError) and error.strerror:
        unreadable = isinstance(error, PermissionError) and error.filename and not os.access(error.filename, os.R_OK)
        advice = "; make it readable" if unreadable and os.path.lexists(error.filename) else ""
        return f"{error.filename}: {error.strerror}{advice}" if error.filename else error.strerror
    return " ".join(str(error).split())


def say(text: str) -> None:
    """Print a line for people, on stderr, without tearing a progress bar."""
    tqdm.write(text, file=sys.stderr)


def progress(total: int | None, what: str, unit: str = "img", initial: int = 0) -> tqdm[NoReturn]:
    """Progress bar on stderr with count, rate and time left; use as a context manager and call ``update(n)``."""
    return tqdm(
        total=total, desc=what, unit=unit, initial=initial, dynamic_ncols=True, file=sys.stderr, mininterval=0.2
    )


def write_json(target: str, value: Any) -> None:
    """Write `value` as JSON to the file `target`, or alone to stdout if it is ``-``."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_text(Path(target), text)


def table(rows: Iterable[Iterable[object]], header: Iterable[str] | None = None) -> str:
    """Rows as aligned columns of text; numbers to the right, everything else to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    if header is not None:
        cells.insert(0, [str(cell) for cell in header])
    if not cells:
        return ""
    widths = [max(len(row[k]) for row in cells if k < len(row)) for k in range(max(map(len, cells)))]
    lines = []
    for row in cells:
        texts = [
            cell.rjust(width) if _is_number(cell) else cell.ljust(width)
            for cell, width in zip(row, widths, strict=False)
        ]
        lines.append("  ".join(texts).rstrip())
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?[\d,]*\.?\d+(e[+-]?\d+)?%?( \(.*\))?", text) is not None


def _interrupt(_signal_number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind; an impatient second signal must not stop the removal of what is half made."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
