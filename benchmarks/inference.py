"""One forward pass of the same network: ours beside plain PyTorch, OpenCV's dnn, onnxruntime and OpenVINO.

    python benchmarks/inference.py [--cfg yolov3.cfg yolov3-tiny.cfg] [--size 416] [--peers PYTHON] [--rounds 10]
    python benchmarks/inference.py --before CLONE     # with the code of another clone as further contenders

PYTHON is the interpreter of an environment with opencv-python-headless<5 (OpenCV 5 no longer reads darknet files),
onnxruntime, openvino and numpy, without torch. A competitor that is missing there is left out; without `--peers` all
are. The ONNX file for two of them is written by `yolo.darknet.onnx_file`, which needs the extra `onnx` here.

All contenders read one .weights file of random weights (He, residual branches times 0.3, so that activations stay
finite). Each is a process of its own with `--threads` threads. It computes the raw predictions of all heads from a
float image, without decoding. Contenders take turns; a turn is one forward pass that does not count, then `--forwards`
that do.

Milliseconds are minimum, median, maximum; ratios and GFLOP/s are those of the minimum. `peak MB` is the resident memory
of the whole process; for fp32 and bf16 it is that of a detector that `yolo.load` returned. `ours / peer` are times of
the same precision. The limit is what one large convolution alone would need for all operations, and one large copy for
the bytes that the layers between the convolutions have to read and write. The last column compares the outputs with
plain PyTorch's. The bf16 rows are left out on a processor without bf16.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from measure import Figures, Worker, clock, peak_memory, race

if TYPE_CHECKING:  # competitors have no torch
    from yolo.darknet.network import Darknet

OURS = ("plain", "fp32", "bf16")
BEFORE = ("before fp32", "before bf16")
PEERS = ("opencv", "onnxruntime", "openvino fp32", "openvino bf16")
Forward = Callable[[], list[np.ndarray]]


def random_network(cfg: str, size: int) -> Darknet:
    """Return the network of a cfg, for another input size, with random weights that keep activations finite."""
    import torch

    from yolo.darknet.cfg import parse_cfg, read_cfg
    from yolo.darknet.layers import Add
    from yolo.darknet.network import Darknet

    net = read_cfg(cfg).net
    text = read_cfg(cfg).to_text()
    for key, value in (("width", net.width), ("height", net.height)):
        text = text.replace(f"{key}={value}", f"{key}={size}", 1)
    torch.manual_seed(0)
    network = Darknet(parse_cfg(text, cfg))
    layers: Any = network.layers
    with torch.no_grad():
        for k, layer in enumerate(layers):
            if isinstance(layer, Add):
                layers[k - 1].bn.weight.mul_(0.3)
    return network


def write_network(cfg: str, size: int, folder: Path) -> tuple[float, bool]:
    """Write net.cfg, net.weights, image.npy and, if possible, net.onnx; return GFLOP and whether net.onnx is there."""
    import torch

    from yolo.darknet.weights import save_weights
    from yolo.models.packages import needed
    from yolo.models.yolo import YoloDetector

    network = random_network(cfg, size)
    (folder / "net.cfg").write_text(network.cfg.to_text())
    save_weights(network, folder / "net.weights")
    np.save(folder / "image.npy", torch.rand(1, network.cfg.net.channels, size, size).numpy())
    try:
        onnx, tools = (needed(name, "this contender") for name in ("onnx", "onnxruntime.tools.onnx_model_utils"))
        from yolo.deploy.export import Contents, export_onnx

        names = [f"class {k}" for k in range(network.heads[-1].classes)]
        export_onnx(YoloDetector(network, names), folder / "net.onnx", Contents("raw"))
        model = onnx.load(folder / "net.onnx")
        tools.make_dim_param_fixed(model.graph, "B", 1)  # all contenders know that there is one image
        onnx.save(model, folder / "net.onnx")
    except ImportError as error:
        print(f"without onnxruntime and OpenVINO: {error}")
        return network.plan.flops / 1e9, False
    return network.plan.flops / 1e9, True


def ours(kind: str, folder: Path, image: np.ndarray, threads: int) -> tuple[str, Forward]:
    """Return version and forward pass of ours, through a detector; `plain` is its training network."""
    import torch

    import yolo
    from yolo.models.yolo import YoloDetector

    torch.set_num_threads(threads)
    precision = "bf16" if kind == "bf16" else "fp32"
    detector = yolo.load(folder / "net.cfg", folder / "net.weights", device="cpu", precision=precision)
    assert isinstance(detector, YoloDetector)
    model = detector.network.eval() if kind == "plain" else detector.predict
    x = torch.from_numpy(image)

    def forward() -> list[np.ndarray]:
        with torch.inference_mode():
            return [raw.numpy() for raw in model(x)]

    return f"torch {torch.__version__}", forward


def limit(cfg: str, size: int, precision: str, threads: int) -> tuple[float, str]:
    """Return the limit of one forward pass in milliseconds, and what it is made of."""
    import torch

    from yolo.darknet.cfg import read_cfg
    from yolo.darknet.plan import make_plan
    from yolo.darknet.sections import Convolutional, HeadSection

    torch.set_num_threads(threads)
    plan, dtype = make_plan(read_cfg(cfg), (size, size)), torch.bfloat16 if precision == "bf16" else torch.float32
    between = [layer for layer in plan.layers if not isinstance(layer.section, Convolutional | HeadSection)]
    values = sum(math.prod(shape) for layer in between for shape in (*layer.inputs, layer.output) if not alias(layer))
    rate, copied = best_rate(dtype), best_copy()
    parts = plan.flops / rate / 1e6, values * dtype.itemsize / copied / 1e6
    return sum(parts), (
        f"{parts[0]:.2f} ms for {plan.flops / 1e9:.2f} GFLOP at {rate:.0f} GFLOP/s, {parts[1]:.2f} ms for "
        f"{values * dtype.itemsize / 1e6:.0f} MB at {copied:.1f} GB/s"
    )


def alias(layer: Any) -> bool:
    """Return whether a planned layer moves nothing: a route of one whole source."""
    return len(layer.inputs) == 1 and layer.inputs[0] == layer.output and layer.section.name == "route"


def best_copy() -> float:
    """Return the GB/s, read and written, of a copy of 8 MB, the fastest of 60."""
    import torch

    source = torch.ones(2_000_000)
    target = torch.empty_like(source)
    return 2 * source.nbytes / 1e9 / min(clock(lambda: target.copy_(source)) for _ in range(60))


def best_rate(dtype: Any) -> float:
    """Return the GFLOP/s of one large convolution by our path (256 to 512 channels, 3x3, 26x26), the fastest of 60."""
    import torch

    from yolo.darknet.cfg import parse_cfg
    from yolo.darknet.inference import inference_copy
    from yolo.darknet.network import Darknet

    layer = "[convolutional]\nfilters=512\nsize=3\npad=1\nactivation=leaky\n"
    network = inference_copy(Darknet(parse_cfg(f"[net]\nwidth=26\nheight=26\nchannels=256\n{layer}", "best")), dtype)
    x = torch.rand(1, 256, 26, 26, dtype=dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        seconds = [clock(lambda: network(x)) for _ in range(60)]
    return network.plan.flops / 1e9 / min(seconds)


def opencv(folder: Path, image: np.ndarray, threads: int) -> tuple[str, Forward]:
    """Return version and forward pass, up to the convolutions before the region layers, which would decode."""
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromDarknet(str(folder / "net.cfg"), str(folder / "net.weights"))
    heads = [int(name.removeprefix("yolo_")) for name in net.getLayerNames() if name.startswith("yolo_")]
    names = [f"conv_{k - 1}" for k in heads]

    def forward() -> list[np.ndarray]:
        net.setInput(image)
        return list(net.forward(names))

    return f"cv2 {cv2.__version__}", forward


def onnxruntime(folder: Path, image: np.ndarray, threads: int) -> tuple[str, Forward]:
    """Return version and forward pass."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it would report to Microsoft
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(folder / "net.onnx"), options, providers=["CPUExecutionProvider"])
    return f"onnxruntime {ort.__version__}", lambda: session.run(None, {"images": image})


def openvino(folder: Path, image: np.ndarray, threads: int, hint: str) -> tuple[str, Forward]:
    """Return version and forward pass; `hint` is its precision, f32 or bf16."""
    sys.modules["openvino_telemetry"] = cast("Any", None)  # it would report to Google Analytics
    ov = importlib.import_module("openvino")
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    model = ov.Core().compile_model(str(folder / "net.onnx"), "CPU", settings)
    request = model.create_infer_request()

    def forward() -> list[np.ndarray]:
        request.infer([image])
        return [request.get_output_tensor(k).data for k in range(len(model.outputs))]

    return f"openvino {ov.__version__.partition('-')[0]}", forward


def work(kind: str, folder: Path, threads: int) -> None:
    """Run a contender: print when it is ready, then answer each number n on stdin with the times of n forwards."""
    image = np.load(folder / "image.npy")
    if kind in OURS:
        version, forward = ours(kind, folder, image, threads)
    elif kind == "opencv":
        version, forward = opencv(folder, image, threads)
    elif kind == "onnxruntime":
        version, forward = onnxruntime(folder, image, threads)
    else:
        version, forward = openvino(folder, image, threads, "f32" if kind.endswith("fp32") else "bf16")
    np.savez(folder / f"{kind}.npz", *forward())
    for _ in range(2):
        forward()
    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        forward()
        times = [1e3 * clock(forward) for _ in range(int(line))]
        print(json.dumps({"times": times, "rss": peak_memory()}), flush=True)


class Contender:
    """A worker process with its version, memory and outputs."""

    def __init__(self, kind: str, python: str, folder: Path, threads: int, script: str) -> None:
        self.kind, self.folder = kind, folder
        named = kind.removeprefix("before ")
        command = [python, script, "--worker", named, "--folder", str(folder), "--threads", str(threads)]
        self.worker = Worker(command, folder / f"{kind}.log")
        (folder / f"{named}.npz").rename(folder / f"{kind}.npz")
        self.version = self.worker.ready["version"]
        self.rss = 0.0

    def turn(self, forwards: int) -> list[float]:
        """Return the milliseconds of n forward passes; the other contenders wait meanwhile."""
        answer = self.worker.ask(str(forwards))
        self.rss = answer["rss"]
        times: list[float] = answer["times"]
        return times

    def outputs(self) -> list[np.ndarray]:
        """Return the raw predictions of every head, flattened in the order `[A, 5 + C, H, W]`, smallest grid first."""
        arrays = np.load(self.folder / f"{self.kind}.npz")
        heads = [arrays[name] for name in arrays.files]
        heads = [np.moveaxis(head, -1, 2) if head.ndim == 5 else head for head in heads]
        return sorted((head.ravel() for head in heads), key=len)


def compare(cfg: str, arguments: argparse.Namespace) -> None:
    """Race all contenders on one cfg and print its table."""
    import torch

    from yolo.training.precision import training_precision

    has_bf16 = training_precision("auto", torch.device("cpu")) == torch.bfloat16
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gflop, has_onnx = write_network(cfg, arguments.size, folder)
        peers = [kind for kind in PEERS if arguments.peers and (has_onnx or kind == "opencv")]
        contenders = []
        try:
            for kind in (*(BEFORE if arguments.before else ()), *OURS, *peers):
                if "bf16" in kind and not has_bf16:
                    print(f"left out: {kind}: this processor has no bf16")
                    continue
                try:
                    python = arguments.peers if kind in peers else sys.executable
                    # Another clone is measured by its own script.
                    script = str(arguments.before / "benchmarks" / "inference.py") if kind in BEFORE else __file__
                    contenders.append(Contender(kind, python, folder, arguments.threads, script))
                except RuntimeError as error:
                    print(f"left out: {kind}: {error}")
            turns = {contender.kind: partial(contender.turn, arguments.forwards) for contender in contenders}
            times = race(turns, arguments.rounds)
            print(f"\n{cfg} at {arguments.size}, batch 1, {gflop:.2f} GFLOP, {arguments.threads} threads")
            report(contenders, times, gflop)
            for precision in sorted({"fp32", "bf16"} & times.keys(), reverse=True):
                print(against_peers(precision, times))
                least, parts = limit(cfg, arguments.size, precision, arguments.threads)
                share = least / min(times[precision].values)
                print(f"{precision}: {share:.0%} of the limit, {least:.2f} ms: {parts}")
        finally:
            for contender in contenders:
                contender.worker.close()


def report(contenders: list[Contender], times: dict[str, Figures], gflop: float) -> None:
    """Print times, rates of the minima, memory, and the difference of the outputs to plain PyTorch's."""
    expected = next(contender for contender in contenders if contender.kind == "plain").outputs()
    print("contender            min   median      max ms | GFLOP/s | peak MB | rms difference / std")
    for contender in contenders:
        own = min(times[contender.kind].values)
        different = max(
            float(np.sqrt(np.mean((a - b) ** 2)) / b.std()) for a, b in zip(contender.outputs(), expected, strict=True)
        )
        rest = f"{gflop / own * 1e3:7.0f} | {contender.rss:7.0f} | {different:.1e}   {contender.version}"
        print(f"{contender.kind:<15} {times[contender.kind].spread()}    | {rest}")


def against_peers(precision: str, times: dict[str, Figures]) -> str:
    """Return the ratios of our times to those of every peer, of the minima and of the medians turn by turn."""
    own, words = times[precision], []
    for kind in ("plain", *BEFORE, *PEERS):
        if kind in times and (kind.endswith(precision) or (kind not in BEFORE and "bf16" not in kind)):
            ratios = f"{min(own.values) / min(times[kind].values):.2f} ({statistics.median(own.over(times[kind])):.2f})"
            words.append(f"{ratios} {kind}")
    return f"{precision}: ours / peer, minima (medians): {', '.join(words)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", nargs="+", default=["yolov3.cfg", "yolov3-tiny.cfg"])
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--forwards", type=int, default=3)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with the competitors")
    parser.add_argument("--before", type=Path, help="another clone of this repository")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.folder, arguments.threads)
        return
    print(f"{platform.machine()}, Python {platform.python_version()}")
    for cfg in arguments.cfg:
        compare(cfg, arguments)


if __name__ == "__main__":
    main()
