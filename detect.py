"""`python detect.py image.jpg`, the same as `python -m yolo detect image.jpg`."""

import sys

from yolo.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["detect", *sys.argv[1:]]))
