"""What the program needs, and what it promises: lower bounds that CI tests, and a test for each promise."""

from __future__ import annotations

import ast
import re
import runpy
import tomllib
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

LOWEST = runpy.run_path(str(ROOT / ".ci" / "lowest"))

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_each_package_has_a_lower_bound() -> None:
    """Of what is installed with the program, for exported files and for the tests. They are the versions of the job."""
    wanted = LOWEST["requirements"](PROJECT) + LOWEST["requirements"](PROJECT, "test")
    pins = [LOWEST["pinned"](requirement) for requirement in wanted]
    assert len(pins) > 20
    assert len(dict(pin.split("==") for pin in pins)) == len(pins)
    assert any(pin.startswith("openvino==") for pin in pins)  # of an extra of an extra
    with pytest.raises(ValueError, match="'numpy' has no lower bound"):
        LOWEST["pinned"]("numpy")


def test_ci_runs_what_is_documented() -> None:
    """The lowest versions on the lowest Python, and the newest ones against the known vulnerabilities."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert ".ci/lowest" in str(jobs["lowest-versions"])
    assert PROJECT["requires-python"].removeprefix(">=") in str(jobs["lowest-versions"])
    assert "pip-audit" in str(jobs["pip-audit"])
    assert "python3.11 .ci/lowest" in (ROOT / "CONTRIBUTING.md").read_text()


def test_each_promise_is_tested() -> None:
    """Every row of SECURITY.md names tests, and all that it names exist."""
    page = (ROOT / "SECURITY.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| **")]
    assert len(rows) >= 8
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, name in named:
            functions = [
                node for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)
            ]
            assert name in {function.name for function in functions}, f"SECURITY.md: {file}::{name} does not exist"
    assert len(re.findall(r"tests/[\w/]+\.py", page)) == len(re.findall(r"`tests/[\w/]+\.py::\w+`", page))
