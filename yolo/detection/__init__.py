"""What makes the network a YOLO.

labels.py         targets of a batch as the labels of the loss
grid.py           Grid, the geometry of a head: cells, anchors, boxes in grid units
assign.py         labels x anchors -> Assignment: the six-tuple (s, n, b, a, i, j)
near_misses.py    predictions that overlap an object without being responsible for it
loss.py           compute_loss
darknet_loss.py   darknet_loss: the loss that the [yolo] sections of a cfg describe, with darknet's own gradients
darknet_boxes.py  its predicted boxes, and their gradients
perfect.py        the predictions of a network that has learned its labels, and the objects that it still loses
nms.py            greedy non-maximum suppression
dense.py          every prediction decoded, for other programs
postprocess.py    decode -> threshold -> NMS -> Detections
"""
