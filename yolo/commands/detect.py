"""`python -m yolo detect`: find objects in images and videos."""

from __future__ import annotations

import io
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from yolo.commands.detect_lines import FusedTimes, Times, VideoLines, image_lines, median
from yolo.commands.drawing import Drawing
from yolo.commands.result_files import ResultFiles, ids_differ, inputs, targets
from yolo.darknet.cfg import read_cfg
from yolo.download.weights import WEIGHTS, official_weights
from yolo.images.draw import draw
from yolo.images.inputs import Given
from yolo.images.sources import Source, counted, find_sources
from yolo.models.detector import Detector
from yolo.models.found import Found
from yolo.models.in_order import computed_at_once, share_of_threads
from yolo.models.load import load_trained
from yolo.models.results import Result, Spent, results
from yolo.names import chosen
from yolo.options.commands import Detect
from yolo.training.run_folder import newest_run, next_folder


def run(options: Detect) -> int:
    """Detect in all sources. Returns 1 if one of them cannot be read, else 0.

    A source that cannot be read, or not to its end, is named, and detection continues with the next one. Raises
    ValueError or OSError for wrong options, and OSError if results cannot be written.
    """
    if not options.sources:
        raise ValueError("no source; give images, videos, folders, globs or camera numbers")
    with _errors_only() if options.quiet else nullcontext():
        note = _nothing if options.quiet else partial(print, file=sys.stderr)
        sources = find_sources(options.sources, recursive=options.recursive, tell=note)
        model = _model(options)
        wanted = chosen(options.classes, model.names) if options.classes else None
        if isinstance(sys.stdout, io.TextIOWrapper):  # any name on any terminal, each line at once
            sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
        folder = options.out or next_folder(name="detect")
        try:
            return _run(options, folder, sources, model, wanted)
        except BrokenPipeError:  # of what is printed
            raise
        except OSError as problem:  # of the results only: a source that cannot be read raises nothing
            raise OSError(f"{folder}: results cannot be written: {problem}") from problem


def _run(options: Detect, folder: Path, sources: list[Source], model: Detector, wanted: list[int] | None) -> int:
    """Detect in all sources, print and write what is found, and return the exit status."""
    failed, done, times = 0, 0, deque[Times](maxlen=10_000)
    names = targets(sources, folder)
    name_of = dict(zip(sources, names, strict=True))
    at_once = _at_once(options, sources, model)
    start = time.perf_counter()

    def end() -> None:
        """Print the line about the whole call."""
        if times and not options.quiet:
            together = f", {at_once} at once" * (at_once > 1)
            rate = f"{done / (time.perf_counter() - start):.1f} images/s{together}"
            placed = f"input {model.size} {'letterbox' if model.letterbox else 'stretch'}"
            drawn = f"drawn: {names[0][1]}" if len(sources) == 1 else f"drawn in {folder}"
            written = drawn if options.draw else f"results in {folder}"
            print(f"{counted(done, 'image')}, median {median(times)}; {rate}; {placed}; {written}")

    try:
        with _files(options, folder, sources, model) as files, _bar(options, sources) as bar:
            say = _nothing if options.quiet else partial(bar.write, file=sys.stdout)
            note = _nothing if options.quiet else cache(partial(bar.write, file=sys.stderr))  # each note once
            with share_of_threads(at_once):
                _warm_up(model, options)
            start = time.perf_counter()
            with closing(_results(options, sources, model, wanted)) as made:
                for source, shots in groupby(made, key=lambda result: result.source):
                    stem, path = name_of[source]
                    with VideoLines(source, model.names, say) as video, Drawing(files, path, note) as drawing:
                        for _, shot, found, spent in shots:
                            if found is None or shot.pixels is None:
                                failed += 1
                                what = f"not read{' to its end' * bool(video.frames)}"
                                bar.write(f"{what}: {shot.error}", file=sys.stderr)
                                continue
                            times.append((FusedTimes if model.fused else Times)(*spent))
                            done += 1
                            own = f"{stem}/{shot.name.rpartition('#')[2]}" if source.moving else stem
                            files.add(shot.name, own, shot.pixels, found, None if source.moving else source.path)
                            # Written again for each frame skipped before it, so the video is as long as the stream.
                            if options.draw:
                                drawing.write(draw(shot.pixels, found, model.names), shot.rate, 1 + shot.skipped)
                            # Printed last: a line means that the results of its image are written.
                            if source.moving:
                                video.add(shot, found)
                            else:
                                say(image_lines(shot, found, model.names, times[-1]))
                    bar.update()
    except KeyboardInterrupt:  # as a camera is ended
        end()
        raise
    end()
    return 1 if failed else 0


def _nothing(line: str) -> None:
    """Print nothing."""


@contextmanager
def _errors_only() -> Iterator[None]:
    """Drop the remarks of the program that are not errors within the block."""
    log = logging.getLogger("yolo")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _files(options: Detect, folder: Path, sources: list[Source], model: Detector) -> ResultFiles:
    """Return the files that the options ask for."""
    return ResultFiles(
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
    )


def _bar(options: Detect, sources: list[Source]) -> tqdm[NoReturn]:
    """Return a progress bar, which is for several sources, on a terminal."""
    hidden = options.quiet or len(sources) < 2 or not sys.stderr.isatty()
    return tqdm(total=len(sources), unit="file", dynamic_ncols=True, disable=hidden)


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


def _warm_up(model: Detector, options: Detect) -> None:
    """Detect in blank images, so that the first image's time is like that of the others.

    The first pass through a network makes its inference copy, allocates memory, arranges the weights for the processor
    and starts threads, and a GPU loads its kernels. That took 700 ms where an image takes 30, and was printed as the
    first image's time. On a GPU the second pass is recorded as a CUDA graph.
    """
    image, placement = model.prepare(np.zeros((*model.size, model.channels), np.uint8))
    number = options.batch_size
    thresholds = replace(options.filter, confidence=1.0)  # thousands of boxes would take long
    for _ in range(2 if model.device.type == "cuda" else 1):
        model.detect_batch(image.expand(number, *image.shape), [placement] * number, thresholds)


def _at_once(options: Detect, sources: list[Source], model: Detector) -> int:
    """Return how many batches are computed at once; of a video file, whose frames are not counted yet, most of them."""
    batches = math.ceil(len(sources) / options.batch_size)
    video = any(source.moving and not source.live for source in sources)
    return model.workers if video else computed_at_once(batches, model.workers)


def _results(
    options: Detect, sources: list[Source], model: Detector, wanted: list[int] | None
) -> Generator[Result, None, None]:
    """Yield what is found in each image and frame, on the CPU."""

    def search(batch: Sequence[Given]) -> tuple[list[Found], Spent]:
        found, spent = model.find(batch, options.filter, wanted)
        start = time.perf_counter()
        found = [one.to("cpu") for one in found]
        copying = (time.perf_counter() - start) * 1e3 / len(found)
        return found, spent._replace(postprocess=spent.postprocess + copying)

    return results(sources, model.channels, search, workers=model.workers, batch_size=options.batch_size)
