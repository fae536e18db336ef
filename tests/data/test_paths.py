"""Paths of another machine: found by the longest end that exists, said once, never a guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo.data.paths import Tails, components, files_below, locate, place


def touch(root: Path, *names: str) -> Path:
    """Write empty files below a folder; return the folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def located(
    root: Path, *written: str, folders: tuple[str, ...] = ("images/train", "."), split: str = "train"
) -> list[str]:
    """Return the files that paths mean, relative to the root."""
    found, _ = locate(written, [root / folder for folder in folders], root, root / "set.json", split)
    return [str(Path(file).relative_to(root)) for file in found]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("C:\\data\\train\\a b.jpg", ["data", "train", "a b.jpg"]),
        ("\\\\server\\share\\a.jpg", ["server", "share", "a.jpg"]),
        ("../../x/./a.jpg", ["x", "a.jpg"]),
        ("https://host/files/a%20b.jpg?v=3", ["files", "a b.jpg"]),
        ("/data/local-files/?d=x/a.jpg", ["data", "local-files", "?d=x", "a.jpg"]),
    ],
)
def test_components(path: str, names: list[str]) -> None:
    """Drives, servers, dots and the query of an address are no folders."""
    assert components(path) == names


def test_files_below(tmp_path: Path) -> None:
    """Files of a folder come before those of its subfolders; hidden files and those of macOS are left out."""
    touch(
        tmp_path,
        "b.jpg",
        "a.JPG",
        "c/a.jpg",
        "a/z.jpg",
        "._b.jpg",
        ".DS_Store",
        "__MACOSX/b.jpg",
        ".git/a.jpg",
        "t.txt",
    )
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert list(files_below(tmp_path, (".jpg",))) == ["a.JPG", "b.jpg", "a/z.jpg", "c/a.jpg"]
    assert list(files_below(tmp_path / "nothing")) == []


def test_links_of_folders(tmp_path: Path) -> None:
    """Those that lead back end, two to each other too; one to a folder whose name begins alike is followed."""
    touch(tmp_path, "set/a.jpg", "other/b.jpg", "set2/c.jpg")
    (tmp_path / "set" / "loop").symlink_to("loop")
    (tmp_path / "set" / "other").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "set").symlink_to(tmp_path / "set")
    assert list(files_below(tmp_path / "set")) == ["a.jpg", "other/b.jpg"]
    (tmp_path / "other" / "set").unlink()
    (tmp_path / "set2" / "set").symlink_to(tmp_path / "set")
    assert list(files_below(tmp_path / "set2")) == ["c.jpg", "set/a.jpg", "set/other/b.jpg"]


def test_paths_as_written_come_first(tmp_path: Path) -> None:
    """One folder counts for all paths, and files elsewhere with the same name do not matter."""
    touch(tmp_path, "images/train/a.jpg", "images/train/s/b.jpg", "old/a.jpg", "a.jpg")
    assert located(tmp_path, "a.jpg", "s/b.jpg") == ["images/train/a.jpg", "images/train/s/b.jpg"]
    assert locate(["a.jpg"], [tmp_path], tmp_path, tmp_path, "train")[1] == []


def test_the_longest_end_wins_and_is_said_once(tmp_path: Path) -> None:
    """More of the path decides between two files; case and the form of accents do not."""
    touch(tmp_path, "pictures/cam 1/a.jpg", "pictures/cam 2/a.jpg", "pictures/cam 2/Cafe\u0301.JPG")
    written = ["D:\\x\\cam 2\\a.jpg", "D:\\x\\cam 1\\a.jpg", "D:\\x\\caf\u00e9.jpg"]
    found, notes = locate(written, [tmp_path], tmp_path, tmp_path / "set.json", "all")
    assert [Path(file).parent.name for file in found] == ["cam 2", "cam 1", "cam 2"]
    assert len(notes) == 1
    assert "set.json: 3 of 3 paths are not as written, such as D:\\x\\cam 2\\a.jpg; found by their ends" in notes[0]


def test_two_files_are_never_guessed_between(tmp_path: Path) -> None:
    """The message names both."""
    touch(tmp_path, "one/a.jpg", "two/a.jpg")
    with pytest.raises(ValueError, match=r"set\.json: /x/a\.jpg may be .*one/a\.jpg or .*two/a\.jpg"):
        located(tmp_path, "/x/a.jpg")


def test_images_of_another_split_are_not_taken(tmp_path: Path) -> None:
    """An image that is missing in train is missing, although val has one of that name."""
    touch(tmp_path, "images/val/a.jpg", "images/train/b.jpg", "photos/valid/c.jpg", "photos/c.jpg")
    assert located(tmp_path, "b.jpg", "a.jpg") == ["images/train/b.jpg", "images/train/a.jpg"]
    assert located(tmp_path, "/srv/c.jpg") == ["photos/c.jpg"]
    with pytest.raises(ValueError, match=r"its images are not found: /srv/a\.jpg; looked in .*images/train"):
        located(tmp_path, "/srv/a.jpg")


def test_tails_of_one_spelling_come_first() -> None:
    """Of two files that differ in case, the one as written."""
    assert Tails(["x/a.jpg", "y/A.JPG"]).find("z/A.JPG") == ["y/A.JPG"]
    assert Tails(["x/a.jpg", "y/a.jpg"]).find("z/A.JPG") == ["x/a.jpg", "y/a.jpg"]
    assert Tails(["x/a.jpg"]).find("") == Tails([]).find("a") == []


def test_places_of_a_description(tmp_path: Path) -> None:
    """An end must keep the word for the split: test/images is not the folder images."""
    touch(tmp_path, "images/a.jpg", "train/images/a.jpg", "sub/images/val/b.jpg")
    assert place("../train/images", [tmp_path]) == (tmp_path / "train" / "images", False)
    assert place("/content/set/train/images", [tmp_path]) == (tmp_path / "train" / "images", False)
    assert place("E:\\train\\images\\val", [tmp_path, tmp_path / "sub"]) == (tmp_path / "sub" / "images" / "val", False)
    assert place("../test/images", [tmp_path]) == (tmp_path / "../test/images", True)
    assert place("images", [tmp_path]) == (tmp_path / "images", True)


def test_a_path_of_thousands_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each end of a path is looked for on its own, so only so many are."""
    looks = []
    monkeypatch.setattr("os.path.exists", lambda path: looks.append(path))
    place("images" + "\\train" * 20_000, [tmp_path])
    assert len(looks) <= 100


def test_many_paths_take_no_look_at_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is listed once, whatever the number of its images."""
    touch(tmp_path, *(f"{k}.jpg" for k in range(200)))
    looked: list[str] = []

    def isfile(path: Path) -> bool:
        looked.append(str(path))
        return path.exists()

    monkeypatch.setattr("os.path.isfile", isfile)
    found, _ = locate([f"{k}.jpg" for k in range(200)], [tmp_path], tmp_path, tmp_path, "train")
    assert len(found) == 200
    assert len(looked) == 1
