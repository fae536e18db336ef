"""The options of a study's runs: what all have, and what is each variant's own. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from yolo.ablation.grid import dotted

OF_A_RUN = ("seed", "out", "resume")
"""Options that no two runs share."""


def flat_options(runs: Iterable[Path]) -> dict[str, str]:
    """The options in the options.yaml of some runs of one variant, nested ones as `loss.assign`, values as text.

    Runs without the file have not begun and are passed over. Where runs differ, all values are given.
    """
    found: dict[str, list[str]] = {}
    for run in runs:
        if (run / "options.yaml").is_file():
            for key, value in dotted(yaml.safe_load((run / "options.yaml").read_text(encoding="utf-8"))):
                found.setdefault(key, []).append("none" if value is None else str(value))
    return {key: " or ".join(dict.fromkeys(values)) for key, values in found.items() if key not in OF_A_RUN}


def common_and_own(variants: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, str], list[str]]:
    """The options that are equal in all variants, and the names of the others."""
    keys = dict.fromkeys(key for options in variants.values() for key in options)
    values = {key: {options.get(key, "-") for options in variants.values()} for key in keys}
    common = {key: next(iter(found)) for key, found in values.items() if len(found) == 1}
    return common, [key for key in keys if key not in common]
