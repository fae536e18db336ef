"""The anchors of darknet's `calc_anchors` from a given start, box by box. Imports nothing from yolo."""

from __future__ import annotations

from collections.abc import Sequence

Pair = tuple[float, float]


def calc_anchors(points: Sequence[Pair], start: Sequence[Pair]) -> list[Pair]:
    """Return the anchors of boxes (w, h), by area.

    The distance is 1 - IoU of boxes that share a centre, the first nearest centre wins, a centre is the mean of w and
    of h; one without boxes keeps its old value, and so does a coordinate that becomes 0. It ends when no assignment
    changes (at first all are 0), or after 1000 rounds.
    """
    centres = [tuple(pair) for pair in start]
    assigned = [0] * len(points)
    for _ in range(1000):
        changed = False
        for p, (w, h) in enumerate(points):
            nearest, best = -1, float("inf")
            for k, (cw, ch) in enumerate(centres):
                inter = min(w, cw) * min(h, ch)
                distance = 1 - inter / (w * h + cw * ch - inter)
                if distance < best:
                    nearest, best = k, distance
            changed = changed or nearest != assigned[p]
            assigned[p] = nearest
        for k, old in enumerate(centres):
            own = [point for point, owner in zip(points, assigned, strict=True) if owner == k]
            if own:
                w, h = (sum(point[side] for point in own) / len(own) for side in (0, 1))
                centres[k] = (w if w != 0 else old[0], h if h != 0 else old[1])
        if not changed:
            break
    return sorted(((w, h) for w, h in centres), key=lambda pair: pair[0] * pair[1])


def calc_anchors_text(anchors: Sequence[Pair], width: int) -> str:
    """Return what is printed for a network of this width."""
    form = "%3.0f,%3.0f" if width > 32 else "%2.4f,%2.4f"
    return ", ".join(form % pair for pair in anchors)
