"""A GPU without values: tensors on the device "cuda" of a machine that has none, where whatever would wait is an error.

`FakeTensorMode` knows shapes, dtypes and devices. So an operation that needs a value on the host (`item`, `nonzero`, a
boolean mask) raises, and so does one that mixes devices. Copies between host and device have to be `non_blocking`;
`Strict` adds that. PyTorch's autograd engine refuses a device that is not there, so `backward` walks the graph itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)

HOST = torch.device("cpu")

COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class WaitsError(Exception):
    """A copy between host and device that waits for it."""


class Strict(TorchDispatchMode):
    """Within `nothing_waits`, refuses copies between host and device that wait, and counts the device's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()
        self.on = False

    @contextmanager
    def nothing_waits(self) -> Iterator[None]:
        """Within the block a copy that waits is an error, and operations on the device are counted by name."""
        self.on = True
        try:
            yield
        finally:
            self.on = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_fused_" in str(func):  # has no rule for shapes and needs none: it changes parameters in place
            self.counts[str(func)] += 1
            places = {tensor.device for tensor in _tensors((args, kwargs))}
            assert places == {GPU}, f"{func} of tensors on {places}"
            return None
        found = func(*args, **(kwargs or {}))
        if not self.on:
            return found
        if any(tensor.is_cuda for tensor in _tensors(found)) and not (func.is_view or func.namespace == "prim"):
            self.counts[str(func)] += 1
        if func in COPIES:
            source = args[1] if func is COPIES[1] else args[0]
            waiting = not ((kwargs or {}).get("non_blocking") or (func is COPIES[1] and args[2:] == (True,)))
            # A scalar is an argument of the kernel that fills.
            if source.device != found.device and waiting and not (source.device == HOST and source.ndim == 0):
                raise WaitsError(f"{func} from {source.device} to {found.device} waits for the device")
        return found


def _tensors(found: Any) -> list[Tensor]:
    """Return the tensors of what an operation returns."""
    return [one for one in tree_leaves(found) if isinstance(one, Tensor)]


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Strict]:
    """Within the block all tensors are without values, those on "cuda" on a GPU that is not there."""
    with monkeypatch.context() as patch, FakeTensorMode(), Strict() as strict:
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
        patch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
        patch.setattr(torch.cuda, "current_stream", lambda *_: _Stream())
        patch.setattr(Tensor, "pin_memory", lambda tensor, *_: tensor)  # fake tensors have no page-locked memory
        patch.setattr(Tensor, "backward", backward)
        patch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, raising=False)  # of the average
        yield strict


class _Stream:
    def record_event(self) -> _Stream:
        """Return an event."""
        return self

    def synchronize(self) -> None:
        """Return at once."""


def moved(network: nn.Module) -> nn.Module:
    """Move a network to the GPU, channels last. Returns it. `Module.to` cannot replace tensors without values."""
    for module in network.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None:
                continue
            last = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
            there = tensor.detach().to(GPU, memory_format=last)
            if name in module._parameters:
                module._parameters[name] = nn.Parameter(there)
            else:
                module._buffers[name] = there
    return network


def without_modes(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function of real tensors on the host that gives a fake tensor within `fake_gpu`."""

    def run(*args: Any, **kwargs: Any) -> Tensor:
        with _disable_current_modes():
            real = function(*args, **kwargs)
        return torch.empty(real.shape, dtype=real.dtype)

    return run


def backward(loss: Tensor) -> None:
    """Add the gradients of a scalar to the leaves that it depends on, as `Tensor.backward` does."""
    root = loss.grad_fn
    assert root is not None
    waiting = Counter[Any]()  # how many gradients each node still expects
    seen, stack = {root}, [root]
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is not None:
                waiting[node] += 1
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
    gradients: dict[Any, dict[int, Tensor]] = {root: {0: torch.ones_like(loss)}}
    ready = [root]
    with torch.no_grad():
        while ready:
            node = ready.pop()
            own = gradients.pop(node, {})
            found = _called(node, own)
            for (following, place), gradient in zip(node.next_functions, found, strict=False):
                if following is None:
                    continue
                sums = gradients.setdefault(following, {})
                if gradient is not None:
                    sums[place] = sums[place] + gradient if place in sums else gradient
                waiting[following] -= 1
                if not waiting[following]:
                    ready.append(following)


def _called(node: Any, gradients: dict[int, Tensor]) -> tuple[Tensor | None, ...]:
    """Return what a node of the graph makes of the gradients of its outputs, by their numbers."""
    if hasattr(node, "variable"):  # a leaf
        leaf, gradient = node.variable, gradients.get(0)
        if gradient is None:
            return ()
        assert gradient.device == leaf.device, f"a gradient on {gradient.device} for a leaf on {leaf.device}"
        leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
        return ()
    outputs = [gradients.get(k) for k in range(len(node._input_metadata))]
    if callable(node):
        found = node(*outputs)
        return found if isinstance(found, tuple) else (found,)
    # A torch.autograd.Function gets zeros for missing gradients, and returns None for arguments that are not tensors.
    metadata = zip(outputs, node._input_metadata, strict=True)
    given = (torch.zeros(m.shape, dtype=m.dtype, device=m.device) if one is None else one for one, m in metadata)
    found = node.apply(*given)
    rest = iter([one for one in found if one is not None])
    return tuple(None if following is None else next(rest) for following, _ in node.next_functions)
