"""Two records of FFHQ's JSON, with landmarks of the finished images besides, which must not be taken."""

import json
from pathlib import Path

from finder_examples import FIVE, Example, sixty_eight


def record(number, points):
    return {
        "category": "training",
        "metadata": {"photo_title": 'a "b" {c}', "author": "d"},
        "image": {
            "file_path": f"images1024x1024/00000/{number:05d}.png",
            "pixel_size": [1024, 1024],
            "face_landmarks": sixty_eight(9).tolist(),
        },
        "thumbnail": {"file_path": f"thumbnails128x128/00000/{number:05d}.png", "pixel_size": [128, 128]},
        "in_the_wild": {
            "file_path": f"in-the-wild-images/00000/{number:05d}.png",
            "pixel_size": [640 + number, 480],
            "face_rect": [1, 2, 3, 4],
            "face_landmarks": points.tolist(),
            "face_quad": [[1, 2], [3, 4], [5, 6], [7, 8]],
        },
    }


def make(where: Path) -> Example:
    faces = [FIVE + 0.25, FIVE * 1.5]
    records = {str(number): record(number, sixty_eight(number, face)) for number, face in enumerate(faces)}
    path = where / "ffhq-dataset-v2.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return Example(path, {f"in-the-wild-images/00000/{number:05d}.png": [face] for number, face in enumerate(faces)})
