"""What each landmark file format takes and refuses, beyond what tests/contracts/test_face_finders.py asks of all."""

import json
import time

import numpy as np
import pytest
from finder_examples import FIVE, celeba5, ffhq_json, sixty_eight, table

from datasets.errors import InputError
from toolkit.celebahq.faces import open_finder
from toolkit.celebahq.faces.points import five_points, from_68


def found(path, name):
    return [face.points.round(9).tolist() for face in open_finder(path).find(name, None)]


def write(tmp_path, text, name="landmarks"):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def aligned(count, seed=0):
    """Landmarks like those of the aligned images: eyes near (69, 111) and (108, 111), within 178x218."""
    rng = np.random.default_rng(seed)
    places = np.array([(69, 111), (108, 111), (88, 135), (72, 152), (106, 152)])
    return (places + rng.integers(-6, 7, (count, 5, 2))).astype(float)


# list_landmarks_celeba.txt


@pytest.mark.parametrize("count", [1, 3, 200])
def test_landmarks_of_the_aligned_set_are_refused_with_the_remedy(tmp_path, count):
    path = write(tmp_path, celeba5.rows(aligned(count)))
    with pytest.raises(InputError, match=r"landmarks of the aligned images.*; name list_landmarks_celeba.txt") as error:
        open_finder(path)
    assert len(str(error.value).splitlines()) == 1


def test_small_photographs_in_the_wild_are_not_taken_for_aligned_ones(tmp_path):
    rng = np.random.default_rng(1)
    anywhere = aligned(200) + rng.integers(-40, 41, (200, 1, 2))
    assert anywhere.min() > 0
    assert (anywhere < (178, 218)).all()
    assert open_finder(write(tmp_path, celeba5.rows(anywhere))).name == "celeba5"
    one_outside = aligned(200)
    one_outside[77, 4] = (179, 150)
    assert open_finder(write(tmp_path, celeba5.rows(one_outside))).name == "celeba5"


def test_the_aligned_list_as_csv_is_refused_too(tmp_path):
    rows = [f"{number:06d}.jpg," + ",".join(map(str, face.ravel())) for number, face in enumerate(aligned(20))]
    header = "image_id," + ",".join(celeba5.HEADER.split())
    with pytest.raises(InputError, match="landmarks of the aligned images"):
        open_finder(write(tmp_path, "\n".join([header, *rows])))


def test_the_list_of_boxes_is_refused(tmp_path):
    path = write(tmp_path, "1\nimage_id x_1 y_1 width height\n000001.jpg    95  71 226 313\n")
    with pytest.raises(InputError, match=r"list of boxes around faces .* name list_landmarks_celeba.txt"):
        open_finder(path)


ROW = "000002.jpg 1 2 30 4 5 6 7 8 9 10"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3\n", "4\n", "holds 3 photographs, but its first line says 4; get the file again"),
        (" 271", "", "line 3: '000001.jpg .*' is not a file name and 10 numbers; get the file again"),
        (" 271", " 2x1", "line 3: '000001.jpg "),
        (" 271", " nan", "line 3: '000001.jpg "),
        ("000002.jpg", "17", "line 4: '17 "),
        ("000002.jpg", "0000é2.jpg", "line 4: "),
        ("000002.jpg", "000003.jpg", "has '000003.jpg' more than once; get the file again"),
        ("nose_x", "chin_x", "line 2: the columns are not lefteye_x lefteye_y"),
    ],
)
def test_faults_in_the_list_name_the_line(tmp_path, old, new, message):
    text = celeba5.rows([FIVE, FIVE * 3, FIVE * 2])
    with pytest.raises(InputError, match=message):
        open_finder(write(tmp_path, text.replace(old, new, 1)))


def test_a_number_too_much_and_one_too_few_do_not_cancel_out(tmp_path):
    lines = celeba5.rows([FIVE, FIVE * 3]).splitlines()
    lines[2], lines[3] = lines[2] + " 7", lines[3].rpartition(" ")[0]
    with pytest.raises(InputError, match=r"line 3: '000001\.jpg "):
        open_finder(write(tmp_path, "\n".join(lines)))


def test_as_many_rows_as_celeba_has_are_read_quickly(tmp_path):
    rng = np.random.default_rng(2)
    points = np.tile(FIVE, (20_000, 1, 1)) + rng.integers(0, 900, (20_000, 1, 1))
    path = write(tmp_path, celeba5.rows(points))
    start = time.process_time()
    finder = open_finder(path)
    assert time.process_time() - start < 2  # a tenth of CelebA in 0.15 s
    assert finder.find("img_celeba/012345.jpg", None)[0].points.tolist() == points[12_344].tolist()


# ffhq-dataset-v2.json


def test_ffhq_knows_the_size_of_the_photograph_in_the_wild(tmp_path):
    path = write(tmp_path, {"7": ffhq_json.record(7, sixty_eight(7))})
    (face,) = open_finder(path).find("00000/00007.png", None)
    assert face.size == (647, 480)
    with pytest.raises(InputError, match=r"images1024x1024/00000/00007\.png has no landmarks"):
        open_finder(path).find("images1024x1024/00000/00007.png", None)


@pytest.mark.parametrize("key", ["file_path", "pixel_size", "face_landmarks"])
def test_ffhq_faults_name_the_record(tmp_path, key):
    for value in (None, [[1, 2]] * 67, 5):
        good, bad = ffhq_json.record(7, sixty_eight(7)), ffhq_json.record(8, sixty_eight(7))
        bad["in_the_wild"][key] = value
        with pytest.raises(InputError, match="record '8': in_the_wild has not file_path, pixel_size and 68"):
            open_finder(write(tmp_path, {"7": good, "8": bad}))


# JSON


POINTS = sixty_eight(5).tolist()
OUTLINES = {
    "left_eye": POINTS[36:42],
    "right_eye": POINTS[42:48],
    "nose_tip": [POINTS[30]] * 5,
    "top_lip": POINTS[48:55] + POINTS[60:65],
    "bottom_lip": [],
}
NAMED = dict(zip(("left_eye", "right_eye", "nose", "mouth_left", "mouth_right"), FIVE.tolist(), strict=True))
LAYOUTS = {
    "68 points": {"a.jpg": POINTS},
    "5 points": {"a.jpg": FIVE.tolist()},
    "flat": {"a.jpg": np.ravel(POINTS).tolist()},
    "x and y": {"a.jpg": [{"x": x, "y": y} for x, y in POINTS]},
    "three coordinates": {"a.jpg": [[x, y, -3] for x, y in POINTS]},
    "outlines": {"a.jpg": [OUTLINES]},
    "named points": {"a.jpg": NAMED},
    "list of one": {"a.jpg": [POINTS]},
    "record": {"a.jpg": {"landmarks": POINTS, "confidence": 0.5, "width": 640, "height": 480}},
    "record of faces": {"a.jpg": {"faces": [{"points": POINTS, "score": 0.5, "box": [1, 2, 3, 4]}]}},
    "named keys are numbers": {"000123": {"keypoints": POINTS}},
    "records": [{"file_name": "x/a.jpg", "face_landmarks": POINTS}, {"file_name": "x/b.jpg", "face_landmarks": None}],
    "records inside": {"info": {"file": "none.jpg", "landmarks": []}, "images": [{"file": "a.jpg", "kps": POINTS}]},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_json(tmp_path, layout):
    path = write(tmp_path, LAYOUTS[layout])
    name = "000123.png" if layout == "named keys are numbers" else "x/a.jpg"
    np.testing.assert_allclose(found(path, name), [FIVE], atol=1e-9)


def test_json_lines(tmp_path):
    records = [{"file": f"{name}.jpg", "landmarks": (FIVE + move).tolist()} for name, move in (("b", 5), ("a", 0))]
    path = write(tmp_path, "\n".join(map(json.dumps, records)) + "\n\n")
    assert found(path, "a.jpg") == [FIVE.tolist()]
    with pytest.raises(InputError, match="damaged or no JSON"):
        open_finder(write(tmp_path, path.read_text() + '{"file": '))


def test_confidence_and_size_are_kept_with_their_face(tmp_path):
    faces = [
        {"landmarks": (FIVE + 300).tolist(), "score": 0.25},
        {"landmarks": FIVE.tolist(), "score": 0.75, "width": 9, "height": 8},
    ]
    left, right = open_finder(write(tmp_path, {"a.jpg": faces})).find("a.jpg", None)
    assert (left.confidence, left.size, right.confidence, right.size) == (0.75, (9, 8), 0.25, None)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a.jpg": POINTS[:67]}, r"'a.jpg': landmarks of shape \(67, 2\); give 68 or 5 points"),
        ({"a.jpg": [*POINTS[:67], [1, None]]}, "'a.jpg': a landmark is missing or not finite"),
        ({"a.jpg": [*POINTS[:67], ["1", {}]]}, "'a.jpg': the landmarks are not numbers"),
        ({"a.jpg": [*POINTS[:67], [1]]}, "'a.jpg': the landmarks are not numbers, or not two for every point"),
        ({"a.jpg": {"left_eye": [1, 2]}}, "'a.jpg': only the parts left_eye; give 68"),
        ({"a.jpg": {"box": [1, 2]}}, "'a.jpg': no landmarks; give 68 or 5 points"),
        ({"a.jpg": "b.jpg"}, "'a.jpg': no landmarks"),
        ({"a.jpg": True}, "'a.jpg': no landmarks"),
        ([{"landmarks": POINTS}], "record 0: no name of a photograph; give it as 'file'"),
        ({"a.jpg": {"landmarks": POINTS, "score": "high"}}, "the confidence 'high' is no number"),
        ({"a.jpg": {"landmarks": POINTS, "width": 3}}, "width and height of the photograph are not whole numbers"),
    ],
)
def test_faults_in_json_name_the_photograph(tmp_path, document, message):
    with pytest.raises(InputError, match=message):
        open_finder(write(tmp_path, document))


@pytest.mark.parametrize("text", ['{"a.jpg": [[1, 2]', '{"a.jpg" 1}', '{"a.jpg": []]', '{"a": null} x', '{"a": null,}'])
def test_broken_json_names_the_line(tmp_path, text):
    with pytest.raises(InputError, match=r"is damaged or no JSON \(line 1: .*\); get it or write it again"):
        open_finder(write(tmp_path, text))


def test_json_in_another_encoding(tmp_path):
    path = tmp_path / "a"
    path.write_bytes('{"é.jpg": []}'.encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        open_finder(path)


# CSV


def csv_of_68(form, first, separator):
    columns = [form.format(axis, number) for axis in "xy" for number in range(first, first + 68)]
    cells = [*sixty_eight(5)[:, 0], *sixty_eight(5)[:, 1]]
    return separator.join(["image", *columns]) + "\n" + separator.join(["a.jpg", *map(str, cells)]) + "\n"


@pytest.mark.parametrize(("form", "first"), [("{}{}", 0), ("{}_{}", 0), ("{}{}", 1), ("{}_{}", 1)])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_of_68_points(tmp_path, form, first, separator):
    path = write(tmp_path, csv_of_68(form, first, separator))
    assert open_finder(path).name == "table"
    np.testing.assert_allclose(found(path, "a.jpg"), [FIVE], atol=1e-9)


def test_csv_with_other_names_spaces_and_byte_order_mark(tmp_path):
    header = "\ufeffFilename, Left_Eye_X, left_eye_y, right_eye_x, right_eye_y, nose_tip_x, nose_tip_y, mouth_left_x, "
    header += "mouth_left_y, mouth_right_x, mouth_right_y, age"
    path = write(tmp_path, header + "\r\n" + ", ".join(["a.jpg", *map(str, FIVE.ravel()), "33"]) + "\r\n\r\n")
    assert found(path, "a.jpg") == [FIVE.tolist()]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,1,2", "line 3: 3 cells, but the header names 14; mend the row"),
        ("a.jpg,0.9,x,2,3,4,5,6,7,8,9,10,800,600", "line 3, column lefteye_x: 'x' is no number; mend the row"),
        ("a.jpg,0.9,1,2,3,4,5,6,,8,9,10,800,600", "line 3, column leftmouth_x: '' is no number"),
        ("a.jpg,inf,1,2,3,4,5,6,7,8,9,10,800,600", "line 3, column confidence: 'inf' is no number"),
        (",0.9,1,2,3,4,5,6,7,8,9,10,800,600", "line 3, column file: no name; mend the row"),
    ],
)
def test_faults_in_csv_name_line_and_column(tmp_path, row, message):
    good = "b.jpg,0.9,1,2,30,4,5,6,7,8,9,10,800,600"
    with pytest.raises(InputError, match=message):
        open_finder(write(tmp_path, "\n".join([table.COLUMNS, good, row])))


# other files


def test_what_is_no_landmark_file(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a.txt", "b.jpg", "c.json"):
        path = tmp_path / name
        if name != "empty":
            path.write_bytes({"a.txt": b"hello", "b.jpg": b"\xff\xd8\xff\xe0", "c.json": b"[1, 2]"}[name])
        with pytest.raises(InputError, match=f"{name} is no landmark file that this program knows; it may be one of: "):
            open_finder(path)


def test_files_without_a_photograph(tmp_path):
    for text in (f"0\n{celeba5.HEADER}", table.COLUMNS + "\n"):
        with pytest.raises(InputError, match="landmarks holds no landmarks; name a file with at least one photograph"):
            open_finder(write(tmp_path, text))


def test_68_points_to_five_as_ffhq_does():
    points = np.arange(136.0).reshape(68, 2) ** 1.5
    five = from_68(np.stack([points, points * 2]))
    assert five.shape == (2, 5, 2)
    assert five[0, 0].tolist() == pytest.approx([np.mean(points[36:42, 0]), np.mean(points[36:42, 1])])
    assert five[0, 1].tolist() == pytest.approx([np.mean(points[42:48, 0]), np.mean(points[42:48, 1])])
    assert five[1, 2:].tolist() == (points[[30, 48, 54]] * 2).tolist()
    np.testing.assert_array_equal(five_points(points.tolist(), ""), five[0])
