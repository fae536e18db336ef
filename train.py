"""`python train.py`, the same as `python -m yolo train`."""

import sys

from yolo.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
