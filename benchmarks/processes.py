"""Images per second of training in several processes against one: whole commands, as users run them.

    python benchmarks/processes.py [--net yolov3-tiny.cfg] [--batch 8] [--size 416] [--rounds 2]
    python benchmarks/processes.py --device cuda --net yolov3.cfg --batch 64 --processes 1:1 2:1 4:1 8:1

A contender `P:T` is P processes with T threads each. A turn trains three epochs of drawn images by `train.py`, in
processes with the variables that torchrun would set, without evaluation, and reads the time of the last two from
`metrics.jsonl`. `--batch` is the batch of one process. The share is the median of the ratios to P times the rate of the
first contender, in the same round.
"""

from __future__ import annotations

import argparse
import os
import socket
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
    words = ["--data", data, "--cfg", arguments.net, "--size", arguments.size, "--device", arguments.device]
    words += ["--batch-size", arguments.batch * processes, "--workers", arguments.workers]
    words += ["--epochs", 1 + COUNTED, "--eval-every", 0, "--no-check", "--out", out]
    command = [sys.executable, str(ROOT / "train.py"), *map(str, words)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        meeting = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        environment = {key: str(value) for key, value in (meeting | {"OMP_NUM_THREADS": threads}).items()}
        environment |= {"MASTER_ADDR": "127.0.0.1"}
        started.append(
            subprocess.Popen(
                command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        )
    for process in started:
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError((errors.strip().splitlines() or ["no message"])[-1])
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
