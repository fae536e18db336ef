"""Images per second of training in several processes against one: whole commands, as users run them.

    python benchmarks/processes.py [--net yolov3-tiny.cfg] [--batch 8] [--size 416] [--rounds 2]
    python benchmarks/processes.py --device cuda --net yolov3.cfg --batch 64 --processes 1:1 2:1 4:1 8:1

A contender `P:T` is P processes with T threads each. A turn trains three epochs of drawn images by `torchrun train.py`
(one process: `python train.py`), without evaluation, and reads the time of the last two from `metrics.jsonl`. `--batch`
is the batch of one process. The share is the median of the ratios to P times the rate of the first contender, in the
same round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measure import ROOT, race

from yolo.data.shapes.scenes import make_shapes
from yolo.training.run_folder import read_metrics

COUNTED = 2  # epochs


def turn(processes: int, threads: int, folder: Path, arguments: argparse.Namespace) -> list[float]:
    """Return the images per second of each epoch that counts."""
    images = arguments.steps * arguments.batch * processes
    data, out = folder / f"shapes-{images}", folder / "run"
    if not data.exists():
        make_shapes(data, train=images, val=1)
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = [
        "--data",
        data,
        "--cfg",
        arguments.net,
        "--size",
        arguments.size,
        "--batch-size",
        arguments.batch * processes,
    ]
    words += ["--device", arguments.device, "--workers", arguments.workers, "--epochs", 1 + COUNTED, "--eval-every", 0]
    words += ["--no-check", "--out", out]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [*launcher, str(ROOT / "train.py"), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    rates = [images / row["seconds"] for row in read_metrics(out)[-COUNTED:]]
    out.rename(Path(tempfile.mkdtemp(dir=folder)) / "run")
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="yolov3-tiny.cfg")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--steps", type=int, default=6, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--processes", nargs="+", default=["1:1", "1:2", "2:1"], metavar="P:T")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        turns: dict[str, Callable[[], list[float]]] = {}
        for contender in arguments.processes:
            processes, threads = map(int, contender.split(":"))
            turns[contender] = partial(turn, processes, threads, Path(name), arguments)
        rates = race(turns, arguments.rounds)
    print(f"{arguments.net}, {arguments.batch} images per process, input {arguments.size}: images/s")
    print("P:T         min  median     max | of P times the first")
    first = rates[arguments.processes[0]]
    for contender, figures in rates.items():
        share = statistics.median(figures.over(first)) / int(contender.split(":")[0])
        print(f"{contender:<8} {figures.spread('7.2f')} | {share:8.1%}")


if __name__ == "__main__":
    main()
