"""`python -m yolo detect`: find objects in images and videos."""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from yolo.commands.detect_lines import FusedTimes, Missing, Times, VideoLines, image_lines, median
from yolo.commands.drawing import Drawing
from yolo.commands.result_files import OutputName, ResultFiles, ids_differ, inputs, targets
from yolo.darknet.cfg import read_cfg
from yolo.download.weights import WEIGHTS, official_weights
from yolo.files.disk import FULL
from yolo.images.draw import draw
from yolo.images.inputs import Given
from yolo.images.sources import Shot, Source, counted, find_sources
from yolo.models.detector import Detector
from yolo.models.found import Found
from yolo.models.in_order import computed_at_once, share_of_threads
from yolo.models.load import load_trained
from yolo.models.results import Result, Spent, results
from yolo.names import chosen
from yolo.options.commands import Detect
from yolo.training.run_folder import newest_run, next_folder

NOT_WRITTEN = "not written"


def run(options: Detect) -> int:
    """Detect in all sources. Returns 1 if results of one of them are missing, else 0.

    A source that cannot be read, or not to its end, and one whose results cannot be written are named, and detection
    continues with the next one. Raises ValueError or OSError for wrong options, and OSError if no more results can be
    written. Whatever ends the call, what was found so far is in whole files, and the last line says what is missing.
    """
    if not options.sources:
        raise ValueError("no source; give images, videos, folders, globs or camera numbers")
    with _errors_only() if options.quiet else nullcontext():
        note = _nothing if options.quiet else partial(print, file=sys.stderr)
        sources = find_sources(options.sources, recursive=options.recursive, tell=note)
        model = _model(options)
        wanted = chosen(options.classes, model.names) if options.classes else None
        folder, missing = options.out or next_folder(name="detect"), Missing(sources)
        try:
            _run(options, folder, sources, model, wanted, missing)
        except BrokenPipeError:  # of what is printed
            raise
        except (KeyboardInterrupt, SystemExit) as stop:  # as a camera is ended; SIGTERM, SIGHUP
            status = 130 if isinstance(stop, KeyboardInterrupt) else int(str(stop))
            what = "interrupted" if status == 130 else f"ended by {signal.Signals(status - 128).name}"
            print("; ".join(filter(None, (what, missing.line(folder)))), file=sys.stderr)
            return status
        except OSError as problem:  # of the results only: a source that cannot be read raises nothing
            what = "; ".join(filter(None, (f"results cannot be written: {problem}", missing.line(folder))))
            raise OSError(f"{folder}: {what}") from problem
        except Exception:
            if line := missing.line(folder):
                print(line, file=sys.stderr)
            raise
        if line := missing.line(folder):
            print(line, file=sys.stderr)
        return int(bool(line))


def _run(
    options: Detect, folder: Path, sources: list[Source], model: Detector, wanted: list[int] | None, missing: Missing
) -> None:
    """Detect in all sources, print and write what is found, and count in `missing` what is not."""
    names = targets(sources, folder)
    name_of = dict(zip(sources, names, strict=True))
    at_once = _at_once(options, sources, model)
    start, call = time.perf_counter(), _Call(options, model, missing)
    try:
        with _files(options, folder, sources, model) as call.files, _bar(options, sources) as bar:
            call.warn = partial(bar.write, file=sys.stderr)
            if not options.quiet:
                call.say, call.note = partial(bar.write, file=sys.stdout), cache(call.warn)  # each note once
            with share_of_threads(at_once):
                _warm_up(model, options)
            start = time.perf_counter()
            missing.begun = True
            with closing(_results(options, sources, model, wanted)) as made:
                for source, shots in groupby(made, key=lambda result: result.source):
                    call.finish(source, name_of[source], shots)
                    bar.update()
    finally:
        if call.times and not options.quiet and not isinstance(sys.exception(), BrokenPipeError):
            together = f", {at_once} at once" * (at_once > 1)
            rate = f"{call.done / (time.perf_counter() - start):.1f} images/s{together}"
            placed = f"input {model.size} {'letterbox' if model.letterbox else 'stretch'}"
            drawn = f"drawn: {names[0][1]}" if len(sources) == 1 else f"drawn in {folder}"
            written = drawn if options.draw else f"results in {folder}"
            print(f"{counted(call.done, 'image')}, median {median(call.times)}; {rate}; {placed}; {written}")


class _Call:
    """The part of a call that is about one source after the other; without lines until `say`, `note`, `warn` are set.

    `times` and `done` are those of the images so far.
    """

    files: ResultFiles

    def __init__(self, options: Detect, model: Detector, missing: Missing) -> None:
        self.options, self.model, self.missing = options, model, missing
        self.say: Callable[[str], object] = _nothing
        self.note = self.warn = self.say
        self.times, self.done = deque[Times](maxlen=10_000), 0

    def finish(self, source: Source, name: OutputName, shots: Iterable[Result]) -> None:
        """Print and write what is found in a source, and count it in `missing` if its results are not complete.

        Raises OSError if no more results can be written, or not those of a camera.
        """
        why = ""
        try:
            with (
                VideoLines(source, self.model.names, self.say) as video,
                Drawing(self.files, name.drawing, self.note) as drawing,
            ):
                for _, shot, found, spent in shots:
                    if found is None or shot.pixels is None:
                        self.warn(f"not read{' to its end' * bool(video.frames)}: {shot.error}")
                        why = "not read"
                        continue
                    self.times.append((FusedTimes if self.model.fused else Times)(*spent))
                    self.done += 1
                    # A file that cannot be written loses neither the other images nor other frames.
                    try:
                        self._write(source, name.stem, shot, found, drawing)
                    except OSError as problem:
                        why = self._unwritten(source, problem, known=why)
                        continue
                    # Printed last: a line means that the results of its image are written.
                    if source.moving:
                        video.add(shot, found)
                    else:
                        self.missing.add(source)
                        self.say(image_lines(shot, found, self.model.names, self.times[-1]))
        except BrokenPipeError:
            raise
        except OSError as problem:  # of the video file
            why = self._unwritten(source, problem, known=why)
        self.missing.add(source, why)

    def _write(self, source: Source, stem: str, shot: Shot, found: Found, drawing: Drawing) -> None:
        """Write what is found in one image or frame."""
        assert shot.pixels is not None, "the caller makes sure of it"
        own = f"{stem}/{shot.name.rpartition('#')[2]}" if source.moving else stem
        self.files.add(shot.name, own, shot.pixels, found, None if source.moving else source.path)
        # Written again for each frame skipped before it, so the video is as long as the stream.
        if self.options.draw:
            drawing.write(draw(shot.pixels, found, self.model.names), shot.rate, 1 + shot.skipped)

    def _unwritten(self, source: Source, problem: OSError, known: str) -> str:
        """Return why the results of a source are not complete, and print it once. Raises what ends the whole call."""
        if problem.errno in FULL or source.live or isinstance(problem, BrokenPipeError):
            raise problem
        self.files.tidies = False
        if known != NOT_WRITTEN:
            self.warn(f"{NOT_WRITTEN}: results of {source.path or source.name}: {problem}")
        return NOT_WRITTEN


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
