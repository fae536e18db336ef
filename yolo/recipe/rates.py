"""The learning rate that a cfg asks for, as a pure function of the update. No torch.

Letters: `t` counts the updates of the weights from 1. darknet's iteration is "images seen, divided by the batch",
computed after the counter was increased, so its first update has `t = 1` as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from yolo.darknet.net import Net


def rate(net: Net, t: int, seed: int = 0) -> float:
    """Return darknet's learning rate of update `t`.

        t < burn_in:  lr · (t / burn_in)^power                                  whatever the policy
        constant:     lr
        steps:        lr · scales[0] · scales[1] · ...                          up to the first steps[k] > t
        step:         lr · scale^(t div step)
        exp:          lr · gamma^t
        poly:         lr · (1 - t/max_batches)^power                            0 after the end
        sigmoid:      lr / (1 + e^(gamma·(t - step)))
        random:       lr · u^power                                              u uniform in [0, 1)
        sgdr:         lr_min + (lr - lr_min) · (1 + cos(π·(t - start)/c)) / 2

    In sgdr a cycle has `c` updates: `sgdr_cycle` (absent: `max_batches`), multiplied by `sgdr_mult` after each; the
    update at which a cycle ends, `start + c`, belongs to it. darknet draws `u` from a generator that a resumed run
    cannot know. Here it is a function of `seed` and `t` alone, so `random` has darknet's distribution, not its values.

    Args:
        net: the `[net]` section, without a fault that `yolo.recipe.said.check` finds.
        t: update of the weights, from 1.
        seed: of the policy `random`.
    """
    lr, policy = net.learning_rate, net.policy
    if policy == "steps" or t < net.burn_in:
        return stepped(t, lr, net.burn_in, net.power, net.steps, net.scales)
    if policy == "step":
        return float(lr * net.scale ** (t // net.step))
    if policy == "exp":
        return float(lr * net.gamma**t)
    if policy == "poly":
        return float(lr * max(0.0, 1 - t / net.max_batches) ** net.power)
    if policy in ("sigmoid", "sig"):
        return lr / (1 + math.exp(min(net.gamma * (t - net.step), 700.0)))  # e^710 is no float any more
    if policy == "random":
        return float(lr * Random(f"{seed} {t}").random() ** net.power)
    if policy == "sgdr":
        start, cycle = 0, net.sgdr_cycle or net.max_batches
        while start + cycle < t:
            start, cycle = start + cycle, cycle * net.sgdr_mult
        share = (1 + math.cos(math.pi * (t - start) / cycle)) / 2
        return net.learning_rate_min + (lr - net.learning_rate_min) * share
    return lr


def stepped(t: int, lr: float, burn_in: int, power: float, steps: Sequence[int], scales: Sequence[float]) -> float:
    """Return the rate of darknet's `policy=steps` with `burn_in`, exact to the update.

    Update `burn_in` is the first one with the full rate, update `steps[k]` the first one with `scales[k]`. During the
    burn-in `steps` have no effect. The search stops at the first step above `t`, so a smaller one after it waits for
    it. A negative step, as in the first cfgs of YOLOv2, counts from the start.
    """
    if t < burn_in:
        return float(lr * (t / burn_in) ** power)
    for step, scale in zip(steps, scales, strict=True):
        if step > t:
            break
        lr *= scale
    return lr
