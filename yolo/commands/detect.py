"""`python -m yolo detect`: find objects in images and videos."""

from __future__ import annotations

import io
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from yolo.boxes import Detections
from yolo.commands.result_files import ResultFiles, ids_differ, inputs, targets
from yolo.darknet.cfg import read_cfg
from yolo.download.weights import WEIGHTS, official_weights
from yolo.images.draw import draw
from yolo.images.files import write_image
from yolo.images.sources import Shot, Source, find_sources, shots
from yolo.models.detector import Detector
from yolo.models.load import load_trained
from yolo.names import chosen
from yolo.options.commands import Detect
from yolo.options.detection import Filter
from yolo.training.run_folder import newest_run, next_folder


class Times(NamedTuple):
    """Milliseconds that one image took: reading and resizing; the network; decoding and NMS."""

    load: float
    network: float
    postprocess: float

    def __str__(self) -> str:
        return f"load {self.load:.1f} + network {self.network:.1f} + postprocess {self.postprocess:.1f} ms"


def run(options: Detect) -> int:
    """Detect in all sources. Returns 1 if one of them cannot be read, else 0.

    A source that cannot be read, or not to its end, is named, and detection continues with the next one. Raises
    ValueError or OSError for wrong options, and OSError if results cannot be written.
    """
    if not options.sources:
        raise ValueError("no source; give images, videos, folders, globs or camera numbers")
    sources = find_sources(options.sources, recursive=options.recursive, tell=partial(print, file=sys.stderr))
    model = _model(options)
    wanted = chosen(options.classes, model.names) if options.classes else None
    if isinstance(sys.stdout, io.TextIOWrapper):  # any name on any terminal, each line at once
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    folder = options.out or next_folder(name="detect")
    try:
        return _run(options, folder, sources, model, wanted)
    except BrokenPipeError:  # the reader has ended, as in `python detect.py photos | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:  # of the results only: a source that cannot be read raises nothing
        raise OSError(f"{folder}: results cannot be written: {problem}") from problem


def _run(options: Detect, folder: Path, sources: list[Source], model: Detector, wanted: list[int] | None) -> int:
    """Detect in all sources, print and write what is found, and return the exit status."""
    failed, done, times = 0, 0, deque[Times](maxlen=10_000)
    quiet = len(sources) < 2 or not sys.stderr.isatty()  # a progress bar is for several sources, on a terminal
    with (
        ResultFiles(
            folder,
            model.names,
            as_json=options.json or options.json_format is not None,
            json_format=options.json_format or "coco",
            as_txt=options.txt or options.txt_score,
            scores=options.txt_score,
            as_csv=options.csv,
            crops=options.crops,
            by_name=not ids_differ(sources),
            spare=inputs(sources),
        ) as files,
        tqdm(total=len(sources), unit="file", dynamic_ncols=True, disable=quiet) as bar,
    ):
        names = targets(sources, folder)
        for source, (stem, path) in zip(sources, names, strict=True):
            with _Drawing(files, path) as drawing:
                for number, (shot, load_ms) in enumerate(_timed(source, model)):
                    if shot.pixels is None:
                        failed += 1
                        bar.write(f"not read{' to its end' * (number > 0)}: {shot.error}", file=sys.stderr)
                        continue
                    found, spent = _detect(model, options.filter, shot.pixels, load_ms, wanted)
                    times.append(spent)
                    done += 1
                    own, file = (f"{stem}/{number}", None) if source.moving else (stem, source.path)
                    files.add(shot.name, own, shot.pixels, found, file)
                    drawing.write(draw(shot.pixels, found, model.names), shot.rate)
                    # Printed last: a line means that the results of its image are written.
                    bar.write(report(shot, found, model.names, spent), file=sys.stdout)
            bar.update()
    if times:
        median = Times(*np.median(np.array(times), axis=0))
        placed = f"input {model.size} {'letterbox' if model.letterbox else 'stretch'}"
        drawn = f"drawn: {names[0][1]}" if len(sources) == 1 else f"drawn in {folder}"
        print(f"{done} image{'s' * (done > 1)}, median {median}; {placed}; {drawn}")
    return 1 if failed else 0


def report(shot: Shot, found: Detections, names: list[str], spent: Times) -> str:
    """Return a line for the image and one for each object: name, score, left, top, right, bottom in pixels."""
    lines = [f"{shot.path or shot.name}{_frame(shot)}: {len(found)} object{'s' * (len(found) != 1)}, {spent}"]
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    lines += [f"  {names[label]:<16} {score:.3f}  " + " ".join(f"{x:7.1f}" for x in box) for label, score, box in rows]
    return "\n".join(lines)


def _frame(shot: Shot) -> str:
    """Return "#17" for frame 17 of a video file, and an empty text for an image."""
    return f"#{shot.name.rpartition('#')[2]}" if shot.rate and shot.path else ""


def _model(options: Detect) -> Detector:
    """Return the detector that the options describe; by default that of the newest run, else of official weights."""
    files = options.model
    if files.weights is None and files.cfg is not None and files.cfg.suffix.lower() != ".cfg":
        files = replace(files, weights=files.cfg, cfg=None)  # holds both
    # Without a word about the model: the newest run. Of a cfg alone: its official weights.
    if files.weights is None:
        newest = newest_run() if files.cfg is None else None
        cfg = files.cfg or Path("yolov3.cfg")
        files = replace(files, weights=newest) if newest else replace(files, weights=_official(cfg), cfg=cfg)
    return load_trained(files, exact=options.exact)


def _official(cfg: Path) -> Path:
    """Return the file of a cfg's official weights, downloaded if necessary. Raises ValueError if there are none."""
    read_cfg(cfg)  # a wrong cfg is an error before anything is downloaded
    if cfg.stem not in WEIGHTS:
        raise ValueError(f"{cfg}: there are no official weights of that name; give --weights FILE")
    return official_weights(cfg.stem)


def _timed(source: Source, model: Detector) -> Iterator[tuple[Shot, float]]:
    """Yield the shots of a source, each with the milliseconds that reading it took."""
    start = time.perf_counter()
    for shot in shots(source, model.channels):
        yield shot, (time.perf_counter() - start) * 1e3
        start = time.perf_counter()  # detection has taken time since


def _detect(
    model: Detector, options: Filter, pixels: np.ndarray, load_ms: float, wanted: list[int] | None
) -> tuple[Detections, Times]:
    """Return the detections in an image `[h, w, channels]` and their times; `wanted` are the class indices to keep."""
    # A limit counts what the user sees, so with `wanted` it applies after the classes are selected.
    unlimited = options if wanted is None else replace(options, max_detections=None)
    start = time.perf_counter()
    image, placement = model.prepare(pixels)
    prepared = time.perf_counter()
    raw = model.predict(image[None])
    if model.device.type == "cuda":
        torch.cuda.synchronize()  # otherwise the network's time would count as postprocessing
    predicted = time.perf_counter()
    found = model.select(raw, [placement], unlimited)[0].to("cpu")
    if wanted is not None:
        keep = torch.isin(found.labels, torch.tensor(wanted)).nonzero().squeeze(1)[: options.max_detections]
        found = Detections(found.boxes[keep], found.scores[keep], found.labels[keep])
    if not model.exact:
        found = found.clipped(pixels.shape)
    end = time.perf_counter()
    return found, Times(load_ms + (prepared - start) * 1e3, (predicted - prepared) * 1e3, (end - predicted) * 1e3)


class _Drawing:
    """Writes the drawn image or video of a source into the file `path`, one of `files`."""

    def __init__(self, files: ResultFiles, path: Path) -> None:
        self.files, self.path = files, path
        self.video: cv2.VideoWriter | None = None
        self.size, self.frames = (0, 0), 0

    def __enter__(self) -> _Drawing:
        return self

    def write(self, image: np.ndarray, rate: float) -> None:
        """Write a drawn image `[h, w, 3]`, or the next frame of a video of `rate` frames per second; 0 is an image."""
        if not rate:
            write_image(self.files.claim(self.path), image)
            return
        if self.video is None:
            self.files.claim(self.path).parent.mkdir(parents=True, exist_ok=True)
            self.size = (image.shape[1], image.shape[0])
            name = str(self.path).encode().decode()  # OpenCV crashes on a name that is not Unicode
            self.video = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), rate, self.size)
            if not self.video.isOpened():
                raise OSError(f"{self.path}: OpenCV {cv2.__version__} cannot write this video")
        if self.size != (image.shape[1], image.shape[0]):  # a stream may change; a video file may not
            image = cv2.resize(image, self.size)
        self.video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.video is None:
            return
        self.video.release()
        if kind is None:  # OpenCV does not report failed writes
            written = cv2.VideoCapture(str(self.path))
            frames = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
            written.release()
            if frames != self.frames:
                raise OSError(f"{self.path}: {frames} of {self.frames} frames were written; is the disk full?")
