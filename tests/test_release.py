"""The pages beside the code: one version everywhere, and no page names a file that is not there."""

from __future__ import annotations

import re

import pytest
import yaml

import yolo
from tests.support.paths import ROOT


def test_one_version() -> None:
    """The package, CITATION.cff and the newest entry of the changelog have the same version and date."""
    version = yolo.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## \[(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest.groups() == (version, str(citation["date-released"]))
    assert citation["version"] == version


def test_citation_has_what_its_format_asks_for() -> None:
    """The required keys of Citation File Format 1.2.0, of the software and of each reference."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    for work, required in [
        (citation, ("message", "title", "authors")),
        *((work, ("type", "title", "authors")) for work in citation["references"]),
    ]:
        assert all(work[key] for key in required)
        for author in work["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"})


@pytest.mark.parametrize(
    "page",
    [
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/check.md",
        "docs/faster-rcnn.md",
        "docs/gpu.md",
        "docs/install.md",
        "docs/localizer.md",
    ],
)
def test_named_files_exist(page: str) -> None:
    """Every path in backticks that begins with a folder of the repository, and every link to a file."""
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:yolo|tests|benchmarks|docs|config|data|examples)/[\w./-]*)`", text)
    named += re.findall(r"python ((?:benchmarks|docs)/\w+\.py)", text)
    linked = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [target for target in linked if not (ROOT / page).parent.joinpath(target).exists()]
    assert missing == []
    assert named
