"""Everything that a GPU changes, in one command: is it right, how fast is it, what does the blog post's recipe reach?

    python benchmarks/gpu.py [--data FOLDER] [--minutes 14] [--only PART,PART]
    python benchmarks/gpu.py --quick --device cpu            # the same parts in small, to try the script

Needs no network. FOLDER is a data set whose first 100 training images are learned by heart in the last experiment.
Without it this is skipped, and the training steps see drawn images. docs/gpu.md says what to install.

Each figure is printed as soon as it is known. A part that fails is reported with the last line of its traceback, the
others go on, and the exit status is 1. A part that may need more time than is left is skipped by name. The table at
the end is that of docs/gpu.md.

Times are those of a clock between two synchronisations, contenders in turn: median (minimum to maximum). The peak is
what a large bfloat16 matrix product reaches. The operations of a network are those of `yolo.darknet.plan`; a training
step counts three times a forward pass.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from gpu_bench import FULL, QUICK, Bench, Part, Scale
from gpu_checks import same_folded, same_graphs, same_loss, same_metrics, same_nms, same_resumed
from gpu_speed import compiled, detection, inference, kernels, measured_peak, preset, training

from yolo.models.load import find_device

PEAK = "peak"
"""The part whose figure the others divide by: it is always run."""


def parts(scale: Scale) -> list[Part]:
    """Return everything, the most important first, because what comes last is skipped when time runs short."""
    found = [
        Part(PEAK, 5, measured_peak),
        Part("NMS", 10, same_nms),
        Part("loss", 15, same_loss),
        Part("COCO metrics", 30, same_metrics),
        Part("folded copy", 10, same_folded),
        Part("exact resume", 60, same_resumed),
        Part("graphs", 20, same_graphs),
    ]
    cfg = scale.cfgs[0]
    for name in scale.cfgs:
        for batch in scale.batches:
            found.append(Part(f"inference, {name}, batch {batch}", 20, partial(inference, cfg=name, batch=batch)))
    for batch in scale.train_batches:
        found.append(Part(f"training, {cfg}, batch {batch}", 40, partial(training, batch=batch)))
    for batch in scale.train_batches:
        found.append(Part(f"graphed training, {cfg}, batch {batch}", 30, partial(training, batch=batch, graphs=True)))
    found.append(Part(f"kernels of training, {cfg}, batch {batch}", 30, partial(kernels, batch=batch)))
    for batch in scale.batches:
        found.append(Part(f"detection, {cfg}, batch {batch}", 20, partial(detection, batch=batch)))
    found.append(Part("preset blog", 100, partial(preset, name="blog")))
    found.append(Part("preset small-data", 60, partial(preset, name="small-data")))
    for batch in scale.batches:
        found.append(Part(f"compiled, {cfg}, batch {batch}", 60, partial(compiled, cfg=cfg, batch=batch)))
    batch = scale.train_batches[-1]
    found.append(Part(f"compiled training, {cfg}, batch {batch}", 90, partial(training, batch=batch, compile=True)))
    return found


def wanted(scale: Scale, only: str | None) -> list[Part]:
    """Return the parts whose names begin with one of the words of `--only`, and the peak; all of them without it."""
    found = parts(scale)
    if only is None:
        return found
    beginnings = tuple(word.strip() for word in only.split(","))
    unknown = [word for word in beginnings if not any(part.name.startswith(word) for part in found)]
    if unknown:
        raise SystemExit(f"--only {unknown[0]}: no such part; there are: {', '.join(part.name for part in found)}")
    return [part for part in found if part.name.startswith((PEAK, *beginnings))]


def reason_to_skip(bench: Bench, part: Part) -> str:
    """Return why a part is left out; "" if it is not."""
    if part.name.startswith("preset") and bench.data is None:
        return "no --data"
    if part.name.startswith(("compiled", "graph")) and not bench.cuda:
        return "needs a GPU"
    left = bench.seconds_left()
    return f"{left:.0f} s left, it may need {part.seconds:.0f} s" if left < part.seconds else ""


def last_line(problem: BaseException) -> str:
    """Return the last line of the traceback, with the error that it came from."""
    lines = [line for line in traceback.format_exception_only(problem)[-1].splitlines() if line.strip()]
    cause = f" ({last_line(problem.__cause__)})" if problem.__cause__ else ""
    return lines[-1].strip().replace("|", "/")[:300] + cause


def machine(bench: Bench) -> str:
    """Return what the figures were measured with."""
    words = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    if bench.cuda:
        card = torch.cuda.get_device_properties(bench.device)
        words = [card.name, f"{card.total_memory / 1e9:.0f} GB", *words, f"cuDNN {torch.backends.cudnn.version()}"]
    return ", ".join([*words, f"{os.cpu_count()} cores", f"{datetime.now(UTC):%d %B %Y}"])


def run_all(bench: Bench, chosen: list[Part], begin: float) -> int:
    """Run the parts and print their rows, then the table; 1 if a part failed."""
    table: list[tuple[str, str, str]] = []
    failed: list[str] = []

    def tell(*row: str) -> None:
        table.append((row[0], row[1], row[2]))
        print(f"{time.monotonic() - begin:5.0f} s  {': '.join(row)}", flush=True)

    print(machine(bench), flush=True)
    for k, part in enumerate(chosen):
        bench.reserved = sum(later.seconds for later in chosen[k + 1 :])
        if reason := reason_to_skip(bench, part):
            tell(part.name, "skipped", reason)
            continue
        try:
            for what, figure in part.run(bench):
                tell(part.name, what, figure)
        except (Exception, SystemExit) as problem:  # whatever it is, the other parts can still run
            failed.append(part.name)
            tell(part.name, "FAILED", last_line(problem))
        gc.collect()
        if bench.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(bench.device)
    print(f"\n{machine(bench)}\n\n| part | what | figure |\n|---|---|---|")
    for row in table:
        print(f"| {' | '.join(row)} |")
    print(f"\n{time.monotonic() - begin:.0f} s; failed: {', '.join(failed) or 'none'}", flush=True)
    return 1 if failed else 0


def main() -> int:
    """Read the options and run all parts."""
    begin = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a data set with a split that begins with train")
    parser.add_argument("--minutes", type=float, default=14, help="parts that may need more are skipped")
    parser.add_argument("--only", metavar="PART,PART", help="the parts that begin with these words, and the peak")
    parser.add_argument("--device", help="by default a GPU if there is one")
    parser.add_argument("--keep", type=Path, help="folder for the options and metrics of the presets' runs")
    parser.add_argument("--quick", action="store_true", help="everything in small")
    arguments = parser.parse_args()
    device, scale = find_device(arguments.device), QUICK if arguments.quick else FULL
    chosen, deadline = wanted(scale, arguments.only), begin + 60 * arguments.minutes
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return run_all(Bench(device, scale, arguments.data, Path(folder), arguments.keep, deadline), chosen, begin)


if __name__ == "__main__":
    sys.exit(main())
