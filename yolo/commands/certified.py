"""The end of `python -m yolo convert ... X.onnx`: 8 bits if asked for, and what the file costs on a data set."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import NamedTuple

from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.data.split_names import meant
from yolo.files.atomic import replacing
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


def finish(written: Path, target: Path, options: Certify, detector: Detector, images: Images) -> str:
    """Make the target of the `written` file, in 8 bits if asked for, with its certificate, and return what to print.

    Both files get their names together. Raises as `quantise`; older ones stay then.
    """
    from yolo.deploy.certificate import certify  # needs packages of an extra
    from yolo.deploy.int8 import quantise

    lines = []
    with replacing(certificate_of(target)) as page, replacing(target) as made, TemporaryDirectory() as folder:
        if images.calibration is not None:
            small = Path(folder, "int8.onnx")
            count = quantise(written, small, images.calibration)
            part = images.calibration.part
            split = f", {part.split}" if part else ""
            size = f"{small.stat().st_size:,} bytes"
            lines.append(f"{target}: {size} in 8 bits, calibrated on {count} images of {options.data}{split}")
            written = small
        copyfile(written, made)
        exported = load_exported(made, detector.names, engine=options.engine, precision=options.precision)
        assert isinstance(exported, (ExportedDetector, RawDetector)), "`Certify` makes sure of it"
        certificate = certify(detector, exported, images.compared, str(options.data))
        certificate.content["file"]["path"] = str(target)
        certificate.write(page)
    lines += ["", certificate.page(), "", f"written to {certificate_of(target)}"]
    return "\n".join(lines)
