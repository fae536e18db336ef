"""Learning-rate schedules: tables that a reader checks by eye, then what holds for every setting."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from yolo.__main__ import main
from yolo.commands.plot_lr import comparable
from yolo.images.files import read_image
from yolo.options.commands import PlotLr
from yolo.options.presets import parse_train
from yolo.options.schedule import USED, Schedule
from yolo.training.schedule import FLOOR, fitted, make_schedule, warmup, warmup_notes

NAMES = tuple(USED)


@pytest.mark.parametrize(
    ("t", "rate"),
    [
        (1, 1e-4 + 7e-4 / 333),
        (111, 1e-4 + 7e-4 / 3),  # a third of the way up
        (333, 8e-4),  # the peak
        (666, 4.5e-4),  # 1e-4 + 7e-4 / 2
        (999, 1e-4 + 7e-4 / 3),
        (1332, 2.75e-4),  # 1e-4 + 7e-4 / 4
        (3330, 1.7e-4),  # 1e-4 + 7e-4 / 10
        (333_000, 1.007e-4),
    ],
)
def test_warmup_of_the_blog(t: int, rate: float) -> None:
    """1e-4 to 8e-4 in 333 steps, p = 1: at k times the warm-up a k-th of the way is left."""
    options = Schedule(schedule="warmup", lr=1e-4, peak_lr=8e-4, warmup_steps=333)
    assert make_schedule(options, 3750, 125)(t) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("p", "shares"), [(0, (1, 1, 1)), (0.5, (1, 1 / 2, 1 / 4)), (2, (1, 1 / 16, 1 / 256))])
def test_warmup_power(p: float, shares: tuple[float, ...]) -> None:
    """What is left of the way at 1, 4 and 16 times the warm-up."""
    rates = [warmup(t, 0.001, 0.002, 100, p) for t in (100, 400, 1600)]
    assert rates == pytest.approx([0.001 + 0.001 * share for share in shares], rel=1e-12)


@pytest.mark.parametrize(
    ("t", "rate"),
    [
        (1, 1e-3 * 1e-12),  # the first update: (1/1000)^4
        (100, 1e-3 * 1e-4),
        (500, 1e-3 / 16),
        (999, 1e-3 * 0.999**4),
        (1000, 1e-3),  # the first step with the full rate
        (399_999, 1e-3),
        (400_000, 1e-4),  # the first step of the stair
        (449_999, 1e-4),
        (450_000, 1e-5),
        (500_200, 1e-5),  # max_batches
    ],
)
def test_darknet_of_yolov3(t: int, rate: float) -> None:
    """learning_rate=0.001, burn_in=1000, steps=400000,450000, scales=.1,.1, to the step."""
    assert make_schedule(Schedule(schedule="darknet", lr=1e-3), 500_200, 1832)(t) == pytest.approx(rate, rel=1e-12)


def test_darknets_burn_in_comes_before_the_stairs() -> None:
    """A stair within the burn-in counts when it is over; without a burn-in the first step has the full rate."""
    late = make_schedule(Schedule(schedule="darknet", lr=1.0, burn_in=10, steps=(5, 20), scales=(0.5, 3)), 30, 5)
    assert [late(t) for t in (5, 9, 10, 19, 20)] == pytest.approx([0.5**4, 0.9**4, 0.5, 0.5, 1.5])
    plain = make_schedule(Schedule(schedule="darknet", lr=1.0, burn_in=0, steps=(), scales=()), 30, 5)
    assert [plain(t) for t in (1, 30)] == [1, 1]


@pytest.mark.parametrize(
    ("t", "rate"),
    [
        (1, 0.11),  # 0.1 + 0.9 / 90
        (45, 0.55),
        (90, 1.0),
        (210, 0.75 * 0.96 + 0.04),  # a third of the way down: (1 + cos 60°) / 2
        (270, 0.52),  # half of the way
        (330, 0.25 * 0.96 + 0.04),
        (450, 0.04),  # the last step
        (451, 0.04),
        (900, 0.04),  # it does not rise again
    ],
)
def test_cosine(t: int, rate: float) -> None:
    """0.1 to 1 in 90 of 450 steps, then half a cosine to 0.04."""
    options = Schedule(schedule="cosine", lr=0.1, peak_lr=1.0, warmup_steps=90, final_lr=0.04)
    assert make_schedule(options, 450, 15)(t) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("steps", "table"), [(4, {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0, 5: 1.0, 99: 1.0}), (0, {1: 1.0, 99: 1.0})]
)
def test_constant(steps: int, table: dict[int, float]) -> None:
    """After a rise from 0 in `warmup_steps`, or from the first step on."""
    rate = make_schedule(Schedule(schedule="constant", lr=1.0, warmup_steps=steps), 100, 10)
    assert {t: rate(t) for t in table} == table


STEP = Schedule(schedule="step", lr=0.1, warmup_steps=4, step_epochs=2, gamma=0.5)
"""0.1, halved every two epochs."""


@pytest.mark.parametrize(
    ("t", "rate"),
    [
        (1, 0.025),  # a quarter of the rise
        (2, 0.05),
        (4, 0.1),  # the full rate
        (10, 0.1),  # the last step of the second epoch
        (11, 0.05),  # the first of the third
        (20, 0.05),
        (21, 0.025),
        (30, 0.025),
        (31, 0.0125),
    ],
)
def test_step(t: int, rate: float) -> None:
    """Five steps in an epoch: a fall after every ten steps."""
    assert make_schedule(STEP, 40, 5)(t) == pytest.approx(rate, rel=1e-12)


def test_a_fall_within_the_rise_counts() -> None:
    """One step in an epoch, a fall every two: both factors are multiplied. With gamma 1 there is no fall."""
    rate = make_schedule(STEP, 40, 1)
    assert [rate(t) for t in range(1, 7)] == pytest.approx([0.025, 0.05, 0.0375, 0.05, 0.025, 0.025])
    level = make_schedule(Schedule(schedule="step", lr=0.1, warmup_steps=0, gamma=1.0), 40, 1)
    assert {level(t) for t in range(1, 41)} == {0.1}


@given(st.integers(1, 4), st.floats(0.05, 1), st.integers(1, 5))
def test_step_is_pytorchs(step_epochs: int, gamma: float, epoch_steps: int) -> None:
    """Without warm-up the rates of `StepLR`, which counts epochs."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, step_epochs, gamma)
    options = Schedule(schedule="step", lr=0.5, warmup_steps=0, step_epochs=step_epochs, gamma=gamma)
    ours = make_schedule(options, 9 * epoch_steps, epoch_steps)
    for epoch in range(9):
        steps = range(epoch * epoch_steps + 1, (epoch + 1) * epoch_steps + 1)
        assert [ours(t) for t in steps] == pytest.approx([theirs.get_last_lr()[0]] * epoch_steps, rel=1e-12)
        optimizer.step()
        theirs.step()


rates = st.floats(0, 1)

EPOCH = 7
"""Steps in an epoch."""


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Any schedule whose warm-up is at most 500 steps long, and over before the first fall."""
    name = draw(st.sampled_from(NAMES))
    low, peak = sorted((draw(rates), draw(st.floats(1e-6, 1))))
    rise = draw(st.integers(1 if name == "warmup" else 0, 500))
    if name == "darknet":
        stairs = tuple(sorted(draw(st.sets(st.integers(1, 1000), max_size=3))))
        return Schedule(schedule=name, lr=peak, burn_in=rise, steps=stairs, scales=(0.5,) * len(stairs))
    if name == "constant":
        return Schedule(schedule=name, lr=peak, warmup_steps=rise)
    if name == "step":
        every, gamma = draw(st.integers(max(1, -(-rise // EPOCH)), 100)), draw(st.floats(0.01, 1))
        return Schedule(schedule=name, lr=peak, warmup_steps=rise, step_epochs=every, gamma=gamma)
    if name == "warmup":
        return Schedule(
            schedule=name, lr=low, peak_lr=peak, warmup_steps=rise, warmup_power=draw(st.sampled_from([0, 0.5, 1, 2]))
        )
    final = draw(st.floats(0, peak))
    start = low if rise else Schedule().lr
    return Schedule(schedule=name, lr=start, peak_lr=peak, warmup_steps=rise, final_lr=final)


@given(schedules(), st.integers(501, 1000))
def test_every_schedule_rises_falls_and_stays_in_its_bounds(options: Schedule, total: int) -> None:
    """Up without a step down until the warm-up is over, down without a step up from there, never above the top."""
    rate = make_schedule(options, total, EPOCH)
    values = [rate(t) for t in range(1, total + 1)]
    ramp = options.schedule in ("warmup", "cosine")
    top = max(options.peak_lr if ramp else options.lr, FLOOR)
    corner = options.burn_in if options.schedule == "darknet" else options.warmup_steps
    tiny = 1e-12 * top  # rounding
    assert all(b >= a - tiny for a, b in itertools.pairwise(values[: max(0, corner - 1)]))
    assert all(b <= a + tiny for a, b in itertools.pairwise(values[max(0, corner - 1) :]))
    assert all(0 <= value <= top + tiny for value in values)
    if options.schedule != "darknet" and corner:
        assert values[corner - 1] == pytest.approx(top, rel=1e-12)  # continuous
    if options.schedule == "cosine":
        assert values[-1] == pytest.approx(options.final_lr, rel=1e-12, abs=1e-16)


@given(st.integers(1, 10_000), rates, rates, st.integers(1, 3000), st.sampled_from([0.5, 1.0, 2.0]))
def test_warmup_is_the_formula(t: int, a: float, b: float, steps: int, p: float) -> None:
    """min(1/t^p, t/T^(p+1)) · T^p · (peak - initial) + initial, never below 1e-7, continuous at T."""
    initial, peak = sorted((a, b))
    formula = min(1 / t**p, t / steps ** (p + 1)) * steps**p * (peak - initial) + initial
    assert warmup(t, initial, peak, steps, p) == pytest.approx(max(1e-7, formula), rel=1e-9)
    assert warmup(steps, initial, peak, steps, p) == pytest.approx(max(1e-7, peak), rel=1e-9)


def test_the_floor_of_warmup() -> None:
    """From 0, the fall ends at 1e-7 and not at 0; a large power overflows nothing."""
    assert [warmup(t, 0, 1e-3, 10) for t in (1, 10, 200_000, 10_000_000)] == [1e-4, 1e-3, FLOOR, FLOOR]
    assert warmup(1, 0, 1.0, 10_000, 1000.0) == 1e-4
    assert warmup(10**9, 0, 1.0, 10_000, 1000.0) == FLOOR


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"schedule": "darknet", "peak_lr": 1e-3},
            r"without effect: peak_lr=0.001 \(by default 0.006\) with schedule=darknet, which reads lr, burn_in",
        ),
        (
            {"schedule": "constant", "final_lr": 0.1, "burn_in": 3},
            r"without effect: burn_in=3 \(by default 1000\), final_lr=0.1 \(",
        ),
        ({"schedule": "cosine", "warmup_power": 2.0}, "without effect: warmup_power=2.0"),
        (
            {"schedule": "cosine", "warmup_steps": 0, "lr": 1e-5},
            "without effect: lr=1e-05 .* reads peak_lr, warmup_steps, warmup_share, f",
        ),
        (
            {"schedule": "warmup", "steps": (3,), "scales": (0.1,)},
            r"without effect: steps=\(3,\) .*, scales=\(0.1,\) .* with schedule=warmup",
        ),
        ({"lr": -1.0}, "lr=-1.0: expected a learning rate from 0"),
        ({"lr": float("nan")}, "lr=nan: expected"),
        ({"peak_lr": float("inf")}, "peak_lr=inf: expected"),
        (
            {"schedule": "warmup", "lr": 0.0, "peak_lr": 0.0},
            "peak_lr=0.0 with schedule=warmup: expected a rate above 0",
        ),
        ({"schedule": "constant", "lr": 0.0}, "lr=0.0 with schedule=constant: expected a rate above 0"),
        ({"lr": 1e-2}, "lr=0.01 is above peak_lr=0.006"),
        ({"schedule": "cosine", "final_lr": 1e-2}, "final_lr=0.01 is above peak_lr=0.006"),
        ({"schedule": "warmup", "warmup_steps": 0}, "warmup_steps=0: expected at least 1 with warmup"),
        ({"schedule": "constant", "warmup_steps": -1}, "warmup_steps=-1: expected at least 0 with constant"),
        ({"schedule": "warmup", "warmup_power": -0.5}, "warmup_power=-0.5: expected a power from 0"),
        ({"schedule": "darknet", "burn_in": -1}, "burn_in=-1: expected"),
        ({"schedule": "darknet", "steps": (1, 2, 3)}, "3 steps and 2 scales"),
        ({"schedule": "darknet", "steps": (5, 5)}, "each above the one before"),
        ({"schedule": "darknet", "steps": (0, 5)}, "steps of the optimizer from 1"),
        ({"schedule": "darknet", "scales": (0.1, 0.0)}, "expected factors above 0"),
        ({"schedule": "cosine", "gamma": 0.5}, r"without effect: gamma=0.5 \(by default 0.1\) with schedule=cosine"),
        (
            {"schedule": "step", "peak_lr": 0.1},
            "with schedule=step, which reads lr, warmup_steps, warmup_share, step_epochs",
        ),
        ({"schedule": "step", "step_epochs": 0}, "step_epochs=0: expected at least 1"),
        ({"schedule": "step", "gamma": 0.0}, "gamma=0.0: expected"),
        ({"schedule": "step", "gamma": 1.5}, "gamma=1.5: expected"),
        ({"schedule": "step", "gamma": float("nan")}, "gamma=nan: expected"),
        ({"schedule": "step", "lr": 0.0}, "lr=0.0 with schedule=step: expected a rate above 0"),
        ({"schedule": "step", "warmup_steps": -1}, "warmup_steps=-1: expected at least 0 with step"),
        ({"warmup_share": 0.0}, "warmup_share=0.0: expected a share above 0"),
        ({"warmup_share": 1.5}, "warmup_share=1.5: expected a share above 0"),
    ],
)
def test_settings_that_cannot_be(changed: dict[str, Any], message: str) -> None:
    """Each is named, with what was expected."""
    with pytest.raises(ValueError, match=message):
        Schedule(**changed)


def test_a_cosine_needs_steps_after_its_warm_up() -> None:
    """333 of 333 steps are refused, 333 of 334 are not."""
    options = Schedule(schedule="cosine", warmup_steps=333)
    with pytest.raises(ValueError, match="warmup_steps=333 of 333 steps"):
        make_schedule(options, 333, 111)
    assert make_schedule(options, 334, 111)(334) == 0


@pytest.mark.parametrize(("total", "rise"), [(3600, 100), (1000, 100), (999, 99), (120, 12), (19, 1), (2, 1), (1, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_a_warm_up_that_is_too_long_is_warmup_notes(name: Any, total: int, rise: int) -> None:
    """At most a tenth of the steps, one at least; a warm-up that fits gives the same rates, digit for digit."""
    free = Schedule(schedule=name, burn_in=100) if name == "darknet" else Schedule(schedule=name, warmup_steps=100)
    options = replace(free, warmup_share=0.1)
    assert fitted(options, total).rise == rise
    assert fitted(free, total) is free
    assert bool(warmup_notes(free, total)) == (total < 100)
    lines = [f"warm-up: 100 steps shortened to {rise} of {total:,} (warmup_share=0.1)"]
    assert warmup_notes(options, total) == (lines if rise < 100 else [])
    rate = make_schedule(options, total, total)
    top = options.peak_lr if name in ("warmup", "cosine") else options.lr
    assert rate(rise) == pytest.approx(top)
    assert all(rate(t) <= top for t in range(1, total + 1))
    if rise == 100 and total > 100:
        before = make_schedule(free, total, total)
        assert [rate(t) for t in range(1, total + 1)] == [before(t) for t in range(1, total + 1)]


def test_a_warm_up_that_never_ends_is_named() -> None:
    """darknet's 1,000 steps in a training of four: the rate stays near 0, which is printed with the remedy."""
    said = "warm-up: 1,000 steps are more than the 4 of this training, which never reaches its full rate; "
    assert warmup_notes(Schedule(schedule="darknet"), 4) == [said + "--warmup-share 0.1 shortens it"]
    assert warmup_notes(Schedule(schedule="darknet"), 1000) == []


def test_the_quick_start_keeps_its_warm_up() -> None:
    """480 images in batches of 8 for 60 epochs are 3,600 steps: a tenth of them is more than its 100."""
    options = parse_train([])
    assert (options.epochs, options.batch_size, options.accumulate, options.schedule.warmup_steps) == (60, 8, 1, 100)
    assert fitted(options.schedule, 60 * 480 // 8) is options.schedule


def test_plot_lr_shows_the_shortened_warm_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line, the peak at the step where the warm-up now ends, and the other schedules beside it."""
    words = ["--schedule", "cosine", "--warmup-share", "0.1", "--total-steps", "120", "--out", str(tmp_path / "lr.png")]
    assert main(["plot-lr", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "warm-up: 100 steps shortened to 12 of 120 (warmup_share=0.1)"
    assert [line.split()[1:] for line in lines if line.split()[0] == "12"] == [["0.006"] * 5]


BLOG = ["--schedule", "warmup", "--lr", "1e-4", "--peak-lr", "8e-4", "--warmup-steps", "333"]


@pytest.mark.drawn
def test_plot_lr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All five with the same start, rise and peak; the table has the corners, the drawing a curve in five of six
    places."""
    out = tmp_path / "lr.png"
    assert main(["plot-lr", *BLOG, "--total-steps", "3330", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["step", "warmup", "darknet", "cosine", "constant", "step"]
    assert [line.split() for line in lines if line.split()[0] in ("333", "666", "2,664", "3,330")] == [
        ["333", "0.0008", "0.0008", "0.0008", "0.0008", "0.0008"],
        ["666", "0.00045", "0.0008", "0.0007759", "0.0008", "0.0008"],
        ["2,664", "0.0001875", "8e-05", "9.358e-05", "0.0008", "8e-06"],
        ["3,330", "0.00017", "8e-06", "0", "0.0008", "8e-06"],
    ]
    assert lines[-1] == str(out)
    image = read_image(out)
    height, width = image.shape[0] // 3, image.shape[1] // 2
    blue = image[: 3 * height, : 2 * width, 2] > image[: 3 * height, : 2 * width, 0].astype(int) + 80
    drawn = blue.reshape(3, height, 2, width).sum(axis=(1, 3)).ravel()
    assert drawn[:5].min() > 300
    assert drawn[5] < 50  # the ends of its neighbours


@given(schedules(), st.sampled_from(NAMES), st.integers(2, 2000))
def test_comparable_schedules_start_and_peak_alike(options: Schedule, name: Any, total: int) -> None:
    """Whatever is chosen, the others can be drawn beside it; the chosen one is drawn as it is."""
    assume(options.schedule != name)
    other = make_schedule(comparable(options, name, total, EPOCH), total, EPOCH)
    top = options.peak_lr if options.schedule in ("warmup", "cosine") else options.lr
    assert max(other(t) for t in range(1, total + 1)) <= max(top, FLOOR) * (1 + 1e-12)
    assert comparable(options, options.schedule, total, EPOCH) is options


def test_plot_lr_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line, status 1, no image."""
    out = tmp_path / "lr.png"
    assert main(["plot-lr", "--schedule", "darknet", "--peak-lr", "0.1", "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith(
        "error: without effect: peak_lr=0.1 (by default 0.006) with schedule=darknet"
    )
    assert main(["plot-lr", "--schedule", "cosine", "--total-steps", "100", "--out", str(out)]) == 1
    assert "warmup_steps=100 of 100 steps" in capsys.readouterr().err
    with pytest.raises(ValueError, match="total_steps=1: expected at least 2"):
        PlotLr(total_steps=1)
    with pytest.raises(ValueError, match="epoch_steps=0: expected at least 1"):
        PlotLr(epoch_steps=0)
    assert not out.exists()
