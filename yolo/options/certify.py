"""What happens to an exported file after it is written: 8 bits, a certificate. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from yolo.options.bounds import Checked


@dataclass(frozen=True, kw_only=True)
class Certify(Checked):
    """Whether an .onnx file is made smaller, and on what its cost is measured."""

    int8: bool = False
    """Make 8 bits of the convolutions of an .onnx target, but the first and the last ones. They are calibrated on the
    images of the split train of --data, else on the first others. What that costs is measured, as by --certify."""
    certify: bool = False
    """Measure on --data what an .onnx target costs against PyTorch: AP, with the interval of the difference, and the
    detections that are lost and won. It is printed and written as TARGET.certificate.json."""
    data: Path | None = None
    """Data set for --certify and --int8, as in `eval`."""
    split: str | None = None
    """Split of the data for the certificate; by default val."""
    limit: int | None = None
    """Use only the first N images of that split."""
    engine: Literal["onnxruntime", "openvino"] | None = None
    """What computes the file for the certificate: onnxruntime (the default) or OpenVINO."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of that engine; bf16 needs --engine openvino."""

    def __post_init__(self) -> None:
        super().__post_init__()
        measured = self.int8 or self.certify
        if measured and self.data is None:
            raise ValueError(f"--{'int8' if self.int8 else 'certify'} needs images: --data PATH")
        others = {"data": None, "split": None, "limit": None, "engine": None, "precision": "auto"}
        given = [f"--{name}" for name, usual in others.items() if getattr(self, name) != usual]
        if given and not measured:
            raise ValueError(f"{', '.join(given)} without effect: only for --certify and --int8")
