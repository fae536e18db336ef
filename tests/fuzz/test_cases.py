"""Text files that once took hours or gigabytes, ended in a traceback, or were read as something else."""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.test_data import COCO
from tests.support.small_sets import NAMES, WRITERS, DrawnImage, write_coco, write_voc, write_yolo
from yolo import names as class_names
from yolo.ablation.grid import read_grid
from yolo.ablation.study import read_status, study_of
from yolo.commands.evaluate import _as_pycocotools_reads
from yolo.commands.result_folder import ResultFolder
from yolo.data import decoded
from yolo.data.datasets import open_data
from yolo.data.formats.coco_json import groups, read_annotations
from yolo.data.formats.described import from_file
from yolo.data.formats.voc_xml import parse, text_of
from yolo.files.reading import LONGEST, first_line, read_bytes, reading
from yolo.names import matched, read_names
from yolo.options.train import Train
from yolo.options.yaml_file import read_yaml
from yolo.options.yaml_nodes import VALUES, plain_values
from yolo.process.failures import sentence
from yolo.training.run_folder import read_metrics

BOMB = "\n".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9) if k else 'x'}]" for k in range(12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, f"6: more than {VALUES:,} values"),
        ("a: &a {x: 1}\nb: &b {<<: *a, c: [*b]}", "2: a value that holds itself"),
        ("a: &a [*a]", "1: a value that holds itself"),
        ("x\n: y\n" + "- a\n" * 3, "2: this is not YAML"),
        ("a: " + "1" * 401, "1: a number of 401 digits"),
        ("a: 1" + ":1" * 300, "1: a number of 601 digits"),  # of base 60
        ("a: '\\UFFFFFFFF'\nb: \"\\UFFFFFFFF\"", " this is not YAML text"),
        ('a: "\\ud800"', "1: '\\ud800' has half of a letter"),
        ("a: !!timestamp x", " this is not YAML text"),
        ("a: !!int ''", " this is not YAML text"),
        ("[" * 5000, "1: more than 20 values within each other"),
        (f"[{'[' * 70}1{']' * 70}]", "1: more than 20 values within each other"),
    ],
)
def test_yaml(text: str, message: str, tmp_path: Path) -> None:
    """Aliases of aliases, recursion, odd numbers and letters: an error with file and line, in every YAML file."""
    file = tmp_path / "data.yaml"
    file.write_text(text)
    for read in (plain_values, from_file, lambda file: read_grid(file, tmp_path, 2, ())):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
            read(file)
        assert str(caught.value).startswith(f"{file}:{message}")


def test_yaml_that_is_fine(tmp_path: Path) -> None:
    """Aliases count with all that they hold, and a list of ImageNet's 21,841 classes is read."""
    file = tmp_path / "data.yaml"
    file.write_text('a: &a {x: [1, 2]}\nb: {<<: *a, y: 3}\nc: [*a, *a]\nd: "\\udc80"')
    a = {"x": [1, 2]}
    assert plain_values(file) == {"a": a, "b": {**a, "y": 3}, "c": [a, a], "d": "\udc80"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1e999", "epochs: got 1e999, expected a whole number"),
        ("schedule: {peak_lr: 1e999}", "peak_lr: got 1e999, expected"),
        ('cfg: "a\\0b"', "cfg: got 'a\\x00b', expected a path"),
    ],
)
def test_options(text: str, message: str, tmp_path: Path) -> None:
    """Numbers that are infinite, and paths that no file can have."""
    (tmp_path / "options.yaml").write_text(text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
        read_yaml(tmp_path / "options.yaml", Train())
    assert str(caught.value).startswith(f"{tmp_path / 'options.yaml'}:1: {message}")


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ('<!DOCTYPE annotation [<!ENTITY a "x">]>', 1),
        ('<!DOCTYPE annotation [\n<!ENTITY a SYSTEM "/etc/hostname">]>', 2),
        ('<!DOCTYPE annotation [<!ENTITY % a SYSTEM "x.dtd"> %a;]>', 1),
        ('<!DOCTYPE annotation SYSTEM "x.dtd">\n', 2),  # where &a; may be declared
    ],
)
def test_xml_entities(head: str, line: int, tmp_path: Path) -> None:
    """A file with entities of its own is refused before any is expanded; none is skipped silently."""
    file = tmp_path / "a.xml"
    file.write_text(f"{head}<annotation><filename>&a;.jpg</filename></annotation>")
    with pytest.raises(ValueError, match=f"^{file}:{line}: the entity a: expected its text"):
        parse(file)


def test_xml_that_is_fine(tmp_path: Path) -> None:
    """A plain DOCTYPE passes, and so do predefined entities; text in many pieces is gathered in one go."""
    file, pieces = tmp_path / "a.xml", 200_000
    file.write_text(f"<!DOCTYPE annotation><annotation><filename>{'&amp;<!---->' * pieces}</filename></annotation>")
    assert text_of(parse(file), "filename") == "&" * pieces


@pytest.mark.parametrize(
    "encoding", ["hex", "rot13", "idna", "undefined", "unicode_escape", "punycode", "utf-7", "x-own"]
)
def test_xml_encodings(encoding: str, tmp_path: Path) -> None:
    """Codecs that are not encodings of text are not tried: UTF-8 or an error with the file."""
    file = tmp_path / "a.xml"
    text = f'<?xml version="1.0" encoding="{encoding}"?><annotation><filename>\\u0041 +AEE-%s</filename></annotation>'
    file.write_bytes((text % "ä").encode())
    assert text_of(parse(file), "filename") == "\\u0041 +AEE-ä"
    file.write_bytes((text % "\\xff").encode() + b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=f"^{file}: not a text file"):
        parse(file)


@pytest.mark.parametrize(
    ("value", "crowd"), [(0, False), (1, True), ("0", False), ("1", True), (None, False), (0.0, False), (True, True),
                         ("true", None), ("false", None), ("", None), (0.5, None), (2, None),
                         ([], None), ({}, None), ("00", None)]
)  # fmt: skip
def test_crowds(value: Any, crowd: bool | None, tmp_path: Path) -> None:
    """`iscrowd` is 0 or 1, as a number or as text; all else is a fault, also in csv files. pycocotools gets numbers."""
    content = json.loads(json.dumps(COCO))
    content["annotations"][0]["iscrowd"] = value
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    found = read_annotations(file, skip_faults=True)
    assert [fault.text.partition(": ")[2] for fault in found.faults] == (
        [f"annotations[0] (id 1): iscrowd {value!r}: expected 0 or 1"] if crowd is None else []
    )
    if crowd is not None:
        assert found.crowd.tolist() == [crowd, False, True]
        assert [entry["iscrowd"] for entry in _as_pycocotools_reads(file)["annotations"]] == [int(crowd), 0, 1]


@pytest.mark.parametrize("value", ["0.0", "false", "no", "2"])
def test_crowds_in_csv(value: str, tmp_path: Path) -> None:
    """A word in the column `crowd` is not taken for a crowd."""
    write_yolo(tmp_path)
    file = tmp_path / "boxes.csv"
    file.write_text(f"file,class,x1,y1,x2,y2,crowd\nimages/train/img_0.jpg,cat,4,6,30,40,{value}\n")
    with pytest.raises(ValueError, match=f"{file}:2: cat,4,6,30,40,{value}: expected .* crowd 0 or 1"):
        open_data(file)


def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Return what replaces a text in a file, which has it."""

    def replace(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return replace


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e39", "9" * 320])
@pytest.mark.parametrize(
    ("format", "file", "old", "new"),
    [
        ("yolo", "labels/train/img_0.txt", "0.265625", "0.265625"),
        ("coco", "annotations/instances_train.json", "[4, 6, 26", "[4, NUMBER, 26"),
        ("coco", "annotations/instances_train.json", "[4, 6, 26", "[4, 6, NUMBER"),
        ("coco", "annotations/instances_train.json", '"area": 884', '"area": NUMBER'),
        ("voc", "Annotations/img_0.xml", "<xmax>30", "<xmax>NUMBER"),
    ],
)
def test_huge_numbers(format: str, file: str, old: str, new: str, number: str, tmp_path: Path) -> None:
    """A number whose box or area is not finite, in float32 either, is a fault with file and line, never a NaN box."""
    root = WRITERS[format](tmp_path / "set")
    if format == "yolo":
        for line in (f"0 0.5 0.5 {number} 0", f"0 {number} 0.5 0.1 0.1", f"0 0.5 {number} 0 {number}"):
            (root / file).write_text(f"{line}\n")
            with pytest.raises(ValueError, match=f"^{root / file}:1: "):
                open_data(root)
        return
    replaced(file, old, new.replace("NUMBER", number))(root)
    with pytest.raises(ValueError, match=rf"^{root / file}: annotations\[1\]|^{root / file}:\d+: "):
        open_data(root)
    assert len(open_data(root, bad="skip").index.labels) == 0


def test_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names in a file of another kind are refused by their number; those of two lists are matched in one go."""
    file = tmp_path / "coco.names"
    file.write_text("a\n" * 200_000)
    with pytest.raises(ValueError, match="coco.names: 200,000 lines, expected at most 100,000 class names"):
        read_names(file)
    own = [f"n{k}" for k in range(50_000)]
    monkeypatch.setattr(class_names, "class_index", None)
    assert matched(own, own[::-1], "x")[1] == list(range(50_000))[::-1]
    assert matched(["tv", "sofa"], ["couch", "x", "tv", "tvmonitor", "couch"], "x")[1] == [2, 0]


def test_groups() -> None:
    """A category that only groups others: Roboflow's, also with a class of its name."""
    root = {"id": 0, "name": "x", "supercategory": "none"}
    a, b = {"id": 1, "name": "x", "supercategory": "x"}, {"id": 2, "name": "b"}
    assert groups([root, a]) == [root]
    assert groups([root, a, b]) == [root]
    assert groups([{**root, "id": 5}, {"id": 1, "name": "c", "supercategory": "x"}]) == []
    assert groups([root, {"id": 1, "name": "c", "supercategory": "x"}, b]) == []
    assert groups([root, {"id": 1, "name": "c", "supercategory": "x"}]) == [root]
    assert groups([root, {"id": 1, "name": ["x"], "supercategory": {}}]) == []


def test_half_letters_and_zero_bytes(tmp_path: Path) -> None:
    """Names that no file can have and that cannot be printed: faults of their image, errors of a class."""
    root = write_coco(tmp_path / "set")
    file = root / "annotations" / "instances_train.json"
    for name in ("\\ud800", "a\\u0000b", "x" * 5000, "a/" * 3000):
        replaced(str(file), "img_1.jpg", f"{name}.jpg")(root)
        data = open_data(root, bad="skip")
        assert len(data) == 1
        (fault,) = data.index.faults
        assert fault.encode()
        assert fault.startswith(f"{file}: no such image: ")
        write_coco(root)
    replaced(str(file), '"red ball"', '"red\\ud800"')(root)
    with pytest.raises(ValueError, match=r"the class 'red\\ud800': not text"):
        open_data(root)


def test_voc_without_any_object(tmp_path: Path) -> None:
    """It has no classes: an error, unless they are given."""
    write_voc(tmp_path, [DrawnImage((64, 48), [])] * 2)
    with pytest.raises(ValueError, match="no object in any file, so there are no class names; give --names"):
        open_data(tmp_path)
    assert len(open_data(tmp_path, names=list(NAMES))) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    """A named pipe without a writer is refused at once, wherever a file is expected."""
    pipes = [tmp_path / name for name in ("a.json", "data.yaml", "a.xml", "a.names", "b.txt")]
    for pipe in pipes:
        os.mkfifo(pipe)
    readers = [lambda: read_annotations(pipes[0]), lambda: plain_values(pipes[1]), lambda: parse(pipes[2]),
               lambda: read_names(pipes[3]), lambda: open_data(tmp_path)]  # fmt: skip
    problems: list[str] = []

    def read() -> None:
        for reader in readers:
            try:
                reader()
            except (ValueError, OSError) as problem:
                problems.append(str(problem))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(60)
    assert len(problems) == len(readers), "waits for a writer"
    assert all("is a pipe or a device" in problem for problem in problems[:4])
    assert first_line(pipes[4]) == b""


@pytest.mark.parametrize(
    ("key", "value"),
    [("seeds", True), ("seeds", float("nan")), ("seeds", 10**9), ("words", "--epochs 3"), ("metrics", "AP"),
     ("variants", {1: {}}), ("figures", {"a": "mse"}), ("goal", {"AP": "0.5"}), ("preset", 3),
     ("question", {"boxes": 3}), ("pilot", {"option": 3, "values": [1, 2]})],
)  # fmt: skip
def test_studies(key: str, value: Any, tmp_path: Path) -> None:
    """A value of another type is an error that names the key; a text is not taken for a list of its letters."""
    values = {"seeds": 2, "variants": {"a": {}, "b": {}}, "figures": {"boxes": ["a", "b"]}, key: value}
    with pytest.raises(ValueError, match=f"^{tmp_path / 'study.yaml'}: {key}: expected|pilot: expected"):
        study_of(values, tmp_path, tmp_path / "study.yaml")


def test_a_grid_of_millions(tmp_path: Path) -> None:
    """The combinations are counted before they are made."""
    (tmp_path / "grid.yaml").write_text("grid:\n" + "".join(f"  a{k}: [1, 2, 3, 4]\n" for k in range(20)))
    with pytest.raises(ValueError, match="grid.yaml: grid: 1,099,511,627,776 combinations, expected at most 1,000"):
        read_grid(tmp_path / "grid.yaml", tmp_path, 2, ())


ROWS = ['{"epoch": 1000000000}', '{"epoch": -1}', '{"epoch": true}', '{"epoch": 0, "AP": 1e999}',
        f'{{"epoch": 0, "AP": {"9" * 400}}}', "[" * 100_000]  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_metrics(row: str, tmp_path: Path) -> None:
    """A damaged line of a run has its file and number, and does not become memory for a billion epochs."""
    (tmp_path / "metrics.jsonl").write_text(f'{{"epoch": 0, "step": 1}}\n{row}\n')
    with pytest.raises(ValueError, match=f"^{tmp_path / 'metrics.jsonl'}:2: "):
        read_metrics(tmp_path)


def test_an_exit_status_that_is_none(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "exit_status").write_text("killed\n")
    with pytest.raises(ValueError, match=f"^{tmp_path / 'exit_status'}: cannot be read as an exit status"):
        read_status(tmp_path)


@pytest.mark.parametrize("name", ["../mine.txt", "{folder}/mine.txt", "a/../../mine.txt", ""])
def test_a_mark_names_files_of_its_folder_only(name: str, tmp_path: Path) -> None:
    """A mark that somebody else wrote removes nothing outside of the folder."""
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".detect").write_text(json.dumps([name.format(folder=tmp_path), 0]) + "\n")
    with pytest.raises(FileExistsError, match="not a list that detect wrote"), ResultFolder(folder):
        pass
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("entry", ["x", [1, [2, 3], 4], [1, 2, 3, 4, 5, ""], [1, [2, 3], 4, 5, "6", ""], None])
def test_a_damaged_memory_of_images_is_as_good_as_none(entry: Any, tmp_path: Path) -> None:
    """Also one with the right checksum."""
    content = json.dumps([decoded.VERSION, {"a.jpg": entry}]).encode()
    (tmp_path / "m.json").write_bytes(b"%d\n" % zlib.crc32(content) + content)
    assert decoded._remembered(tmp_path / "m.json") == {}


def test_messages_are_short(tmp_path: Path) -> None:
    """A message that shows a value of a megabyte is cut, and keeps its beginning and its end."""
    file = tmp_path / "a.json"
    content = json.loads(json.dumps(COCO))
    content["annotations"][0]["image_id"] = "x" * 10**6
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"^\S+a.json: annotations\[0\]") as caught:
        read_annotations(file)
    assert len(str(caught.value)) <= LONGEST
    with pytest.raises(ValueError, match="^a.txt: cannot be read as words"), reading("a.txt", "words"):
        raise KeyError("x" * 10**6)
    with pytest.raises(ValueError, match="not the name of a file"):
        read_bytes(b"a\0b".decode())


def test_a_file_for_which_there_is_no_memory_is_not_damaged() -> None:
    """So it is not skipped as a damaged one either."""
    with pytest.raises(MemoryError, match="while a.txt was read as words") as caught, reading("a.txt", "words"):
        raise MemoryError
    assert "out of memory (while a.txt was read as words); what takes less" in sentence(caught.value)


def test_a_link_to_itself(tmp_path: Path) -> None:
    """It is named, whatever pathlib raises."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises((RuntimeError, OSError)) as caught:
        (tmp_path / "loop").resolve(strict=True)
    assert str(tmp_path / "loop") in sentence(caught.value)
    assert "unforeseen" not in sentence(caught.value)
