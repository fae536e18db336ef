"""The end of `python -m yolo convert ... X.onnx`: 8 bits if asked for, and what the file costs on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.data.split_names import meant
from yolo.models.detector import Detector
from yolo.models.exported import ExportedDetector, RawDetector, load_exported
from yolo.options.convert import Certify
from yolo.training.sets import viewed


class Images(NamedTuple):
    """The images to calibrate on, None without --int8, and those to compare on."""

    calibration: ImageDataset | None
    compared: ImageDataset


def images_of(options: Certify, detector: Detector) -> Images:
    """Open the data: those of the split, by default val, and for --int8 those of train, else the same ones.

    Raises as `open_data`.
    """
    assert options.data is not None, "`Certify` makes sure of it"
    there = splits(options.data)
    split = options.split or ("val" if meant(there, "val") else None)
    compared = open_data(options.data, split=split, limit=options.limit, decode=True)
    calibration = None
    if options.int8:
        own = "train" if meant(there, "train") else split
        calibration = open_data(options.data, split=own, decode=own == split, quiet=True)
    if detector.options:
        (compared,) = viewed((compared,), detector.options)
    return Images(calibration, compared)


def certificate_of(target: Path) -> Path:
    """Return the path of the certificate of an exported file."""
    return target.with_name(f"{target.name.removesuffix('.onnx')}.certificate.json")


def finish(written: Path, target: Path, options: Certify, detector: Detector, images: Images) -> None:
    """Make 8 bits of the `written` file if asked for, compare the target with the detector, print and write that.

    Without 8 bits the written file is the target. Raises as `quantise`; an older target stays then.
    """
    from yolo.deploy.certificate import certify  # needs packages of an extra
    from yolo.deploy.int8 import quantise

    if images.calibration is not None:
        count = quantise(written, target, images.calibration)
        part = images.calibration.part
        split = f", {part.split}" if part else ""
        size = f"{target.stat().st_size:,} bytes"
        print(f"{target}: {size} in 8 bits, calibrated on {count} images of {options.data}{split}")
    exported = load_exported(target, detector.names, engine=options.engine, precision=options.precision)
    assert isinstance(exported, (ExportedDetector, RawDetector)), "`Certify` makes sure of it"
    certificate = certify(detector, exported, images.compared, str(options.data))
    print(f"\n{certificate.page()}\n\nwritten to {certificate.write(certificate_of(target))}")
