"""`python -m yolo summary`: the layers, parameters and operations of a cfg, or of the network of a weights file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from yolo.darknet.cfg import Cfg, parse_cfg, read_cfg
from yolo.darknet.keys import Shape
from yolo.darknet.plan import IMAGE, LayerPlan, Plan, make_plan
from yolo.darknet.sections import Convolutional, HeadSection, Maxpool
from yolo.files.shown import one_line
from yolo.models.weights_of import BEST, OWN, file_of, weights_of
from yolo.options.commands import Summary
from yolo.size import Size


def run(options: Summary) -> None:
    """Print the layers of one network, or one line for each of several. Raises ValueError if one cannot be built."""
    files = [file for path in options.cfgs for file in _files(path)]
    if not files:
        raise ValueError(f"{', '.join(map(str, options.cfgs))}: no .cfg file found")
    if options.weights is not None and len(files) > 1:
        raise ValueError(f"--weights goes with one cfg, got {len(files)}")
    size = Size.parse(options.size) if options.size else None
    if len(files) == 1:
        cfg, weights = _network(files[0])
        print(table(make_plan(cfg, size)))
        if options.weights:
            weights = file_of(options.weights, "summary")
        if weights:
            _print_fit(cfg, weights)
        return
    failures = []
    for file in files:
        try:
            print(line(file, make_plan(_network(file)[0], size)))
        except ValueError as problem:
            failures.append(problem)
            print(f"{file.name}: not built: {problem}")
    if failures:
        raise ValueError(f"{len(failures)} of {len(files)} cfgs cannot be built")


def table(plan: Plan) -> str:
    """Return one line per layer: index, section, sources, output, parameters; then the totals and the heads."""
    rows = [f"{plan.cfg.file} at {plan.size}", "layer  section                   reads  output           parameters"]
    rows += [_row(layer) for layer in plan.layers]
    heads = [plan.layers[k] for k in plan.cfg.heads]
    rows.append(
        f"{plan.floats:,} parameters ({4 * plan.floats + 20:,} bytes as .weights), {plan.flops / 1e9:.3f} GFLOP"
    )
    rows += [f"head {s}: {_head(layer)}" for s, layer in enumerate(heads)]
    return "\n".join(rows)


def line(file: Path, plan: Plan) -> str:
    """Return file, input, layers, parameters, bytes, operations and grids of the heads in one line."""
    grids = ",".join(_grid(plan.layers[k].output) for k in plan.cfg.heads)
    return (
        f"{file.name:<32} {plan.size!s:>9} {len(plan.layers):>4} layers {plan.floats:>12} floats "
        f"{4 * plan.floats + 20:>12} bytes {plan.flops / 1e9:>8.3f} GFLOP  heads {grids}"
    )


def _files(path: Path) -> list[Path]:
    """Return the cfgs of a folder, or the path itself: a cfg or weights, such as the folder of a run."""
    return sorted(path.glob("*.cfg")) if path.is_dir() and not (path / BEST).is_file() else [path]


def _network(path: Path) -> tuple[Cfg, Path | None]:
    """Return the cfg that a path or name means, and its weights file if there is one; nothing is downloaded."""
    if path.suffix == ".cfg":
        return read_cfg(path), None
    file, cfg, _ = weights_of(path, names=(), use="summary")
    if cfg is not None:
        return cfg, file
    assert file is not None, "without a file there is a cfg"
    metadata = _metadata(file)
    if "cfg" not in metadata:
        raise ValueError(f"{file} holds a {metadata.get('model')}; summary is for darknet's networks")
    return parse_cfg(metadata["cfg"], f"{file}, cfg in its metadata"), file


def _metadata(file: Path) -> Mapping[str, str]:
    """Return the metadata of a file of this program. Imports torch, which the rest of the command does not need."""
    if file.suffix.lower() == ".onnx":
        from yolo.models.exported import exported_metadata

        return exported_metadata(file)
    from yolo.darknet.safetensors_file import read_metadata

    return read_metadata(file)


def _print_fit(cfg: Cfg, weights: Path) -> None:
    """Print which layers a weights file fills. Imports torch, which the rest of the command does not need."""
    from yolo.darknet.network import Darknet
    from yolo.darknet.safetensors_file import load_safetensors
    from yolo.darknet.weights import load_weights

    if weights.suffix.lower() in OWN:
        if weights.suffix.lower() == ".onnx":
            from yolo.models.exported import values_in

            metadata = _metadata(weights)
            own = parse_cfg(metadata["cfg"], f"{weights}, cfg in its metadata") if "cfg" in metadata else None
            found = values_in(weights, metadata)
            size, letterbox, names = (found[key] for key in ("size", "letterbox", "names"))
        else:
            saved = load_safetensors(weights)
            own, size, letterbox, names = saved.network.cfg, saved.size, saved.letterbox, saved.names
        if own != cfg:
            raise ValueError(f"{weights} was saved with another cfg than {cfg.file}; give {weights.name} alone")
        place = "letterboxed" if letterbox else "stretched"
        print(f"{weights}: complete, input {Size(*size)}, images {place}, classes {', '.join(map(one_line, names))}")
        return
    print(load_weights(Darknet(cfg, file_bytes=weights.stat().st_size, init=None), weights))


def _row(layer: LayerPlan) -> str:
    """Return the line of a layer. Its sources are named only if it does not read the layer before it alone."""
    section = layer.section
    detail = section.name
    if isinstance(section, Convolutional):
        groups = f"/{section.groups}" if section.groups > 1 else ""
        detail = f"conv {section.size}x{section.size}{groups} {section.activation}"
    elif isinstance(section, Maxpool):
        detail = f"maxpool {section.window}/{section.stride}"
    before = layer.sources == (layer.index - 1,) and layer.index > 0
    reads = "" if before else ",".join("image" if k == IMAGE else str(k) for k in layer.sources)
    output = f"{layer.output.w} x {layer.output.h} x {layer.output.c}"
    return f"{layer.index:>5}  {detail:<22} {reads:>8}  {output:<14} {layer.floats or '':>12}".rstrip()


def _head(layer: LayerPlan) -> str:
    """Return grid, stride, classes and anchors of a head."""
    section = layer.section
    assert isinstance(section, HeadSection)
    anchors = "  ".join(f"{w:g}x{h:g}" for w, h in section.pairs)
    unit = "cells" if section.IN_CELLS else "pixels"
    grid = f"{_grid(layer.output)} cells of {layer.stride[0]} pixels"
    return f"{grid}, {section.classes} classes, anchors {anchors} {unit}"


def _grid(shape: Shape) -> str:
    """Return the columns and rows of a grid; one number if they are equal."""
    return str(shape.h) if shape.h == shape.w else f"{shape.w}x{shape.h}"
