"""`python -m yolo plot-lr`: the learning rate of all schedules, drawn and in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from matplotlib import colormaps
from matplotlib.figure import Figure

from yolo.evaluation.plots import save
from yolo.options.commands import PlotLr
from yolo.options.schedule import USED, Schedule, ScheduleName
from yolo.training.schedule import fitted, make_schedule, warmup_notes


def run(options: PlotLr) -> None:
    """Write the drawing and print the rates of a few steps. Raises ValueError for settings that do not fit."""
    total, epoch = options.total_steps, options.epoch_steps
    make_schedule(options.schedule, total, epoch)  # raises ValueError before anything is printed
    chosen = fitted(options.schedule, total)
    schedules = {name: comparable(chosen, name, total, epoch) for name in get_args(ScheduleName)}
    rates = {name: make_schedule(schedule, total, epoch) for name, schedule in schedules.items()}
    # The curves, then the numbers, a column for each schedule.
    curves = {_words(schedule): [rates[name](t) for t in range(1, total + 1)] for name, schedule in schedules.items()}
    plot_schedules(options.out, curves, chosen=_words(chosen))
    print(
        "\n".join([*warmup_notes(options.schedule, total), "      step " + " ".join(f"{name:>12}" for name in rates)])
    )
    for t in _marks(schedules, total, epoch):
        print(f"{t:10,}", *(f"{rate(t):12.4g}" for rate in rates.values()))
    print(options.out)


def comparable(chosen: Schedule, name: ScheduleName, total: int, epoch: int) -> Schedule:
    """Return the schedule `name` that starts, rises and peaks as `chosen` does; `chosen` itself if it has that name.

    `total` and `epoch` are optimizer steps. `chosen` has no settings for the falls of the others: darknet falls after
    80 and 90 % of the steps, as in YOLOv3's cfg, and step after each third of the training.
    """
    if name == chosen.schedule:
        return chosen
    # What the schedules share: where the rate starts, how many steps it rises, what it reaches.
    ramp = chosen.schedule in ("warmup", "cosine")
    peak = chosen.peak_lr if ramp else chosen.lr
    start = min(chosen.lr, peak) if ramp else 0.0
    rise = min(chosen.rise, total - 1)
    # The rest is each schedule's own.
    if name == "darknet":
        stairs = tuple(sorted({max(1, total * part // 10) for part in (8, 9)}))
        return Schedule(schedule=name, lr=peak, burn_in=rise, steps=stairs, scales=(0.1,) * len(stairs))
    if name == "constant":
        return Schedule(schedule=name, lr=peak, warmup_steps=rise)
    if name == "step":
        return Schedule(schedule=name, lr=peak, warmup_steps=rise, step_epochs=max(1, round(total / epoch / 3)))
    return Schedule(schedule=name, lr=start, peak_lr=peak, warmup_steps=max(1, rise))


def _marks(schedules: dict[ScheduleName, Schedule], total: int, epoch: int) -> list[int]:
    """Return the steps at which a schedule changes, and every tenth of the training, ascending."""
    corners: set[int] = set()
    for name, schedule in schedules.items():
        corners |= {getattr(schedule, part) for part in ("warmup_steps", "burn_in") if part in USED[name]}
        corners |= set(schedule.steps if "steps" in USED[name] else ())
        if name == "step":  # the first steps after a fall
            corners |= set(range(schedule.step_epochs * epoch + 1, total, schedule.step_epochs * epoch))
    tenths = {round(total * part / 10) for part in range(1, 11)}
    return sorted({1, 2, *(t for t in corners | tenths if 1 <= t <= total)})


def _words(schedule: Schedule) -> str:
    """Return a line that describes the schedule."""
    s = schedule
    match s.schedule:
        case "warmup":
            fall = "1/t" if s.warmup_power == 1 else f"$1/t^{{{s.warmup_power:g}}}$"
            return f"warmup: {s.lr:g} to {s.peak_lr:g} in {s.warmup_steps:,} steps, then as {fall}"
        case "darknet":
            stairs = ", ".join(f"·{scale:g} at {step:,}" for step, scale in zip(s.steps, s.scales, strict=True))
            return f"darknet: {s.lr:g} after {s.burn_in:,} steps" + (f", {stairs}" if stairs else "")
        case "cosine":
            return f"cosine: {s.lr:g} to {s.peak_lr:g} in {s.warmup_steps:,} steps, then to {s.final_lr:g}"
        case "constant":
            return f"constant: {s.lr:g}" + (f" after {s.warmup_steps:,} steps" if s.warmup_steps else "")
        case "step":
            rise = f" after {s.warmup_steps:,} steps" if s.warmup_steps else ""
            return f"step: {s.lr:g}{rise}, ·{s.gamma:g} every {s.step_epochs} epochs"


def plot_schedules(path: Path, curves: Mapping[str, Sequence[float]], chosen: str) -> None:
    """Draw learning rates over the optimizer steps 1, 2, ...: a diagram for each, all with the same axes.

    `curves` maps titles to rates. `chosen` is the title of the curve with the thick line.
    """
    figure = Figure(figsize=(11, 6.5), layout="constrained", dpi=110)
    diagrams = figure.subplots((len(curves) + 1) // 2, 2, sharex=True, sharey=True, squeeze=False)
    if len(curves) % 2:  # the last place is empty; the diagram above it is the last of its column
        diagrams[-1, 1].set_axis_off()
        diagrams[-2, 1].tick_params(labelbottom=True)
    for axes, (title, rates) in zip(diagrams.flat, curves.items(), strict=False):
        width = 2.5 if title == chosen else 1.3
        axes.plot(range(1, len(rates) + 1), rates, color=colormaps["tab10"](0), linewidth=width)
        axes.set_title(title, fontsize=10, fontweight="bold" if title == chosen else "normal")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("optimizer step")
    figure.supylabel("learning rate")
    save(figure, path)
