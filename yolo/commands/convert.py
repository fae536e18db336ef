"""`python -m yolo convert`: weights from one file format to another."""

from __future__ import annotations

from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.onnx_file import export_onnx
from yolo.darknet.safetensors_file import load_safetensors, save_safetensors
from yolo.darknet.weights import Header, load_weights, save_weights
from yolo.names import class_names
from yolo.options.commands import Convert
from yolo.size import Size


def run(options: Convert) -> None:
    """Read the source, print its content, write the target. Raises ValueError for options that do not fit the files."""
    if options.cutoff is not None and options.target.suffix in (".safetensors", ".onnx"):
        raise ValueError(f"--cutoff writes a darknet backbone; a {options.target.suffix} file holds a whole network")
    if options.size and options.target.suffix != ".onnx":
        raise ValueError("--size needs an .onnx target; weights fit any size")
    network, names, header = _read(options)
    if options.target.suffix == ".safetensors":
        if not names and network.heads:
            names = class_names(options.names, network.heads[-1].classes)
        save_safetensors(network, options.target, names, header)
    elif options.target.suffix == ".onnx":
        size = Size.parse(options.size) if options.size else network.size
        difference = export_onnx(network, options.target, size)
        print(f"input {size}, output raw predictions; onnxruntime differs from PyTorch by {difference:.1e}")
    else:
        save_weights(network, options.target, header, cutoff=options.cutoff)
    print(f"{options.target}: {options.target.stat().st_size:,} bytes written")


def _read(options: Convert) -> tuple[Darknet, list[str], Header]:
    """Return the network of the source, its class names (empty if the file has none), and its header."""
    if options.source.suffix == ".safetensors":
        if options.cfg is not None or options.names is not None:
            raise ValueError(f"{options.source} contains its cfg and names; leave out --cfg and --names")
        return load_safetensors(options.source)[:3]
    if options.cfg is None:
        raise ValueError(f"{options.source} does not contain its network; give --cfg FILE.cfg")
    file_bytes = options.source.stat().st_size if options.source.is_file() else 0
    network = Darknet(read_cfg(options.cfg), file_bytes=file_bytes, init=None)
    report = load_weights(network, options.source)
    print(report)
    return network, [], report.header
