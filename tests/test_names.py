"""Class names: COCO's ids, both spellings, and the classes that a user chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo.names import ALIASES, COCO, COCO_IDS, category_ids, chosen, did_you_mean, read_names

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
    """darknet's six old names are COCO's, and so is a part of COCO in any order."""
    assert category_ids(COCO) == list(COCO_IDS)
    assert len(OLD) == 6
    assert category_ids([OLD.get(name, name) for name in COCO]) == list(COCO_IDS)
    assert category_ids(["tvmonitor", "person"]) == [72, 1]


@pytest.mark.parametrize("names", [["person", "hat"], ["person", "person"], ["tv", "tvmonitor"], ["class 0"], []])
def test_other_names_are_numbered(names: list[str]) -> None:
    """With a name that is not COCO's, or with one name twice, all ids are index + 1."""
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


def test_names_files_from_other_systems(tmp_path: Path) -> None:
    """A byte order mark, Windows line ends, letters of other alphabets."""
    (tmp_path / "a.names").write_bytes("\ufeffKatze\r\nсобака\r\n\r\n".encode())
    assert read_names(tmp_path / "a.names") == ["Katze", "собака"]


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
