"""`python detect.py image.jpg`, the same as `python -m yolo detect image.jpg`."""

from yolo.__main__ import program

if __name__ == "__main__":
    program("detect")
