"""Images per second of the check before the first epoch, against bare decoding of the same files; and remembered.

    python benchmarks/decode.py FOLDER [--images 1000] [--remembered 5000] [--rounds 5]

FOLDER holds images at any depth. `decode` reads each file and calls `cv2.imdecode`, in as many threads as the check.
The check also computes a checksum of the bytes. `remembered` is the seconds of a second check of 5,000 files, copies of
those in FOLDER in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from measure import Turn, clock, race

from yolo.data.decoded import checked
from yolo.images.files import IMAGE_SUFFIXES


def decode(paths: list[Path]) -> None:
    """Read and decode all files in threads."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(_decode, paths))


def _decode(path: Path) -> None:
    cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--remembered", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    files = [path for path in sorted(arguments.folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]
    chosen = files[: arguments.images]
    with tempfile.TemporaryDirectory() as place:
        cache = Path(place) / "cache"
        os.environ["EXACT_YOLOV3_CACHE"] = str(cache)

        def check() -> list[float]:
            shutil.rmtree(cache, ignore_errors=True)
            return [len(chosen) / clock(lambda: checked(chosen))]

        bare: Turn = lambda: [len(chosen) / clock(lambda: decode(chosen))]  # noqa: E731
        figures = race({"decode": bare, "check": check}, arguments.rounds, warmup=1)
        print(f"{len(chosen)} files of {arguments.folder}: images/s, least, median, most")
        for name, figure in figures.items():
            share = statistics.median(figure.over(figures["decode"]))
            print(f"{name:8} {figure.spread('8.0f')}   {share:.0%} of decode")
        copies = []
        for number, file in enumerate(islice(cycle(files), arguments.remembered)):
            copies.append(Path(place) / "copies" / f"{number}{file.suffix}")
            copies[-1].parent.mkdir(exist_ok=True)
            shutil.copy(file, copies[-1])
        first = clock(lambda: checked(copies))
        again = clock(lambda: checked(copies))
        print(f"{len(copies):,} files: {first:.1f} s at first, {again:.2f} s remembered")


if __name__ == "__main__":
    main()
