"""The benchmark of training: it runs, and both contenders train the same network with the same loss."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import warm
from tests.support.paths import ROOT
from tests.support.small_sets import DrawnImage, write_coco

FORKED = """
import os, runpy, subprocess, sys, traceback
import yolo.commands.train

class Forked(subprocess.Popen):
    def __init__(self, command, **options):
        sys.stdout.flush()  # or the fork would print it, too

        def become():
            os.closerange(3, 256)  # with it the pipe by which Popen waits for a new program
            sys.argv, sys.stdin, status = command[1:], open(0), 1
            try:
                runpy.run_path(command[1], run_name="__main__")
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        super().__init__(command, preexec_fn=become, **options)

subprocess.Popen = Forked
sys.argv.pop(0)
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script. The scripts that this one starts run in forks of the same process, which has everything imported."""


def benchmark(*arguments: str) -> str:
    """Return what it prints for toy.cfg, one round of one step."""
    command = [str(ROOT / "benchmarks" / "train.py"), "--net", "toy.cfg:2", "--size", "64"]
    command += ["--threads", "1", "--rounds", "1", "--steps", "1", *arguments]
    done = warm.run("-c", FORKED, *command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_table_and_epochs(tmp_path: Path) -> None:
    """Rates of all contenders and of epochs are positive; before the first step the losses differ by rounding only.

    The other clone may be this one.
    """
    data = write_coco(tmp_path, [DrawnImage((40, 40), [(0, 4, 4, 30, 30)])] * 3)
    text = benchmark("--data", str(data), "--workers", "0", "--before", str(ROOT))
    for kind in ("plain", "before", "ours", "epoch", "bare"):
        rates = re.search(rf"^{kind} +(\S+) +(\S+) +(\S+)", text, re.MULTILINE)
        assert rates is not None, text
        assert 0 < float(rates[1]) <= float(rates[2]) <= float(rates[3])
    assert "epochs of 3 images" in text
    assert "x before" in text
    apart = re.search(r"loss apart: (\S+) of", text)
    assert apart is not None, text
    assert float(apart[1]) < 0.02  # bfloat16 has 8 bits


def test_profile() -> None:
    """A backward pass has twice the operations of a forward pass, but for the images."""
    text = benchmark("--profile")
    rows = dict(re.findall(r"^(\w[\w ,]+?)  .*? ([\d.]+) +\d+ +[\d.]+%$", text, re.MULTILINE))
    forward, backward = (float(rows[f"convolution, {way}"]) for way in ("forward", "backward"))
    assert 1.5 * forward <= backward <= 2.5 * forward


def test_failure_of_a_worker_is_reported(tmp_path: Path) -> None:
    """If a contender ends without an answer, the benchmark fails with the last line of its log."""
    fails = (
        "import sys; print(1, flush=True); sys.stdin.readline(); print('first', file=sys.stderr); raise OSError('lost')"
    )
    asks = f"""
import sys
from pathlib import Path
from measure import Worker
worker = Worker([sys.executable, "-c", {fails!r}], Path({str(tmp_path / "log")!r}))
print(worker.ready)
worker.ask("")
"""
    done = warm.run("-c", asks, cwd=ROOT / "benchmarks")
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert done.stderr.splitlines()[-1] == "RuntimeError: OSError: lost"
