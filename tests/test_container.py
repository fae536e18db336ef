"""The Dockerfile: it copies what the installation needs, and asks pip for what pyproject.toml has."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_what_it_copies_is_enough_for_the_installation() -> None:
    """The files and folders that pyproject.toml names are copied, and .dockerignore lets exactly these through."""
    copied = {name for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]}
    project, setup = PROJECT["project"], PROJECT["tool"]["setuptools"]
    folders = {package.partition(".")[0] for package in setup["packages"]} | set(setup["package-dir"].values())
    assert copied == {"pyproject.toml", project["readme"], *project["license-files"], *folders}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert ignored.index("*") == 1  # what comes after it is an exception


def test_its_extras_and_its_python_are_those_of_the_project() -> None:
    """Every extra exists; the version of Python is one between the two that CI runs."""
    extras = re.findall(r"/source\[([\w,]+)\]", DOCKERFILE)
    assert extras
    assert {name for group in extras for name in group.split(",")} <= set(PROJECT["project"]["optional-dependencies"])
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["check"]["strategy"]["matrix"]
    oldest, newest = (int(version.split(".")[1]) for version in matrix["python"])
    found = re.search(r"^FROM python:3\.(\d+)-slim$", DOCKERFILE, re.MULTILINE)
    assert found
    assert oldest <= int(found[1]) <= newest


def test_it_leaves_one_opencv_that_is_a_dependency() -> None:
    """What it removes is what pyproject.toml asks for; after another change of the dependency both would be there."""
    removed = re.search(r"pip uninstall --yes ([\w-]+)", DOCKERFILE)
    assert removed
    assert any(re.match(rf"{removed[1]}\b(?!-)", needed) for needed in PROJECT["project"]["dependencies"])
    assert DOCKERFILE.index("pip uninstall --yes") < DOCKERFILE.index(f"pip install {removed[1]}-headless")
