"""Learning-rate schedules: pure functions of the step.

Letters: `t` counts the optimizer steps (updates of the weights) from 1: the first update has `t = 1`. With
accumulation several batches make one step; epochs do not matter. `T` is the number of warm-up steps, `p` its power.

A schedule has no memory, so a resumed run needs only `t` to continue as if it had never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from yolo.options.schedule import Schedule
from yolo.recipe.rates import stepped

FLOOR = 1e-7
"""The minimum of the warm-up schedule: with a lower rate nothing is learned."""

BURN_IN_POWER = 4
"""Default of darknet's `power`; no published cfg of a detector changes it."""


def warmup(t: int, initial: float, peak: float, T: int, p: float = 1.0) -> float:
    """Return the rate of a linear rise from `initial` to `peak` at step `T`, then a fall as `1/t^p` towards `initial`.

        lr(t) = min(1/t^p, t/T^(p+1)) · T^p · (peak - initial) + initial,      at least 1e-7

    The rise is short, while the statistics of Adam and batch norm settle. The fall is long and never ends, so the
    number of epochs need not be known. It is the schedule of the Transformer ("Attention is all you need", eq. 3:
    p = 1/2) between two given rates.

    Multiplied by `T^p`, the two terms are `(T/t)^p`, which is smaller from `t = T` on, and `t/T`, which is smaller
    before. In this form no power overflows.

    Args:
        t: step of the optimizer, from 1.
        initial: the rate below the first step of the rise, and the limit of the fall.
        peak: the rate at step `T`.
        T: steps of the rise, at least 1.
        p: power of the fall, at least 0 (0: the rate stays at the peak).
    """
    share = t / T if t < T else (T / t) ** p
    return max(FLOOR, share * (peak - initial) + initial)


def darknet(t: int, rate: float, burn_in: int, steps: Sequence[int], scales: Sequence[float]) -> float:
    """Return the rate of darknet's `policy=steps` with `burn_in`, exact to the step.

        t < burn_in:  rate · (t / burn_in)^4
        else:         rate · scales[0] · scales[1] · ...   for every steps[k] ≤ t

    darknet's iteration is "images seen, divided by the batch", computed after the counter was increased, so the first
    update has `t = 1`, as here. The comparisons are those of darknet: step `burn_in` is the first one with the full
    rate, step `steps[k]` the first one with `scales[k]`. During the burn-in, `steps` have no effect.

    Args:
        t: step of the optimizer, from 1.
        rate: `learning_rate` of the cfg.
        burn_in: number of steps of the burn-in, 0 for none.
        steps: the steps at which the rate changes, ascending.
        scales: the factor for each of `steps`.
    """
    return stepped(t, rate, burn_in, BURN_IN_POWER, steps, scales)


def cosine(t: int, initial: float, peak: float, T: int, final: float, total: int) -> float:
    """Return the rate of a linear rise from `initial` to `peak` at step `T`, then half a cosine to `final` at `total`.

        t < T:  initial + (peak - initial) · t/T
        else:   final + (peak - final) · (1 + cos(π · (t - T)/(total - T))) / 2

    The fall is slow at the beginning, where a high rate is useful, and at the end, where the weights settle (SGDR,
    Loshchilov and Hutter 2017, eq. 5, without restarts). After `total` the rate stays at `final`.

    Args:
        t: step of the optimizer, from 1.
        initial: the rate below the first step of the rise.
        peak: the rate at step `T`.
        T: number of steps of the rise, 0 for none, less than `total`.
        final: the rate at step `total`.
        total: number of steps of the whole training.
    """
    if t < T:
        return initial + (peak - initial) * t / T
    share = min(1.0, (t - T) / (total - T))
    return final + (peak - final) * (1 + math.cos(math.pi * share)) / 2


def constant(t: int, rate: float, T: int) -> float:
    """Return `rate · min(1, t/T)`: `rate` after a linear rise from 0 in `T` steps (0 for none). `t` counts from 1."""
    return rate * t / T if t < T else rate


def stairs(t: int, rate: float, T: int, every: int, gamma: float) -> float:
    """Return `rate · gamma^k` after k times `every` steps, with a linear rise from 0 in the first `T` steps.

    Args:
        t: step of the optimizer, from 1.
        rate: the full rate.
        T: number of steps of the rise, 0 for none; its factor is t/T.
        every: number of steps between two falls; the first step with `gamma` is `every + 1`.
        gamma: the factor of each fall.
    """
    return constant(t, rate * gamma ** ((t - 1) // every), T)


def fitted(options: Schedule, total_steps: int) -> Schedule:
    """Return the schedule with a warm-up of at most `warmup_share` of all steps, but of one step at least."""
    longest = max(1, int((options.warmup_share or 0) * total_steps))
    if options.warmup_share is None or options.rise <= longest:
        return options
    return (
        replace(options, burn_in=longest) if options.schedule == "darknet" else replace(options, warmup_steps=longest)
    )


def warmup_notes(options: Schedule, total_steps: int) -> list[str]:
    """Return a line about a warm-up that is shortened, or that is longer than the training; none if it fits."""
    rise = fitted(options, total_steps).rise
    if rise < options.rise:
        share = f"(warmup_share={options.warmup_share})"
        return [f"warm-up: {options.rise:,} steps shortened to {rise:,} of {total_steps:,} {share}"]
    if rise > total_steps and options.warmup_share is None:
        beyond = f"warm-up: {rise:,} steps are more than the {total_steps:,} of this training"
        return [f"{beyond}, which never reaches its full rate; --warmup-share 0.1 shortens it"]
    return []


def make_schedule(options: Schedule, total_steps: int, epoch_steps: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the step `t`, from 1 to `total_steps`, `epoch_steps` in an epoch.

    The warm-up is shortened as `warmup_share` demands. Raises ValueError if a cosine has no step left after its
    warm-up.
    """
    o = fitted(options, total_steps)
    if o.schedule == "warmup":
        return partial(warmup, initial=o.lr, peak=o.peak_lr, T=o.warmup_steps, p=o.warmup_power)
    if o.schedule == "darknet":
        return partial(darknet, rate=o.lr, burn_in=o.burn_in, steps=o.steps, scales=o.scales)
    if o.schedule == "constant":
        return partial(constant, rate=o.lr, T=o.warmup_steps)
    if o.schedule == "step":
        return partial(stairs, rate=o.lr, T=o.warmup_steps, every=o.step_epochs * epoch_steps, gamma=o.gamma)
    if o.warmup_steps >= total_steps and o.warmup_share is None:
        raise ValueError(
            f"warmup_steps={o.warmup_steps} of {total_steps} steps: expected fewer, because a cosine falls "
            f"after its warm-up; give warmup_share=0.1, lower warmup_steps or train longer"
        )
    total = max(total_steps, o.warmup_steps + 1)  # a training of one step has the peak rate
    return partial(cosine, initial=o.lr, peak=o.peak_lr, T=o.warmup_steps, final=o.final_lr, total=total)
