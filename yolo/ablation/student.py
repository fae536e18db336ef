"""Student's t distribution, and Holm's correction for many comparisons. No torch, no SciPy.

Letters: `k` degrees of freedom, `t` a value of the distribution, `p` a probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def t_inside(t: float, k: int) -> float:
    """The probability of a value between -t and t with `k` >= 1 degrees of freedom, for `t` >= 0.

    For whole `k` it is a finite sum (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    assert k >= 1, "without degrees of freedom there is no distribution"
    angle = math.atan2(t, math.sqrt(k))
    sine, cosine, odd = math.sin(angle), math.cos(angle), k % 2
    term, total = cosine if odd else 1.0, 0.0
    for n in range(2 + odd, k + 2, 2):
        total += term
        term *= cosine**2 * (n - 1) / n
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def t_quantile(level: float, k: int) -> float:
    """The `t` for which the share `level`, below 1, of the distribution lies between -t and t; by bisection."""
    assert 0 <= level < 1
    low, high = 0.0, 1.0
    while t_inside(high, k) < level:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_inside(middle, k) < level else (low, middle)
    return high


def holm(p: Sequence[float]) -> list[float]:
    """The p values of several comparisons, adjusted so that among all of them the chance of even one false finding
    stays at the level at which they are read (Holm 1979). In the order in which they came."""
    order = sorted(range(len(p)), key=lambda n: p[n])
    adjusted, worst = [0.0] * len(p), 0.0
    for place, n in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - place) * p[n]))
        adjusted[n] = worst
    return adjusted
