"""The benchmark of localizers: it runs, and every figure is positive."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import warm
from tests.support.paths import ROOT
from tests.support.single_problems import tiny_backbone


def test_table(tmp_path: Path) -> None:
    """One line for each backbone: milliseconds of a view, seconds of an epoch, the share of the features."""
    spec = tiny_backbone(tmp_path)
    command = [ROOT / "benchmarks" / "localizer.py", "--images", "40", "--size", "64"]
    command += ["--rounds", "2", "--backbone", spec, spec.replace("@3", "@2")]
    done = warm.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "threads 1" in done.stdout
    assert "40 images at 64 x 64" in done.stdout
    for layer in (3, 2):
        line = re.search(rf"tiny\.weights@{layer} +(.+)%$", done.stdout, re.MULTILINE)
        assert line is not None, done.stdout
        view, backbone, least, median, most, share = map(float, line[1].split())
        assert min(view, backbone) > 0
        assert 0 < least <= median <= most
        assert 0 <= share <= 100
    assert not (tmp_path / "runs").exists()
