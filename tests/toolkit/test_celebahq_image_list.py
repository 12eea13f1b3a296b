import pytest

from datasets.errors import InputError
from toolkit.celebahq.image_list import Row, read, split_of

HEADER = "idx orig_idx orig_file proc_md5 final_md5"
A, B = "0123456789abcdef" * 2, "f" * 32
LINES = [HEADER, f"0     119613    119614.jpg  {A} {B}", f"1     7         000008.jpg  {B} {A}"]


def written(folder, lines, end="\n"):
    path = folder / "image_list.txt"
    path.write_bytes(end.join([*lines, ""]).encode("latin-1"))
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows(tmp_path, end):
    assert read(written(tmp_path, LINES, end)) == [
        Row(0, 119613, "119614.jpg", A, B),
        Row(1, 7, "000008.jpg", B, A),
    ]


def test_the_last_line_need_not_end(tmp_path):
    path = written(tmp_path, LINES)
    path.write_bytes(path.read_bytes().rstrip())
    assert len(read(path)) == 2


def test_what_editors_do_to_a_list(tmp_path):
    """A byte order mark, capital letters, blank lines at the end."""
    plain = read(written(tmp_path, LINES))
    path = written(tmp_path, [HEADER, *(line.upper().replace("JPG", "jpg") for line in LINES[1:]), "", "  "])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path) == plain


def test_a_smaller_set_keeps_the_numbers(tmp_path):
    rows = read(written(tmp_path, [HEADER, f"7 8 000009.jpg {A} {B}", f"29999 1 000002.jpg {A} {B}"]))
    assert [(row.index, row.line) for row in rows] == [(7, 2), (29_999, 3)]


def test_as_many_rows_as_were_released(tmp_path):
    """Every sixth photograph of CelebA; the number that falls into each part by arithmetic."""
    rows = [f"{k} {6 * k} {6 * k + 1:06d}.jpg {A} {B}" for k in range(30_000)]
    found = read(written(tmp_path, [HEADER, *rows]))
    splits = [row.split for row in found]
    assert splits == ["train"] * 27_129 + ["val"] * (30_000 - 27_129)  # 6 * 27,128 = 162,768 is the last below 162,770
    assert (len(found), found[-1].index) == (30_000, 29_999)


@pytest.mark.parametrize(
    ("number", "split"),
    [(0, "train"), (162_769, "train"), (162_770, "val"), (182_636, "val"), (182_637, "test"), (202_598, "test")],
)
def test_parts_of_celeba(number, split, tmp_path):
    assert split_of(number) == split
    (row,) = read(written(tmp_path, [HEADER, f"0 {number} {number + 1:06d}.jpg {A} {B}"]))
    assert row.split == split


FAULTS = {
    "no header": (LINES[1:], r"line 1: '0 119613 119614\.jpg .*\.\.\.' is not the header 'idx orig_idx"),
    "web page": (["<!DOCTYPE html><html>" + "x" * 100_000], r"line 1: '<!DOCTYPE html><html>x{1,60}\.\.\.' is not"),
    "other header": ([HEADER.replace("proc", "prog"), *LINES[1:]], "line 1: .* is not the header"),
    "only a header": ([HEADER], "lists no images"),
    "empty": ([], "line 1|lists no images"),
    "four columns": ([*LINES, f"2 8 000009.jpg {A}"], "line 4: 4 columns, not 5"),
    "six columns": ([*LINES, f"2 8 000009.jpg {A} {B} x"], "line 4: 6 columns, not 5"),
    "blank line": ([*LINES[:2], "", LINES[2]], "line 3: 0 columns"),
    "words for numbers": ([HEADER, f"zero 8 000009.jpg {A} {B}"], "line 2, column idx: 'zero' is not a whole number"),
    "fraction": ([HEADER, f"0 8.0 000009.jpg {A} {B}"], r"line 2, column orig_idx: '8\.0' is not a whole number"),
    "sign": ([HEADER, f"0 -1 000000.jpg {A} {B}"], "line 2, column orig_idx: '-1' is not a whole number"),
    "other digits": ([HEADER, f"0 \xb2 000009.jpg {A} {B}"], "line 2, column orig_idx: .* is not a whole number"),
    "out of order": ([HEADER, LINES[2], LINES[1]], "line 3, column idx: 0 follows 1, but numbers must go up"),
    "twice": ([*LINES, LINES[2]], "line 4, column idx: 1 follows 1, .* none may come twice; sort .* remove the copies"),
    "file of another number": (
        [HEADER, f"0 9 000009.jpg {A} {B}"],
        "line 2, column orig_idx: '9' is not one less than",
    ),
    "png": ([HEADER, f"0 8 000009.png {A} {B}"], r"column orig_file: '000009\.png' is not a name such as 000001\.jpg"),
    "path": ([HEADER, f"0 8 ../../09.jpg {A} {B}"], "column orig_file"),
    "short checksum": ([HEADER, f"0 8 000009.jpg {A[1:]} {B}"], "line 2, column proc_md5: .* is not 32 hexadecimal"),
    "long checksum": ([HEADER, f"0 8 000009.jpg {A} {B}0"], "line 2, column final_md5"),
    "letters": ([HEADER, f"0 8 000009.jpg {A} {B[1:]}g"], "line 2, column final_md5"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_are_named_by_line_and_column(kind, tmp_path):
    lines, message = FAULTS[kind]
    with pytest.raises(InputError, match=message) as error:
        read(written(tmp_path, lines))
    assert str(error.value).startswith(str(tmp_path / "image_list.txt"))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"image_list.txt cannot be read: No such file"):
        read(tmp_path / "image_list.txt")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read(tmp_path)
