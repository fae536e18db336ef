"""The arithmetic of training: float32, bfloat16 or float16."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

Arithmetic = Callable[[], AbstractContextManager[None]]
"""Returns a context manager; the network computes in its arithmetic within the block."""


def training_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype for `auto`, `fp32`, `bf16` or `fp16`; `auto` is bfloat16 where the device multiplies it faster.

    The weights stay float32, so that small updates add up over many steps; only the inputs of convolutions are rounded.
    Raises ValueError for float16 on a CPU, which has no fast way to multiply it.
    """
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 on a CPU: expected bf16 or fp32; float16 is for GPUs")
    if name == "auto":
        name = "bf16" if _fast_bfloat16(device) else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Return a context manager: within its block PyTorch computes in `dtype` where that is safe. float32: no effect."""
    reduced = dtype != torch.float32
    return torch.autocast(device.type, dtype if reduced else None, enabled=reduced)


def _fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device is an Ampere or later GPU, or an x86 CPU with AVX512_BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Private functions of PyTorch: a version without them counts as a CPU without fast bfloat16.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(supported() for supported in checks if supported is not None)


def be_deterministic(on: bool, warn_only: bool = False) -> None:
    """Make PyTorch choose deterministic algorithms, or not. Even "not" imports torch.compile, which takes a second."""
    if (on, warn_only) != (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    ):
        torch.use_deterministic_algorithms(on, warn_only=warn_only)
