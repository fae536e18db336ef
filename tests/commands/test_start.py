"""What a whole training and an evaluation import: packages that take a second to start are not among it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.train_problems import shapes, tiny_cfg, words

ROOT = Path(__file__).parents[2]

SLOW = ("torchvision", "torch._dynamo", "torch._inductor", "sympy", "scipy", "pandas", "onnx")
"""A training of the default model and its evaluation need none of these. Only the plots of `eval` need matplotlib."""


def test_training_and_evaluation_do_not_import_what_is_slow(tmp_path: Path) -> None:
    """A training with an evaluation between epochs, and `eval` of what it saved, import torch and little else."""
    run = str(tmp_path / "run")
    train = ["train", *words(shapes(tmp_path), tiny_cfg(tmp_path)), "--out", run]
    commands = [train, ["eval", "--weights", run, "--out", f"{run}-eval"]]
    code = (
        "import sys\nfrom yolo.__main__ import main\nimport yolo.commands.evaluate\n"
        f"for given in {commands}:\n"
        "    assert main(given) == 0, given\n"
        f"    unused = {SLOW} + ('matplotlib',) * (given[0] == 'train')\n"
        "    slow = [name for name in unused if name in sys.modules]\n"
        "    assert not slow, (given[0], slow)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
