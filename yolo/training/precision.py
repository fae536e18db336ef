"""In which arithmetic a network trains."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def training_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype for `auto`, `fp32`, `bf16` or `fp16`; `auto` is bfloat16 where the device multiplies it faster.

    The weights stay float32, so what one step rounds away is not lost over many; the inputs of convolutions are
    rounded. ValueError for float16 on a CPU, which has no fast way to multiply it.
    """
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 on a CPU: expected bf16 or fp32; float16 is for GPUs")
    if name == "auto":
        name = "bf16" if _fast_bfloat16(device) else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """The block computes in this arithmetic where that is safe; float32 leaves all as it is."""
    reduced = dtype != torch.float32
    return torch.autocast(device.type, dtype if reduced else None, enabled=reduced)


def _fast_bfloat16(device: torch.device) -> bool:
    """Ampere and later GPUs; x86 CPUs with AVX512_BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(ask() for ask in known if ask is not None)
