"""Random problems: some in each run of the tests, which are new ones each time, and more by hand.

`EXAMPLES=10 python -m tests tests/detection` tries ten times as many.
"""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = int(os.environ.get("EXAMPLES", "1"))


def examples(count: int) -> settings:
    """Return the settings of a test that tries `count` problems, or a multiple of it by hand."""
    return settings(max_examples=count * TIMES, deadline=None)
