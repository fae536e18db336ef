"""The interface of a model, and the models.

detector.py  the interface, Detector
yolo.py      YOLO as a Detector
build.py     options -> the Detector to train
load.py      files -> a Detector
placing.py   letterboxed or stretched: what a darknet model was trained with
"""
