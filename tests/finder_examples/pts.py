"""The .pts of one photograph."""

from pathlib import Path

from finder_examples import FIVE, Example, sixty_eight


def text(points):
    lines = "\n".join(f"{x:.6f} {y:.6f}" for x, y in (points + 1).tolist())
    return f"version: 1\nn_points:  {len(points)}\n{{\n{lines}\n}}\n"


def make(where: Path) -> Example:
    path = where / "photo.pts"
    path.write_text(text(sixty_eight(4)), encoding="ascii")
    return Example(path, {"photo.png": [FIVE]})
