"""`python train.py`, the same as `python -m yolo train`."""

from yolo.__main__ import program

if __name__ == "__main__":
    program("train")
