"""The order of the house: a module imports only from lines above its own in `docs/design.md`.

The page lists every file of `yolo/` from the ground up. Imports inside functions and under TYPE_CHECKING count.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def read_order() -> dict[str, int]:
    """Module path (`yolo/boxes.py`) to its line in the house of docs/design.md; a folder's files share a line."""
    page = (ROOT / "docs" / "design.md").read_text()
    block = re.search(r"```\n(yolo/ .*?)```", page, re.DOTALL)
    assert block, "docs/design.md lost the list that begins with 'yolo/'"
    order: dict[str, int] = {}
    for number, line in enumerate(block[1].splitlines()[1:]):
        listed, _, _ = line.strip().partition("  ")  # two blanks end the names, the description follows
        folder, _, names = listed.rpartition("/ ")
        for name in names.split():
            order[f"yolo/{folder}/{name}" if folder else f"yolo/{name}"] = number
    return order


def modules_of(statement: ast.stmt | ast.AST, importer: str) -> set[str]:
    """The files of `yolo/` that an import statement names."""
    if isinstance(statement, ast.ImportFrom):
        assert statement.level == 0, f"{importer}: relative import; this code imports absolutely"
        names = [f"{statement.module}.{alias.name}" for alias in statement.names] + [str(statement.module)]
    elif isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    else:
        return set()
    files = set()
    for name in names:
        path = name.replace(".", "/")
        if path.startswith("yolo/") or path == "yolo":
            candidates = [f"{path}.py", f"{path}/__init__.py"]
            files |= {candidate for candidate in candidates if (ROOT / candidate).is_file()}
    # `from yolo.models.load import load` names the package only on the way to its module
    return {file for file in files if not file.endswith("__init__.py")} or files


def test_every_file_has_its_line() -> None:
    """No module outside the order, no line without a module."""
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "yolo").rglob("*.py")}
    assert files == set(read_order())


def test_every_package_is_installed() -> None:
    """The list in pyproject.toml: what is missing there works in a clone and fails where it is installed."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "yolo").rglob("__init__.py")}
    files = [path.relative_to(ROOT) for path in (ROOT / "config").rglob("*") if path.is_file()]
    shipped = {f"yolo.{'.'.join(file.parent.parts)}": set[str]() for file in files}
    for file in files:
        shipped[f"yolo.{'.'.join(file.parent.parts)}"].add(f"*{file.suffix}")
    assert set(setup["packages"]) == there | set(shipped)
    assert {name: set(setup["package-data"][name]) for name in shipped} == shipped


@pytest.mark.parametrize("module", sorted(read_order()))
def test_imports_go_down(module: str) -> None:
    """Only lines above one's own are imported from."""
    order = read_order()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        for target in modules_of(node, module):
            assert order[target] < order[module], f"{module} imports {target}, which does not stand above it"


def test_the_check_can_fail() -> None:
    """A statement inside a function and one under TYPE_CHECKING are both found."""
    source = (
        "if TYPE_CHECKING:\n    from yolo.heads import Head\ndef f():\n    from yolo import plan\n    import yolo.cfg\n"
    )
    found = set().union(*(modules_of(node, "x") for node in ast.walk(ast.parse(source))))
    assert found == {"yolo/heads.py", "yolo/plan.py", "yolo/cfg.py"}


def test_tests_oracles_import_nothing_of_ours() -> None:
    """The slow references know nothing of the code that they judge."""
    for node in ast.walk(ast.parse((ROOT / "tests" / "oracles.py").read_text())):
        assert not modules_of(node, "tests/oracles.py")


@pytest.mark.parametrize(
    ("statement", "banned"),
    [
        ("import yolo", "torch"),
        ("import yolo.cfg, yolo.plan, yolo.summary", "torch"),
        ("import yolo.models.load", "torchvision"),
    ],
)
def test_imports_are_light(statement: str, banned: str) -> None:
    """`--help` and `summary` do without torch, a detection without torchvision (a second of start-up)."""
    code = f"{statement}; import sys; sys.exit({banned!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
