"""`python -m yolo convert`: weights from one file format to another."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from yolo.commands.certified import certificate_of, finish, images_of
from yolo.darknet.cfg import Cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import Saved, load_safetensors, save_safetensors
from yolo.darknet.weights import load_weights, save_weights
from yolo.files.atomic import replacing
from yolo.files.disk import need_room
from yolo.models.load import load_trained
from yolo.models.packages import needed
from yolo.models.placing import placing
from yolo.models.weights_of import OWN, file_of, weights_of
from yolo.names import class_names, read_names
from yolo.options.convert import Convert
from yolo.options.detection import Filter, ModelFiles


class Beside(NamedTuple):
    """A text file beside the weights: its `path` and `text`, what it means, and the function that reads this."""

    path: Path
    text: str
    content: object
    read: Callable[[Path], object]

    def is_there(self) -> bool:
        """Return whether an existing file means the same."""
        try:
            return self.path.is_file() and self.read(self.path) == self.content
        except ValueError:
            return False


def run(options: Convert) -> None:
    """Read the source, write the target, print both. Raises ValueError for options that do not fit the files.

    Raises FileExistsError for a file that exists, unless `options.force` is set. Whatever fails leaves nothing.
    """
    target = options.target
    ending, cutoff = _ending(target), options.cutoff
    if ending == ".conv":
        cutoff = int(target.suffix[1:])
        if options.cutoff not in (None, cutoff):
            raise ValueError(f"{target} is the name of a backbone of {cutoff} layers; got --cutoff {options.cutoff}")
    if cutoff is not None and ending in OWN:
        raise ValueError(f"--cutoff writes a darknet backbone; a {ending} file holds a whole network")
    if ending != ".onnx" and (given := _only_onnx(options)):
        raise ValueError(f"{', '.join(given)}: only for an .onnx target; leave it out, or name the target NAME.onnx")
    certificate = [certificate_of(target)] if options.after.data else []
    if (there := [path for path in (target, *certificate) if path.exists()]) and not options.force:
        raise FileExistsError(f"{there[0]} exists; --force replaces it")
    if ending == ".onnx":
        print(_export(options))
        return
    saved, lines = _read(options)
    network, names = saved.network, saved.names
    written = [target]
    size = 4 * sum(layer.floats for layer in network.plan.layers[:cutoff])
    need_room(target, size, target.name, "make room, or name a target elsewhere")
    if ending in OWN and not names and network.heads:
        names = class_names(None, network.heads[-1].classes)
    if ending == ".safetensors":
        save_safetensors(network, target, names, saved.header, size=saved.size, letterbox=saved.letterbox)
    else:
        with ExitStack() as whole:  # the files beside the target get their names after it is written
            written += _write_beside(saved, target, options.force, whole) if cutoff is None else []
            save_weights(network, target, saved.header, cutoff=cutoff)
    print("\n".join([*lines, *(f"{path}: {path.stat().st_size:,} bytes written" for path in written)]))


def _only_onnx(options: Convert) -> list[str]:
    """Return the options that were given and are about an .onnx target."""
    plain = Convert(source=options.source, target=options.target)
    names = ("size", "placement", "onnx_output", "onnx_input", "filter", "standard_nms")
    given = [name for name in names if getattr(options, name) != getattr(plain, name)]
    given += [name for name in ("int8", "certify") if getattr(options.after, name)]
    return ["thresholds" if name == "filter" else f"--{name.replace('_', '-')}" for name in given]


def _export(options: Convert) -> str:
    """Write any model as an ONNX file, and return what to print.

    Raises as `export_onnx`, and ImportError before any work is done.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        needed(package, "an .onnx target")
    from yolo.deploy.export import Contents, export_onnx, usage  # needs these packages

    contents = Contents(
        options.onnx_output or "detections", options.onnx_input, options.filter, standard_nms=options.standard_nms
    )
    if contents.output != "detections" and (options.standard_nms or options.filter != Filter()):
        raise ValueError(f"--onnx-output {contents.output} has no NMS: leave out thresholds and --standard-nms")
    if options.after.data and contents.output not in ("detections", "raw"):
        raise ValueError(f"--onnx-output {contents.output} is for other programs, so it is not measured here")
    file_of(options.source, "convert")  # refuses what holds no weights
    files = ModelFiles(
        weights=options.source,
        cfg=options.cfg,
        names=options.names,
        size=options.size,
        placement=options.placement,
        device="cpu",
    )
    detector = load_trained(files)
    # A wrong path is an error before any work.
    images = images_of(options.after, detector) if options.after.data else None
    weights = sum(value.nbytes for value in detector.network.state_dict().values())
    need_room(options.target, weights, options.target.name, "make room, or name a target elsewhere")
    with TemporaryDirectory() as folder:
        # What is measured gets its name with its certificate.
        written = Path(folder, options.target.name) if images else options.target
        if images:
            need_room(written, weights, "the file in float32", "make room, or set TMPDIR to another folder")
        try:
            agreement = export_onnx(detector, written, contents)
        except ValueError as problem:
            raise ValueError(str(problem).replace(str(written), str(options.target))) from None
        size = f"{written.stat().st_size:,} bytes{' in float32' if options.after.int8 else ' written'}"
        lines = [agreement, f"{options.target}: {size}", usage(detector, contents)]
        if images:
            lines.append(finish(written, options.target, options.after, detector, images))
        return "\n".join(lines)


def _ending(target: Path) -> str:
    """Return the kind of a target by its ending: .weights, .safetensors, .onnx, or .conv for a backbone.

    Raises ValueError for any other ending.
    """
    ending = target.suffix.lower()
    if re.search(r"\.conv\.[0-9]{1,6}$", target.name):
        return ".conv"
    if ending not in (".weights", ".safetensors", ".onnx"):
        raise ValueError(
            f"{target}: convert writes .weights, .safetensors and .onnx files, and backbones NAME.conv.N of N layers; "
            f"got {ending or 'no ending'}"
        )
    return ending


def _read(options: Convert) -> tuple[Saved, list[str]]:
    """Return the network of the source, its class names (empty if unknown), input and placement; and what was loaded,
    as lines."""
    source, cfg, names = weights_of(options.source, options.cfg, options.names, use="convert")
    assert source is not None, "only a summary does without"
    if cfg is None or source.suffix.lower() in OWN:
        if options.cfg is not None or options.names is not None:
            raise ValueError(f"{source} contains its cfg and names; leave out --cfg and --names")
        return load_safetensors(source), []
    network = Darknet(cfg, file_bytes=source.stat().st_size, init=None)
    report = load_weights(network, source)
    classes = class_names(names, network.heads[-1].classes) if names and network.heads else []
    return Saved(network, classes, report.header, network.size, placing(cfg, source).letterbox), [str(report)]


def _write_beside(saved: Saved, target: Path, force: bool, whole: ExitStack) -> list[Path]:
    """Write the cfg and the names that belong to a .weights file beside it, and return those that are written.

    They get their names when `whole` ends well. The cfg has the size of the input that the network was trained with,
    and `letter_box`. Existing files that say the same stay. Raises FileExistsError for others, unless `force` is set,
    and for folders.
    """
    cfg, names = darknet_cfg(saved), saved.names
    files = [Beside(target.with_suffix(".cfg"), cfg.to_text(), cfg, read_cfg)]
    if names:
        files.append(Beside(target.with_suffix(".names"), "".join(f"{name}\n" for name in names), names, read_names))
    new = [file for file in files if not file.is_there()]
    if there := [file.path for file in new if file.path.is_dir() or (file.path.exists() and not force)]:
        raise FileExistsError(f"{there[0]} exists, and {target} needs another one; --force replaces it")
    for file in new:
        whole.enter_context(replacing(file.path)).write_text(file.text, encoding="utf-8")
    return [file.path for file in new]


def darknet_cfg(saved: Saved) -> Cfg:
    """Return the cfg by which darknet detects as this program does: the trained size, and `letter_box`."""
    height, width = saved.size
    net = replace(saved.network.cfg.net, height=height, width=width, letter_box=int(saved.letterbox))
    return replace(saved.network.cfg, net=net)
