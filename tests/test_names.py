"""Class names: COCO's ids, both spellings, and the classes that a user chooses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from yolo.data.formats.yaml_names import names_in
from yolo.names import ALIASES, COCO, COCO_IDS, agreed, category_ids, chosen, did_you_mean, read_names

OLD = {new: old for old, new in ALIASES.items()}


def test_coco_has_80_names_and_ids() -> None:
    """1 to 90 with ten gaps, and a few well-known pairs."""
    assert len(COCO) == len(COCO_IDS) == len(set(COCO)) == 80
    assert set(range(1, 91)) - set(COCO_IDS) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    ids = dict(zip(COCO, COCO_IDS, strict=True))
    assert [ids[name] for name in ("person", "stop sign", "dog", "backpack", "tv", "toothbrush")] == [
        1, 13, 18, 27, 72, 90,
    ]  # fmt: skip


def test_category_ids_are_cocos_in_both_spellings() -> None:
    """darknet's six old names are COCO's, in any order."""
    assert category_ids(COCO) == list(COCO_IDS)
    assert len(OLD) == 6
    assert category_ids([OLD.get(name, name) for name in COCO]) == list(COCO_IDS)
    assert category_ids(COCO[::-1]) == list(COCO_IDS[::-1])


@pytest.mark.parametrize(
    "names",
    [
        ["person", "hat"],
        ["person", "person"],
        ["tv", "tvmonitor"],
        ["class 0"],
        [],
        ["cat", "dog"],
        ["tvmonitor", "person"],
        list(COCO[:79]),
        [*COCO[:79], "hat"],
        [*COCO, "hat"],
        [*COCO[:79], COCO[0]],
    ],
)
def test_other_names_are_numbered(names: list[str]) -> None:
    """Unless they are all of COCO's and nothing else: a few of COCO's names may be a data set's own classes."""
    assert category_ids(names) == list(range(1, len(names) + 1))


def test_chosen_takes_both_spellings() -> None:
    """Each of the six names, whichever the model has. Blanks around commas are ignored."""
    old = [OLD.get(name, name) for name in COCO]
    for names in (COCO, old):
        for one, other in ALIASES.items():
            assert chosen(f"{one}, {other}", names) == [COCO.index(other)] * 2
    assert chosen(" dog,person", COCO) == [16, 0]


def test_chosen_prefers_the_same_spelling() -> None:
    """A model may have both spellings as different classes, or one name twice."""
    assert chosen("sofa", ["couch", "sofa"]) == [1]
    assert chosen("couch", ["couch", "sofa"]) == [0]
    assert chosen("a", ["a", "b", "a"]) == [0, 2]


def test_an_unknown_name_is_an_error_that_helps() -> None:
    """The message has a similar name, or all names."""
    with pytest.raises(ValueError, match="no class is called 'persn'; did you mean person"):
        chosen("dog,persn", COCO)
    with pytest.raises(ValueError, match="no class is called 'qqq'; they are cat, dog"):
        chosen("qqq", ["cat", "dog"])
    with pytest.raises(ValueError, match="no class is called ''"):
        chosen("cat,", ["cat", "dog"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_names_files_from_other_systems(tmp_path: Path, encoding: str) -> None:
    """Byte order marks, Windows line ends, letters of other alphabets, separators of Unicode inside a name."""
    file = tmp_path / "a.names"
    file.write_bytes("Katze\r\nсобака\rleft\u2028right\x85\n\r\n".encode(encoding))
    assert read_names(file) == ["Katze", "собака", "left\u2028right"]


@pytest.mark.parametrize(
    "name", ["Schlüssel", "Mutter", "ÖLFILTER", "Größe", "créée", "niño", "écrou", "driver’s", "Bœuf"]
)
def test_western_names_are_read(tmp_path: Path, name: str) -> None:
    """Latin-1 and Windows-1252 are recognised by single letters with accents."""
    file = tmp_path / "a.names"
    file.write_bytes(f"bolt\n{name}\n".encode("cp1252"))
    assert read_names(file) == ["bolt", name]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("螺栓", "gb2312"), ("狗", "gbk"), ("ボルト", "shift_jis"), ("地", "shift_jis"), ("болт", "cp1251"),
     ("болт", "koi8-r"), ("볼트", "euc-kr"), ("螺絲", "big5"), ("βίδα", "cp1253")],
)  # fmt: skip
def test_other_alphabets_are_not_guessed(tmp_path: Path, text: str, encoding: str) -> None:
    """A wrong guess would be a wrong name: the error has the file and a remedy."""
    file = tmp_path / "a.names"
    file.write_bytes(f"bolt\n{text}\n".encode(encoding))
    with pytest.raises(ValueError, match=r"a.names: not a text file \(byte 5\), .* not in utf-8; .* save it as UTF-8"):
        read_names(file)


def test_names_that_are_numbered_only_count() -> None:
    """`class 0`, `class 1` stand for any names, but not for another number of them."""
    assert agreed(["class 0", "class 1"], ["bolt", "nut"], "set") == ["bolt", "nut"]
    assert agreed(["class 0", "class 1"], None, "set") == ["class 0", "class 1"]
    for own, given in ((["class 0", "class 1"], ["bolt"]), (["class 0"], ["bolt", "nut"]), (["class 1"], ["bolt"])):
        with pytest.raises(ValueError, match="set: the class names that were given are others"):
            agreed(own, given, "set")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [yes, No, on, off, null, ~, 1, 1.0, 0x1F, 1e3, 2024-01-01, a b]",
         ["yes", "No", "on", "off", "null", "~", "1", "1.0", "0x1F", "1e3", "2024-01-01", "a b"]),
        ("names:\n- 'bolt'\n- \"nut\"\nnc: '2'", ["bolt", "nut"]),
        ("names: {0: bolt, 1: no}\nnc: 2.0", ["bolt", "no"]),
        ("names:\n  '1': nut\n  '0': bolt\nnc: 2", ["bolt", "nut"]),
        ("names: {10: k, 9: j, 8: i, 7: h, 6: g, 5: f, 4: e, 3: d, 2: c, 1: b, 0: a}", list("abcdefghijk")),
        ("names: classes.txt", ["from", "a file"]),
        ("names:\nnc: 2", ["class 0", "class 1"]),
        ('nc: "3"', ["class 0", "class 1", "class 2"]),
        ("train: images", None),
        ("- a list", None),
    ],
)  # fmt: skip
def test_names_of_a_yaml(tmp_path: Path, text: str, names: list[str] | None, caplog: pytest.LogCaptureFixture) -> None:
    """Words stay as they are written; tables may have any order; `nc` alone gives numbered classes, which is logged."""
    (tmp_path / "classes.txt").write_text("from\na file\n")
    file = tmp_path / "data.yaml"
    assert names_in(file, text) == names_in(file, text) == names
    numbered = bool(names and names[0] == "class 0")
    assert caplog.text.count("there are no names: the classes are called class 0") == numbered
    if numbered:  # names beside the file come first
        other = ["x"] * len(names or [])
        assert names_in(file, text, lambda: other) == other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nnc: 3\nnames: [bolt, nut]", "data.yaml:2: nc is 3, but there are 2 names"),
        ("nc: many", "data.yaml:1: nc is 'many'; expected the number of classes"),
        ("nc: 0", "data.yaml:1: nc is '0'; expected"),
        ("nc: 1.5\nnames: [a]", "data.yaml:1: nc is '1.5'; expected"),
        ("nc: [2]", "data.yaml:1: nc: expected a word, got a list"),
        ("x:\nnames: {1: bolt, 2: nut}", "data.yaml:2: names: their numbers are 1, 2; expected 0, 1, 2, ..."),
        ("names: {0: bolt, 0: nut}", "data.yaml:1: names: their numbers are 0, 0; expected"),
        ("names: bolt", "data.yaml:1: names: got 'bolt'; expected a list of class names, a table from 0 on or a file"),
        ("names: []", "data.yaml:1: names: got nothing; expected a list"),
        ("names:\n- bolt\n-\n- nut", "data.yaml:3: names: an empty name"),
        ("names:\n- bolt\n- [nut]", "data.yaml:3: names: expected a word, got a list"),
        ("names: [bolt", "data.yaml:1: this is not YAML"),
    ],
)
def test_bad_names_of_a_yaml(tmp_path: Path, text: str, message: str) -> None:
    """The message has the file and the line."""
    with pytest.raises(ValueError, match=re.escape(message)):
        names_in(tmp_path / "data.yaml", text)


@pytest.mark.parametrize(
    ("word", "n", "hint"),
    [
        ("dgo", 1, "did you mean dog?"),
        ("dog", 3, "did you mean dog or dogs?"),
        ("zebra", 3, ""),
        ("", 1, ""),
        ("d" * 1_000_000, 1, ""),
    ],
)
def test_did_you_mean(word: str, n: int, hint: str) -> None:
    """The most similar words first, at most `n`; nothing without a similar one. A long word costs no time."""
    assert did_you_mean(word, iter(["cat", "dogs", "dog"]), n) == hint
