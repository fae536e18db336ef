"""Annotation formats.

coco.py       COCO's folder layout and annotation files
coco_json.py  COCO json files as arrays, checked entry by entry
voc.py        Pascal VOC's xml files
yolo.py       YOLO's text files, data.yaml, darknet's .data
"""
