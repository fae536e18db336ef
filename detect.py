"""`python detect.py image.jpg`, the same as `python -m yolo detect image.jpg`."""

import sys

try:
    from yolo.__main__ import program
except KeyboardInterrupt:  # in the first moment; `program` takes the later ones
    print("interrupted", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":
    program("detect")
