"""`python -m yolo VERB ...`: the command line, generated from `yolo.options`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import tyro

from yolo.options import Convert, Summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; 0 if it succeeded, 1 with one line on stderr if files or options are wrong."""
    logging.basicConfig(format="%(message)s")
    options = tyro.extras.subcommand_cli_from_dict(
        {"summary": Summary, "convert": Convert}, prog="python -m yolo", args=arguments
    )
    try:
        if isinstance(options, Summary):
            from yolo import summary

            summary.run(options)
        elif isinstance(options, Convert):
            from yolo import convert

            convert.run(options)
    except (ValueError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
