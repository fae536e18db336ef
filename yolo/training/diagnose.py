"""The report on a step whose loss or gradient is NaN or infinite: where the first such number appeared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from yolo.data.loader import Batch
from yolo.models.detector import Detector
from yolo.training.precision import Arithmetic


class NotFiniteError(ValueError):
    """The loss or a gradient of a step is NaN or infinite."""

    status = 3
    """Exit status of a training that stops with this error."""


def diagnosis(
    detector: Detector,
    batches: Sequence[Batch],
    step: int,
    terms: Mapping[str, float],
    norm: float,
    arithmetic: Arithmetic,
) -> str:
    """Return the report: step, images, loss terms, the first module whose output is not finite, and what to try.

    The batches of the step go through the network once more. The weights are still those of the step, because a step
    with a non-finite number changes none. Processes that train together all call this; each reports its own images.
    """
    network = detector.network
    weights = [name for name, p in network.named_parameters() if not bool(p.isfinite().all())]
    # Every batch, even if the first one is broken: computing losses is a collective call.
    found = [_first_broken(detector, batch, arithmetic) for batch in batches]
    # Name the images of the first broken batch only; of all batches if none, or no batch in particular, is to blame.
    guilty = [batch for batch, where in zip(batches, found, strict=True) if where][:1] or batches
    where = next(filter(None, found), "This time the same images gave finite numbers.")
    if weights:
        guilty, where = batches, f"The weights {weights[0]} themselves are not finite."
    images = ", ".join(str(target["image_id"]) for batch in guilty for target in batch.targets)
    losses = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    return (
        f"step {step}: a loss or a gradient is not a finite number ({losses}, gradient norm {norm:g}). Images with "
        f"the ids {images}. {where} This step did not change the weights, and the last checkpoint is good. Try a lower "
        f"learning rate, --clip 10, or --precision fp32; python -m yolo show-data shows the images and their boxes"
    )


def _first_broken(detector: Detector, batch: Batch, arithmetic: Arithmetic) -> str:
    """Return a sentence on the first layer with a non-finite output, else on the last with such a gradient, else ""."""
    network = detector.network
    broken: list[str] = []

    def check(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if not broken and isinstance(output, Tensor) and not bool(output.isfinite().all()):
            broken.append(name)

    # Only modules without children: the output of a container is that of its last module.
    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    hooks = [module.register_forward_hook(partial(check, name)) for name, module in leaves]
    images = batch.images.to(next(network.parameters()).device)
    network.zero_grad(set_to_none=True)
    try:
        with arithmetic():
            terms = detector.losses(images, batch.targets).terms
    finally:
        for hook in hooks:
            hook.remove()
    # Also where the forward pass found something: SyncBatchNorm exchanges gradients with the other processes.
    torch.stack(list(terms.values())).sum().backward()
    if broken:
        return f"The first layer with such an output is {broken[0]}."
    gradients = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    if gradients:
        return f"Every output is finite; the gradient of {gradients[-1]}, the last such layer, is not."
    return ""
