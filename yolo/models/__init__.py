"""The interface of a model, and the models.

detector.py    the interface, Detector
finder.py      detection as a caller of Python sees it: the part of Detector that has images in and detections out
in_order.py    several images at once, each in a thread, results in order
results.py     detections in images, videos and cameras, with their times
found.py       what `detect` returns: detections with names and image, drawn, saved, exported
coco_rows.py   detections in COCO's results format
yolo.py        YOLO as a Detector
by_cfg.py      YOLO as its cfg trains it, with darknet's loss
single.py      what the models of one object in an image share, and `simple`, the smallest, as Detectors
localizer.py   `localizer` as a Detector
largest.py     `largest` as a Detector
faster_rcnn.py torchvision's Faster R-CNN as a Detector
engines.py     an ONNX file run by onnxruntime or OpenVINO
exported.py    an exported network as a Detector
build.py       options -> the Detector to train
weights_of.py  what "weights" mean: a path or a name -> file, cfg, class names
load.py        files -> a Detector
placing.py     letterboxed or stretched: what a darknet model was trained with
packages.py    packages of extras, imported when they are needed
"""
