"""Opening annotation files of COCO's format against pycocotools, in fresh processes: `data.py --what open` runs it.

    python benchmarks/opening.py ours FILE.json

opens the file once and prints a line of json. Times are seconds of the processor and of the clock. Memory is resident:
what opening adds to a process that has imported what it needs, after opening and at the peak.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import peak_memory


def make_file(path: Path, images: int = 118_000, objects: int = 860_000, seed: int = 0) -> None:
    """Write an annotation file with the keys of COCO's and polygons of 3 to about 100 points."""
    random = np.random.default_rng(seed)
    ids = random.permutation(600_000)[:images].tolist()
    shapes = [np.round(random.uniform(0, 400, 2 * size), 2).tolist() for size in random.geometric(1 / 20, 2000) + 2]
    texts = [json.dumps([shape]) for shape in shapes]
    image, label, shape = (random.integers(0, high, objects).tolist() for high in (images, 80, len(texts)))
    boxes, areas = (
        np.round(random.uniform(1, 200, (objects, 4)), 2).tolist(),
        random.uniform(1, 40_000, objects).tolist(),
    )
    categories = [{"supercategory": "thing", "id": k + 1, "name": f"thing {k}"} for k in range(80)]
    with path.open("w") as file:
        file.write('{"info": {"description": "made up"}, "licenses": [], "images": [')
        for k, number in enumerate(ids):
            name = f"{number:012d}.jpg"
            entry = {"license": 3, "file_name": name, "coco_url": f"http://images.cocodataset.org/train2017/{name}",
                     "height": 480, "width": 640, "date_captured": "2013-11-14 11:18:45",
                     "flickr_url": f"http://farm9.staticflickr.com/8186/{name}", "id": number}  # fmt: skip
            file.write((", " if k else "") + json.dumps(entry))
        file.write('], "annotations": [')
        for k in range(objects):
            entry = {"area": areas[k], "iscrowd": 0, "image_id": ids[image[k]], "bbox": boxes[k],
                     "category_id": label[k] + 1, "id": k + 1}  # fmt: skip
            file.write((", " if k else "") + f'{{"segmentation": {texts[shape[k]]}, {json.dumps(entry)[1:]}')
        file.write(f'], "categories": {json.dumps(categories)}}}')


def open_once(contender: str, file: Path) -> None:
    """Open an annotation file in this process and print what it took, as a line of json."""
    if contender == "pycocotools":
        from pycocotools import coco  # each process imports only what it measures

        read = coco.COCO
    else:
        from yolo.data.formats import coco_json

        read = coco_json.read_annotations

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    before, clocked, worked = resident(), time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        opened = read(str(file))
    took = {"clock s": time.perf_counter() - clocked, "processor s": time.process_time() - worked}
    memory = {"MB after": resident() - before, "MB peak": peak_memory() - before}
    assert opened is not None
    print(json.dumps(took | memory))


def turn(contender: str, file: Path) -> dict[str, float]:
    """Open a file in a fresh process; return what it took."""
    command = [sys.executable, __file__, contender, str(file)]
    answer: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return answer


def measure(files: list[Path], rounds: int) -> None:
    """Print what opening each file, and the made-up one, takes: ours and pycocotools', which take turns."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made-up.json"
        make_file(made)
        for file in [*files, made]:
            print(f"{file.name}: {file.stat().st_size / 1e6:,.1f} MB, the median of {rounds} rounds")
            turns = [{name: turn(name, file) for name in ("ours", "pycocotools")} for _ in range(rounds)]
            for what in turns[0]["ours"]:
                ours, theirs = ([row[name][what] for row in turns] for name in ("ours", "pycocotools"))
                ratio = statistics.median(own / other for own, other in zip(ours, theirs, strict=True))
                medians = f"ours {statistics.median(ours):9.3f}, pycocotools {statistics.median(theirs):9.3f}"
                print(f"  {what:<12} {medians}, ours / pycocotools {ratio:.3f}", flush=True)


if __name__ == "__main__":
    open_once(sys.argv[1], Path(sys.argv[2]))
