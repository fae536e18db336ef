"""Xml files of Pascal VOC's format: encodings, and what tools write otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo.data.formats.voc_xml import box_of, filename_of, is_difficult, objects_of, parse, size_of, text_of

OBJECT = (
    "<object><name>{name}</name>{more}"
    "<bndbox><xmin>5</xmin><ymin>7</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>"
)
SIZE = "<size><width>64</width><height>48</height></size>"


def write(folder: Path, body: str, head: str = "", encoding: str = "utf-8") -> Path:
    """Write an xml file and return its path."""
    file = folder / "a.xml"
    file.write_bytes(f"{head}<annotation>\n{body}\n</annotation>\n".encode(encoding))
    return file


@pytest.mark.parametrize(
    ("declared", "encoding", "name"),
    [
        ("", "utf-8", "Schlüssel"),
        ("", "utf-8-sig", "螺栓"),
        ("", "utf-16", "螺栓"),
        ("", "latin-1", "Schlüssel"),
        ("utf-8", "utf-8", "螺栓"),
        ("utf8", "utf-8", "螺栓"),
        ("UTF-16", "utf-16", "螺栓"),
        ("UTF-8", "latin-1", "Schlüssel"),
        ("gb2312", "gb2312", "螺栓"),
        ("gb2312", "gbk", "螺栓鎔"),
        ("GBK", "gbk", "鎔"),
        ("gb18030", "gb18030", "螺栓"),
        ("Shift_JIS", "cp932", "ボルト①"),
        ("euc-kr", "euc-kr", "볼트"),
        ("big5", "big5", "螺栓"),
        ("ISO-8859-1", "cp1252", "Schlüssel’"),
        ("windows-1251", "cp1251", "болт"),
        ("gb2312", "utf-8", "螺栓"),  # saved as UTF-8 later
        ("x-own", "utf-8", "螺栓"),
    ],
)
def test_encodings(tmp_path: Path, declared: str, encoding: str, name: str) -> None:
    """UTF-8 where it fits, else what the file declares, also where the parser of xml does not know it."""
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    (found,) = objects_of(parse(write(tmp_path, OBJECT.format(name=name, more=""), head, encoding)))
    assert text_of(found, "name") == name
    assert found.line == (3 if head else 2)


@pytest.mark.parametrize(
    ("declared", "encoding", "tried"),
    [("", "gb2312", "utf-8"), ("UTF-8", "shift_jis", "utf-8"), ("x-own", "gb2312", "utf-8 or x-own"),
     ("ascii", "gb2312", "utf-8 or ascii")],
)  # fmt: skip
def test_an_unknown_encoding_names_the_file(tmp_path: Path, declared: str, encoding: str, tried: str) -> None:
    """No guess between encodings of other alphabets: the error says what was tried, and what to do."""
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    file = write(tmp_path, OBJECT.format(name="工具", more=""), head, encoding)
    with pytest.raises(
        ValueError, match=rf"a.xml: not a text file \(byte \d+\), at least not in {tried}; if it is one"
    ):
        parse(file)


def test_values_that_tools_write_otherwise(tmp_path: Path) -> None:
    """Fractions of pixels, polygons beside boxes, marks that are missing, tags in any case, an unknown size."""
    polygon = "<polygon><x1>5.5</x1><y1>7</y1><x2>9</x2><y2>12</y2></polygon>"
    marks = ("", "<difficult>0</difficult>", "<difficult>Unspecified</difficult>", "<difficult/>",
             "<difficult>1</difficult>", "<difficult>True</difficult>")  # fmt: skip
    body = "".join(OBJECT.format(name=k, more=mark + polygon) for k, mark in enumerate(marks))
    root = parse(write(tmp_path, SIZE + "<filename>b c.jpg</filename>" + body.replace(">5<", ">5.25<")))
    assert [box_of(found) for found in objects_of(root)] == [(4.25, 6, 30, 40)] * 6
    assert [is_difficult(found) for found in objects_of(root)] == [False] * 4 + [True] * 2
    assert (size_of(root), filename_of(root)) == ((64, 48), "b c.jpg")
    for size, expected in (
        (("64.0", "48"), (64, 48)),
        (("0", "0"), (0, 0)),
        (("", "48"), (0, 0)),
        (("-4", "4"), (0, 0)),
    ):
        text = SIZE.replace("64", size[0]).replace("48", size[1])
        assert size_of(parse(write(tmp_path, text))) == expected
    assert (size_of(parse(write(tmp_path, ""))), filename_of(parse(write(tmp_path, "")))) == ((0, 0), "")
    upper = parse(
        write(tmp_path, (SIZE + OBJECT.format(name="Nut", more="")).replace("object", "Object").replace("xm", "Xm"))
    )
    assert [(text_of(found, "name"), box_of(found)) for found in objects_of(upper)] == [("Nut", (4, 6, 30, 40))]


def test_parts_are_not_objects(tmp_path: Path) -> None:
    """VOC's layout marks heads and hands inside persons; their boxes are not the person's either."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    (found,) = objects_of(parse(write(tmp_path, OBJECT.format(name="person", more=part))))
    assert (text_of(found, "name"), box_of(found)) == ("person", (4, 6, 30, 40))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (">5<", ">x<", "2: xmin 'x': expected a number of pixels"),
        (">5<", ">31<", r"2: box \(31, 7\) to \(30, 40\): the size is negative"),
        ("<ymax>40</ymax>", "", "2: ymax '': expected a number of pixels"),
    ],
)
def test_bad_boxes(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The message begins with the line."""
    (found,) = objects_of(parse(write(tmp_path, OBJECT.format(name="a", more="").replace(old, new))))
    with pytest.raises(ValueError, match=f"^{message}"):
        box_of(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.xml:1: not xml: no element found"),
        ("<annotation>\n<a>nuts & bolts</a></annotation>", "a.xml:2: not xml: "),
        (
            "<annotations>\n<image id='0'><box/></image></annotations>",
            "a.xml:1: <annotations>: expected an <annotation>",
        ),
    ],
)
def test_other_files(tmp_path: Path, text: str, message: str) -> None:
    """What is not xml, and xml of another format, which would be images without objects."""
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        parse(tmp_path / "a.xml")
