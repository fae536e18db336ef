"""`python train.py`, the same as `python -m yolo train`."""

import sys

try:
    from yolo.__main__ import program
except KeyboardInterrupt:  # in the first moment; `program` takes the later ones
    print("interrupted", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":
    program("train")
