"""Where the first number went wrong: a report on a step whose loss or gradient is NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from yolo.data.loader import Batch
from yolo.models.detector import Detector


class NotFiniteError(ValueError):
    """The loss or a gradient of a step is NaN or infinite."""

    status = 3
    """Exit status of a training that ends with this error."""


def diagnosis(
    detector: Detector,
    batches: Sequence[Batch],
    step: int,
    terms: Mapping[str, float],
    norm: float,
    arithmetic: Callable[[], AbstractContextManager[None]],
) -> str:
    """The report: step, images, terms, the first module whose output is no number, and what to try.

    The batches of the step go through the network once more, with the weights that they met: such a step changes none.
    Processes that train together call it together, and each tells of its own images.
    """
    network = detector.network
    weights = [name for name, p in network.named_parameters() if not bool(p.isfinite().all())]
    found = [_first_broken(detector, batch, arithmetic) for batch in batches]  # all: losses are a collective call
    guilty = [batch for batch, where in zip(batches, found, strict=True) if where][:1] or batches
    where = next(filter(None, found), "The same images give finite numbers now.")
    if weights:
        guilty, where = batches, f"The weights {weights[0]} themselves are not finite."
    images = ", ".join(str(target["image_id"]) for batch in guilty for target in batch.targets)
    losses = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    return (
        f"step {step}: a loss or a gradient is not a finite number ({losses}, gradient norm {norm:g}). Images with "
        f"the ids {images}. {where} The weights are those before this step, the last checkpoint is good. Try a lower "
        f"learning rate, --clip 10, or --precision fp32; python -m yolo show-data shows the images and their boxes"
    )


def _first_broken(detector: Detector, batch: Batch, arithmetic: Callable[[], AbstractContextManager[None]]) -> str:
    """The first module, in the order of the network, whose output is not finite; or the first such gradient; or ""."""
    network = detector.network
    broken: list[str] = []

    def look(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not broken and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                broken.append(name)

        return hook

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    hooks = [module.register_forward_hook(look(name)) for name, module in leaves]
    images = batch.images.to(next(network.parameters()).device)
    network.zero_grad(set_to_none=True)
    try:
        with arithmetic():
            terms = detector.losses(images, batch.targets).terms
    finally:
        for hook in hooks:
            hook.remove()
    torch.stack(list(terms.values())).sum().backward()
    if broken:
        return f"The first layer with such an output is {broken[0]}."
    gradients = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    if gradients:
        return f"Every output is finite; the gradient of {gradients[-1]}, the last such layer, is not."
    return ""
