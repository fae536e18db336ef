"""How a report came about: the commit of the program, the machine, the day."""

from __future__ import annotations

import platform
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

from yolo.process.machine import processor


def provenance() -> dict[str, str]:
    """Return the rows of a table, what to value. Nothing in it identifies the machine or its user."""
    import torch

    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {
        "written": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "git commit": git_commit(Path(__file__).parents[2]),
        "processor": processor(),
        "GPU": ", ".join(gpus) or "none",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "PyTorch": f"{torch.__version__}, {torch.get_num_threads()} threads",
    }


def git_commit(tree: Path) -> str:
    """Return the commit of a working tree, and whether files differ from it."""
    if not (tree / ".git").exists() or shutil.which("git") is None:
        return "not a git working tree"
    commit = _git(tree, "rev-parse", "HEAD")
    if not commit:
        return "unknown: git cannot read the working tree"
    return commit + (" and changes that are not committed" if _git(tree, "status", "--porcelain") else "")


def _git(tree: Path, *words: str) -> str:
    """Return what a git command prints; empty if it fails."""
    done = subprocess.run(["git", "-C", str(tree), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
