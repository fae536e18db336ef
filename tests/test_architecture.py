"""The architecture: order of the packages, no cycles, every file in its package's table, budgets of lines.

`docs/design.md` lists the packages from the ground up. A file imports only from its own package and from those above
it in the list. Imports inside functions and under TYPE_CHECKING count.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.paths import ROOT

BUDGET = {
    "yolo": 450,
    "yolo/files": 430,
    "yolo/process": 380,
    "yolo/options": 1160,
    "yolo/images": 770,
    "yolo/metrics": 860,
    "yolo/darknet": 2140,
    "yolo/data": 3960,
    "yolo/detection": 840,
    "yolo/download": 760,
    "yolo/backbones": 200,
    "yolo/localize": 560,
    "yolo/rcnn": 580,
    "yolo/recipe": 530,
    "yolo/models": 1850,
    "yolo/evaluation": 480,
    "yolo/explain": 660,
    "yolo/deploy": 940,
    "yolo/doctor": 820,
    "yolo/training": 2620,
    "yolo/preflight": 800,
    "yolo/ablation": 1340,
    "yolo/commands": 1910,
}
"""The largest number of lines of code of each package, with subpackages. A commit that raises a row says why."""

NO_TORCH = [
    "yolo",
    "yolo.__main__",
    "yolo.commands.command_line",
    "yolo.process.failures",
    "yolo.options.presets",
    "yolo.darknet.cfg",
    "yolo.darknet.plan",
    "yolo.data.formats.coco",
    "yolo.data.formats.csv_boxes",
    "yolo.data.formats.masks",
    "yolo.data.formats.voc",
    "yolo.data.formats.yolo",
    "yolo.data.recognise",
    "yolo.data.shapes.singles",
    "yolo.recipe.rates",
    "yolo.recipe.said",
    "yolo.training.schedule",
    "yolo.commands.summary",
    "yolo.download.fetch",
    "yolo.ablation.study",
    "yolo.ablation.variants",
    "yolo.ablation.tables",
    "yolo.document",
    "yolo.ablation.tethered",
]
"""Modules that do not import torch, so that `--help` and `summary` start at once."""

FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "yolo").rglob("*.py"))


def package_of(file: str) -> str:
    """Return the package of a file, `yolo/data` for `yolo/data/formats/coco.py`; for a top-level file, the file."""
    parts = file.split("/")
    return "/".join(parts[:2])


def floors() -> list[set[str]]:
    """Return the floors of docs/design.md from the ground up, each a set of packages and top-level files."""
    page = (ROOT / "docs" / "design.md").read_text()
    block = re.search(r"```\n(yolo/\n.*?)```", page, re.DOTALL)
    assert block, "docs/design.md lost the list that begins with 'yolo/'"
    listed = [line.split("  ")[1].split() for line in block[1].splitlines()[1:]]
    return [{f"yolo/{name.rstrip('/')}" for name in names} for names in listed]


def imported_by(source: str, importer: str = "") -> set[str]:
    """Return the files of `yolo/` that a text imports, at any place in it."""
    files: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{importer}: relative import; this code imports absolutely"
            names = [(f"{node.module}.{alias.name}", str(node.module)) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [(alias.name, alias.name) for alias in node.names]
        else:
            continue
        for pair in names:  # `from yolo.models import load` names a module, `from yolo.boxes import iou` a name in one
            found = [f"{name.replace('.', '/')}{end}" for name in pair for end in (".py", "/__init__.py")]
            files |= {next((file for file in found if file in FILES), "")} - {""}
    return files


def lines_of_code(text: str) -> int:
    """Return the number of lines of code, without blank lines, comments and docstrings (also those of fields)."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr)]
    prose = [node for node in nodes if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)]
    told = {line for node in prose for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in layout]
    return len({line for token in tokens for line in range(token.start[0], token.end[0] + 1)} - told)


def in_order(graph: dict[str, set[str]]) -> str:
    """Return a cycle of the graph as text; empty if there is none."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as problem:
        return " -> ".join(problem.args[1])
    return ""


def test_every_package_is_on_one_floor() -> None:
    """Every package and top-level file is in the list of docs/design.md once, and the list has no others."""
    listed = [name for floor in floors() for name in floor]
    there = {package_of(file) for file in FILES}
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down(file: str) -> None:
    """A file imports only from its own package and from lower floors."""
    floor_of = {name: number for number, floor in enumerate(floors()) for name in floor}
    own = package_of(file)
    for target in imported_by((ROOT / file).read_text(), file):
        there = package_of(target)
        assert there == own or floor_of[there] < floor_of[own], f"{file} imports {target}, not on a floor below"


def test_no_cycle_between_files() -> None:
    """Files do not import each other in a cycle, not even within a package."""
    assert not in_order({file: imported_by((ROOT / file).read_text()) for file in FILES})


def test_only_their_models_import_the_localizers() -> None:
    """A further model needs one file: nothing else imports what is its own, YOLO's path least of all."""
    outside = [file for file in FILES if package_of(file) != "yolo/localize"]
    packages = {file: set(map(package_of, imported_by((ROOT / file).read_text()))) for file in outside}
    assert [file for file, found in packages.items() if "yolo/localize" in found] == [
        "yolo/models/largest.py",
        "yolo/models/localizer.py",
        "yolo/models/single.py",
    ]


def test_every_file_is_in_its_packages_table() -> None:
    """The docstring of a package lists exactly its files, each with its purpose."""
    for init in (file for file in FILES if file.endswith("__init__.py") and file != "yolo/__init__.py"):
        table = ast.get_docstring(ast.parse((ROOT / init).read_text())) or ""
        rows = re.findall(r"^(\w+\.py) +\S", table, re.MULTILINE)
        files = {path.name for path in (ROOT / init).parent.glob("*.py")} - {"__init__.py"}
        assert sorted(rows) == sorted(files), init


def test_budgets() -> None:
    """No package has more lines of code than in the table."""
    size: Counter[str] = Counter()
    for file in FILES:
        package = package_of(file)
        size["yolo" if package.endswith(".py") else package] += lines_of_code((ROOT / file).read_text())
    print(*(f"{size[package]:6,} of {BUDGET.get(package, 0):6,}  {package}" for package in BUDGET), sep="\n")
    assert size.keys() == BUDGET.keys()
    assert {package: lines for package, lines in size.items() if lines > BUDGET[package]} == {}


def test_the_checks_can_fail() -> None:
    """Imports inside functions and under TYPE_CHECKING are found, a cycle is named, and prose does not count."""
    source = (
        "if TYPE_CHECKING:\n    from yolo.darknet.heads import Head\ndef f():\n    from yolo.darknet import plan\n"
        "    import yolo.darknet.cfg\n"
    )
    assert imported_by(source) == {"yolo/darknet/heads.py", "yolo/darknet/plan.py", "yolo/darknet/cfg.py"}
    assert in_order({"a": {"b"}, "b": {"a"}}) in ("a -> b -> a", "b -> a -> b")
    assert lines_of_code('"""Doc."""\n\n# why\nx = (\n    1,\n)  # what\n"""The number."""\n') == 3


def test_every_package_is_installed() -> None:
    """pyproject.toml lists all packages and files: a missing one works in a clone and fails after installation."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "yolo").rglob("__init__.py")}
    files = [path.relative_to(ROOT) for path in (ROOT / "config").rglob("*") if path.is_file()]
    shipped = {f"yolo.{'.'.join(file.parent.parts)}": set[str]() for file in files}
    for file in files:
        shipped[f"yolo.{'.'.join(file.parent.parts)}"].add(f"*{file.suffix}")
    assert set(setup["packages"]) == there | set(shipped)
    assert {name: set(setup["package-data"][name]) for name in shipped} == shipped


def test_oracles_import_nothing_of_ours() -> None:
    """The slow references do not import the code that they check."""
    assert not imported_by((ROOT / "tests" / "support" / "oracles.py").read_text())


@pytest.mark.parametrize(
    ("modules", "banned"), [(NO_TORCH, "torch"), (["yolo.models.load", "yolo.commands.detect"], "torchvision")]
)
def test_imports_are_light(modules: list[str], banned: str) -> None:
    """`--help` and `summary` do not import torch, nor detection torchvision: each takes a second or two to start."""
    code = f"import sys\nfor name in {modules}:\n    __import__(name)\n    assert {banned!r} not in sys.modules, name"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
