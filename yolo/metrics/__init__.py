"""Numbers of detections. Knows no model.

records.py      the objects and detections of a data set as flat, sorted tensors
match.py        which detection finds which object, for all images at once: COCO's greedy rule and VOC's
precision.py    precision and recall along a ranking, the curve through them, its area
collect.py      collects detections and targets batch by batch; gathers them over processes
coco.py         CocoMetrics: COCO's numbers, equal to pycocotools'
referee.py      pycocotools, to compare with
weighted.py     AP of images that count as often as a resample drew them
bootstrap.py    intervals of AP over images
voc.py          Pascal VOC's AP
darknet_map.py  what darknet's `detector map` prints
verdict.py      what became of each detection and object at one threshold
curves.py       precision, recall and F1 against the confidence
confusion.py    which class is detected as which
errors.py       what costs AP, by kind of error
"""
