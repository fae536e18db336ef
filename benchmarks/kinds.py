"""What a training step does, by kind of work: time, calls, bytes and operations of every operator that PyTorch runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

KINDS = {
    "convolution, forward": ("convolution",),
    "convolution, backward": ("convolution_backward", "mm"),
    "batch norm, forward": ("native_batch_norm",),
    "batch norm, backward": ("native_batch_norm_backward",),
    "leaky, forward": ("leaky_relu_", "leaky_relu"),
    "leaky, backward": ("leaky_relu_backward",),
    "pooling, forward": ("max_pool2d_with_indices",),
    "pooling, backward": ("max_pool2d_with_indices_backward",),
    "upsampling": ("upsample_nearest2d", "upsample_nearest2d_backward"),
    "concatenation": ("cat",),
    "copies, casts, padding": ("_to_copy", "copy_", "clone", "constant_pad_nd"),
    "zeroing": ("zeros", "zeros_like", "zero_", "new_zeros"),
    "norm of the gradient": ("_foreach_norm", "linalg_vector_norm"),
    "optimizer": ("_fused_sgd_", "_fused_adam_", "_fused_adamw_"),
    "average of the weights": ("_foreach_lerp_",),
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
MAPS, REST = "sums of feature maps", "all other operators"
PYTHON = "Python and autograd"

FASTER = 8
"""How many times faster the convolutions of the last column are: about AMX in bfloat16 beside AVX2 in float32."""


class Counting(TorchDispatchMode):
    """Counts the operators in its block, forward and backward.

    `kinds` has seconds, calls, bytes and operations by kind. Bytes are those that an operator has to read and write,
    each tensor once; batch norm for example reads its input once more for each statistic. Operations are counted for
    convolutions and products of matrices, 2 for a multiplication and its addition.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, list[float]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        start = time.perf_counter()
        out = func(*args, **kwargs)
        seconds = time.perf_counter() - start
        name = func.overloadpacket.__name__
        first = next(_tensors(out), None)
        of_maps = name in ("add", "add_") and first is not None and first.ndim == 4
        count = flop_registry.get(func.overloadpacket)
        flops = count(*args, **kwargs, out_val=out) if count else 0
        numbers = (seconds, 1, moved(func._schema, args, kwargs, out), flops)
        total = self.kinds.setdefault(MAPS if of_maps else KIND_OF.get(name, REST), [0.0] * 4)
        total[:] = [sum(pair) for pair in zip(total, numbers, strict=True)]
        return out


def moved(schema: Any, args: Any, kwargs: Mapping[str, Any], out: Any) -> int:
    """Return the bytes that a call of this schema reads and writes; 0 for a view."""
    written = [a.alias_info is not None and a.alias_info.is_write for a in schema.arguments]
    if not any(written) and any(r.alias_info for r in schema.returns):
        return 0
    given = [*args, *(kwargs.get(a.name) for a in schema.arguments[len(args) :])]
    total = sum(_bytes(value) * (1 + write) for value, write in zip(given, written, strict=True))
    # What comes back is new, unless it is an argument that was written.
    outs = out if isinstance(out, tuple | list) and len(schema.returns) > 1 else [out]
    return total + sum(_bytes(v) for v, r in zip(outs, schema.returns, strict=False) if r.alias_info is None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _bytes(value: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(value))


def print_kinds(kinds: Mapping[str, list[float]], steps: int, step_seconds: float) -> None:
    """Print a table of kinds, which were counted over `steps` steps; one takes `step_seconds` when nothing is counted.

    What the operators do not explain is Python and PyTorch's autograd. Counting makes small operators slower.
    """
    rows = {kind: [value / steps for value in values] for kind, values in kinds.items()}
    rows[PYTHON] = [max(0.0, step_seconds - sum(row[0] for row in rows.values())), 0, 0, 0]
    total = sum(row[0] for row in rows.values())
    quick = {kind: row[0] / (FASTER if kind.startswith("convolution") else 1) for kind, row in rows.items()}
    print(
        f"one step {1e3 * step_seconds:.0f} ms, torch.float32 weights; the last column: convolutions {FASTER}x faster"
    )
    print(f"{'':<24}      ms  share   calls      GB   GB/s   GFLOP GFLOP/s  share {FASTER}x")
    for kind, (seconds, calls, size, flops) in sorted(rows.items(), key=lambda item: -item[1][0]):
        rates = f"{size / 1e9:7.3f} {size / 1e9 / seconds if seconds else 0:6.1f} "
        rates += f"{flops / 1e9:7.3f} {flops / 1e9 / seconds:7.0f}" if flops else " " * 15
        share = quick[kind] / sum(quick.values())
        print(f"{kind:<24} {1e3 * seconds:7.1f} {seconds / total:6.1%} {calls:7.0f} {rates} {share:8.1%}")
