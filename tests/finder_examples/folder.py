"""A folder of a .pts and a .ljson, between photographs."""

import json
from pathlib import Path

from finder_examples import FIVE, Example, menpo_ljson, pts, sixty_eight


def make(where: Path) -> Example:
    folder = where / "photos"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "one.pts").write_text(pts.text(sixty_eight(1)), encoding="ascii")
    (folder / "two.ljson").write_text(json.dumps(menpo_ljson.document(FIVE * 2)), encoding="utf-8")
    return Example(folder, {"x/one.jpg": [FIVE], "two.webp": [FIVE * 2]})
