"""The report of a run: one HTML file that holds everything it shows and needs no network.

`write_report` reads a run directory (`run_directory`, `fields`, `events`, `standing`), cuts its sample grids down to
what a page needs (`pictures`), draws its numbers (`charts`, on the axes of `scales`), says in words what they show
(`readings` and `advice`, from the `findings` and `trends`), collects the rest (`facts`) and fills the template
(`page`). Nothing in here imports torch or ``training``: a report is written in about a second, also while the run goes
on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.atomic import check_writable, write_text
from metrics.report.standing import Standing, standing_of

REPORT_NAME = "report.html"
KeptPictures = dict[tuple[object, ...], Any]
"""Reduced pictures by file, for whoever writes the report of one run again and again."""


def write_report(
    run: Path,
    out: Path | None = None,
    evaluations: Sequence[Path] = (),
    *,
    standing: Standing | None = None,
    kept: KeptPictures | None = None,
) -> Path:
    """Write the report of a run, finished or not; an earlier report is replaced.

    Parameters
    ----------
    run : Path
        Run directory, as ``training/run.py`` writes it. It is only read; a trainer may be writing to it meanwhile.
    out : Path, optional
        HTML file to write; ``report.html`` inside the run directory if left out.
    evaluations : sequence of Path
        Results that ``metrics ... --json`` wrote, besides those in the run directory called ``evaluation*.json``.
    standing : str, optional
        Whether a trainer is at work; found out if not given. The page of a run that is going follows it.
    kept : dict, optional
        Filled with pictures, and read from when the report is written again.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If `run` is not a run directory, one of its files is damaged, or `out` cannot be written. A picture that cannot
        be read is left out, and the page says so.
    """
    # Imported here so that ``metrics --help`` need not load the template engine and Pillow.
    from metrics.report.evaluations import read_evaluations
    from metrics.report.page import render
    from metrics.report.run_directory import check_run_directory, read_run

    run = check_run_directory(Path(run))
    target = check_writable(run / REPORT_NAME if out is None else Path(out), overwrite=True)
    found = read_run(run, standing or standing_of(run))
    follows = target == run / REPORT_NAME  # nobody rewrites another file
    write_text(target, render(found, read_evaluations(run, evaluations), follows=follows, kept=kept))
    return target
