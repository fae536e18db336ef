"""YAML files of differing options: the field decides what a word means; errors have a file and a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from yolo.options import yaml_nodes
from yolo.options.yaml_file import read_values, read_yaml, write_yaml


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Nested options."""

    label: Literal["1", "iou"] = "iou"
    weight: float | Literal["auto"] = "auto"
    depth: int = 3

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth={self.depth}: expected at least 0")


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Every kind of field that options have."""

    name: str = "a"
    size: str | None = None
    folder: Path = Path("here")
    file: Path | None = None
    rate: float = 0.5
    limit: int | None = None
    flag: bool = False
    off: Literal["none", "off", "null", "ram"] = "ram"
    steps: tuple[int, ...] = (1, 2)
    words: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)


def read(text: str | bytes, base: Outer, folder: Path) -> Outer:
    """Return `base` with the options of a file with this text."""
    (folder / "a.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_yaml(folder / "a.yaml", base)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate: 1e-4", {"rate": 1e-4}),  # text, says YAML 1.1
        ("rate: 1", {"rate": 1.0}),
        ("rate: -.5E+2", {"rate": -50.0}),
        ("limit: 400_000", {"limit": 400_000}),
        ("limit: 7", {"limit": 7}),
        ("limit: null", {"limit": None}),
        ("limit:", {"limit": None}),
        ("limit: None", {"limit": None}),  # as the help writes it
        ("size: '416'", {"size": "416"}),
        ("size: 640x384", {"size": "640x384"}),
        ("size: ~", {"size": None}),
        ('size: "null"', {"size": "null"}),
        ("name: 1e-4", {"name": "1e-4"}),
        ("folder: a/b", {"folder": Path("a/b")}),
        ("flag: true", {"flag": True}),
        ("flag: No", {"flag": False}),
        ("off: off", {"off": "off"}),  # false, says YAML 1.1
        ("off: null", {"off": "null"}),
        ("off: 'none'", {"off": "none"}),
        ("steps: [1, 20]", {"steps": (1, 20)}),
        ("steps: []", {"steps": ()}),
        ("words:\n- a\n- '2'", {"words": ("a", "2")}),
        ("", {}),
        ("# nothing\n", {}),
        ("{}", {}),
        ("\ufeffrate: 2\r\nname: ю\r\n", {"rate": 2.0, "name": "ю"}),
    ],
)
def test_a_word_means_what_the_field_asks_for(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    """A word has the type of its field, and what the file leaves out is kept."""
    base: dict[str, Any] = {"limit": 99, "size": "8", "words": ("x",), "off": "ram"}
    found = read(text, Outer(**base), tmp_path)
    assert found == Outer(**{**base, **expected})
    assert {name: type(getattr(found, name)) for name in expected} == {n: type(v) for n, v in expected.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('label: "1"', Inner(label="1", depth=7)),
        ("label: 1", Inner(label="1", depth=7)),  # no other choice could be meant
        ("weight: auto", Inner(weight="auto", depth=7)),
        ("weight: 2", Inner(weight=2.0, depth=7)),
        ("weight: 1e1\n  depth: 0", Inner(weight=10.0, depth=0)),
    ],
)
def test_options_within_options(text: str, expected: Inner, tmp_path: Path) -> None:
    """Only the named options of a group change."""
    assert read(f"inner:\n  {text}\n", Outer(inner=Inner(depth=7)), tmp_path) == Outer(inner=expected)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("rate: 1\nraet: 2", 2, "unknown option 'raet'; did you mean rate?"),
        ("\ndepht: 2", 2, "unknown option 'depht'; did you mean depth, under `inner:`?"),
        ("depth: 2", 1, "unknown option 'depth'; it belongs under `inner:`"),
        ("inner:\n  depth: 1\n  rate: 1", 3, "unknown option 'rate'; it belongs to the outermost level"),
        ("xyzzy: 2", 1, "unknown option 'xyzzy'; the options are name, size, folder, file, rate, limit, flag, off, "),
        ("? [a]\n: 1", 1, "unknown option 'a list'"),
        ("rate: 1\nrate: 1", 2, "rate is given twice"),
        ("rate: fast", 1, "rate: got fast, expected a number"),
        ("rate: '1'", 1, "rate: got '1', expected a number"),
        ("rate: true", 1, "rate: got true, expected a number"),
        ("rate: null", 1, "rate: got null, expected a number"),
        ("rate:", 1, "rate: got nothing, expected a number"),
        ("rate: .inf", 1, "rate: got .inf, expected a number"),
        ("rate: [1]", 1, "rate: got a list, expected a number"),
        ("limit: 1.5", 1, "limit: got 1.5, expected a whole number or null"),
        ("limit: 010", 1, "limit: got 010, expected a whole number or null"),
        ("limit: 1__0", 1, "limit: got 1__0, expected a whole number or null"),
        (f"limit: {'9' * 5000}", 1, "limit: got 999"),
        ("size: 416", 1, "size: got 416, expected text; if it is, put it in quotes"),
        ("size: [quotes]", 1, "size: got a list, expected text or null"),
        ("off: quotes", 1, "off: got quotes, expected none or off or null or ram"),
        ("name: 1", 1, "name: got 1, expected text; if it is, put it in quotes"),
        ("name: yes", 1, "name: got yes, expected text; if it is, put it in quotes"),
        ("folder: 2024", 1, "folder: got 2024, expected a path; if it is, put it in quotes"),
        ("flag: 1", 1, "flag: got 1, expected true or false"),
        ("flag: 'true'", 1, "flag: got 'true', expected true or false"),
        ("off: disk", 1, "off: got disk, expected none or off or null or ram"),
        ("steps: 5", 1, "steps: got 5, expected a list of a whole number, as [a, b]"),
        ("steps:\n- 5\n- x", 2, "steps: got x, expected a whole number"),
        ("inner: 3", 1, "expected lines of `option: value`, got 3"),
        ("inner:\n  label: 2", 2, "label: got 2, expected 1 or iou"),
        ("inner:\n  weight: much", 2, "weight: got much, expected a number or auto"),
        ("rate: 1\ninner:\n  weight: 1\n  depth: -1", 3, "depth=-1: expected at least 0"),
        ("- rate", 1, "expected lines of `option: value`, got a list"),
        ("rate: 1\n  name: [", 2, "this is not YAML: mapping values are not allowed here"),
        ("rate: 1\n---\nrate: 2", 2, "this is not YAML: but found another document"),
        ("rate: *a", 1, "this is not YAML: found undefined alias"),
    ],
)
def test_errors_have_file_and_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    """The message has what was found, what was expected, and for a wrong key the one that was probably meant."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below)
        read(text, Outer(), tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'a.yaml'}:{line}: {message}")


@pytest.mark.parametrize(
    "text", [b"\xff\xfe\x00", b"a: \x00", b"[" * 100_000, b'a: "\\UFFFFFFFF"', b'a: "\\U00110000"']
)
def test_what_is_not_text_is_an_error(text: bytes, tmp_path: Path) -> None:
    """Bytes that are not text, control characters, endless brackets and letters beyond Unicode are errors."""
    with pytest.raises(ValueError, match=r"a\.yaml(:1)?: "):
        read(text, Outer(), tmp_path)


def test_values_without_a_file() -> None:
    """Values mean what they mean in a file; messages begin with the given name and have no line."""
    base = Outer(inner=Inner(depth=7))
    assert read_values({}, base, "variant a") == base
    values = {"rate": "1e-4", "words": ["1", "x"], "size": None, "inner": {"label": "1"}}
    assert read_values(values, base, "a") == Outer(rate=1e-4, words=("1", "x"), inner=Inner(label="1", depth=7))
    for wrong, message in (
        ({"raet": 1}, "unknown option 'raet'; did you mean rate?"),
        ({"inner": {"depth": "3"}}, "depth: got '3', expected a whole number"),
        ({"name": 1}, "name: got 1, expected text; if it is, put it in quotes"),
        ({"inner": {"depth": -1}}, "depth=-1: expected at least 0"),
        ({"inner": 3}, "expected lines of `option: value`, got 3"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below)
            read_values(wrong, base, "variant a")
        assert str(caught.value) == f"variant a: {message}"


words = st.text(max_size=12)
paths = words.filter(lambda word: "\0" not in word).map(Path)
KINDS: dict[str, SearchStrategy[Any]] = {
    "name": words
    | st.sampled_from(["null", "None", "1", "1e-4", "yes", "~", "", "- a", "a: b", "#", "'", "2024-01-01"]),
    "size": st.none() | words | st.sampled_from(["null", "None", "416"]),
    "folder": paths,
    "file": st.none() | paths,
    "rate": st.floats(allow_nan=False, allow_infinity=False),
    "limit": st.none() | st.integers(-(10**17), 10**17),
    "flag": st.booleans(),
    "off": st.sampled_from(["none", "off", "null", "ram"]),
    "steps": st.lists(st.integers(-1000, 1000), max_size=3).map(tuple),
    "words": st.lists(words, max_size=3).map(tuple),
}
inners = st.builds(
    Inner,
    label=st.sampled_from(["1", "iou"]),
    weight=st.just("auto") | st.floats(allow_nan=False, allow_infinity=False),
    depth=st.integers(0, 9),
)


@given(st.builds(Outer, inner=inners, **KINDS), st.builds(Outer, inner=inners, **KINDS))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, options: Outer, base: Outer) -> None:
    """Options are read as they were written, onto any base; written again they give the same file."""
    folder = tmp_path_factory.mktemp("yaml", numbered=True)
    write_yaml(folder / "new" / "a.yaml", options)
    found = read_yaml(folder / "new" / "a.yaml", base)
    assert found == options
    write_yaml(folder / "b.yaml", found)
    assert (folder / "b.yaml").read_bytes() == (folder / "new" / "a.yaml").read_bytes()


def test_the_file_reads_well(tmp_path: Path) -> None:
    """The file has the fields in their order, words in quotes, lists in a line."""
    write_yaml(tmp_path / "a.yaml", Outer(rate=1e-5, inner=Inner(label="1")))
    assert (tmp_path / "a.yaml").read_text() == (
        'name: "a"\nsize: null\nfolder: "here"\nfile: null\nrate: 1.0e-05\nlimit: null\nflag: false\n'
        "'off': \"ram\"\n"
        'steps: [1, 2]\nwords: []\ninner:\n  label: "1"\n  weight: "auto"\n  depth: 3\n'
    )


@settings(max_examples=300)
@given(
    st.binary(max_size=40)
    | st.lists(st.sampled_from(["rate", "inner", ": ", "\n", "  ", "[", "{", "1", "&a ", "*a", "<<", "!!x ", '"'])).map(
        lambda parts: "".join(parts).encode()
    )
)
def test_any_bytes_are_options_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any bytes give options or a ValueError that names the file."""
    folder, message = tmp_path_factory.getbasetemp(), ""
    try:
        assert isinstance(read(content, Outer(), folder), Outer)
    except ValueError as problem:
        message = str(problem)
    assert not message or message.startswith(f"{folder / 'a.yaml'}:")


def test_a_refused_file_is_composed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be long, and is asked for its model and other words before it is read. Another content is another file."""
    file, composed = tmp_path / "a.yaml", list[str]()
    compose = yaml_nodes._Loader.get_single_node

    def counted(loader: yaml_nodes._Loader) -> Any:
        composed.append("")
        return compose(loader)

    monkeypatch.setattr(yaml_nodes._Loader, "get_single_node", counted)
    for times, text in ((1, "a: [1"), (2, "b: [1")):
        file.write_text(text)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"a\.yaml:1: this is not YAML"):
                yaml_nodes.composed(file)
        assert len(composed) == times
