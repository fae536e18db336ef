"""Names as files, folders and cells of a table."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo.files.harmless import LONGEST, Distinct, csv_lines, cut, folder_name, seen_alike, uncell


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("dog", "dog"), ("traffic light", "traffic light"), ("..", "_"), (".", "_"), ("", "_"), (" ", "_"),
        ("a/b", "a_b"), ("../../etc", "_.._etc"), ("a\\b", "a_b"), ("C:", "C_"), ("a\nb\0", "a_b_"),
        (".hidden.", "hidden"), ("Straße", "Straße"), ("犬" * 100, "犬" * 60), ('<>"|?*', "______"), ("\udcff", "_"),
        ("CON", "_CON"), ("nul.txt", "_nul.txt"), ("com1", "_com1"), ("LPT9 .x", "_LPT9 .x"), ("console", "console"),
        ("con.", "_con"), ("e\u0301", "\u00e9"), ("dog. .", "dog"), ("\x1b[31mred", "_[31mred"),
    ],
)  # fmt: skip
def test_folders_are_safe(name: str, folder: str) -> None:
    """One folder on every disk, whatever the name."""
    assert folder_name(name) == folder


@given(st.text(st.characters(), max_size=300))
def test_every_folder_can_be_made(name: str) -> None:
    """It is one part of a path, not too long for a number and an ending."""
    folder = folder_name(name)
    assert Path("x", folder).parts == ("x", folder)
    assert folder not in ("", ".", "..")
    assert folder.isprintable()
    assert len(folder.encode()) < LONGEST - 10
    assert folder == folder.strip(" .")


def test_no_two_names_are_one_file() -> None:
    """By case, by composed letters, and where a number makes the name of another one."""
    names = ["a", "A", "a-2", "a", "\u00e9", "e\u0301", "Straße", "STRASSE", "ﬁ", "fi"]
    distinct = Distinct()
    taken = [distinct.take(name) for name in names]
    assert taken[:4] == ["a", "A-2", "a-2-2", "a-3"]
    assert len({seen_alike(name) for name in taken}) == len(names)


@pytest.mark.parametrize("name", ["a" * 300, "é" * 200, "犬" * 100, os.fsdecode(b"\xff" * 300)])
def test_long_names_are_cut(name: str) -> None:
    """At a whole letter, and short ones stay."""
    assert LONGEST - 44 < len(os.fsencode(cut(name))) <= LONGEST - 40
    assert name.startswith(cut(name))
    assert cut("a" * 215) == "a" * 215


@pytest.mark.parametrize(
    "name",
    [
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "'=1",
        "''=1",
        "'",
        "'dog",
        "dog",
        "a=b",
        "",
        "\n=1",
    ],
)
def test_cells_are_no_formulas(name: str) -> None:
    """No cell begins like one, and every name comes back."""
    text = csv_lines([(name, -1.5)])
    ((found, number),) = csv.reader(io.StringIO(text, newline=""))
    assert found[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert (uncell(found), number) == (name, "-1.5")
    assert (found == name) == (name in ("'", "'dog", "dog", "a=b", "", "\n=1", 'a,"b"\r\n;'))
