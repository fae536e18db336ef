"""Numbers of detections. Knows no model.

records.py      objects and detections of a data set as flat, sorted tensors
match.py        which detection finds which object: COCO's greedy rule and VOC's, for all images at once
precision.py    precision and recall along a ranking, the curve between, its area
collect.py      batches of detections and targets, until a metric needs all of them; gathered over processes
coco.py         CocoMetrics: COCO's numbers, equal to pycocotools'
referee.py      pycocotools beside ours
bootstrap.py    intervals of AP over images
voc.py          Pascal VOC's AP
darknet_map.py  what darknet's `detector map` prints
verdict.py      what became of each detection and object at one threshold
curves.py       precision, recall, F1 against the confidence
confusion.py    which class is taken for which
errors.py       what costs the AP, by kind of error
"""
