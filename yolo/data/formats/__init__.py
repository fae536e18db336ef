"""Annotation formats.

coco.py       COCO's folder layout and annotation files
coco_json.py  COCO json files as arrays, checked entry by entry
columns.py    lists of json entries as columns
voc.py        Pascal VOC's folders
voc_xml.py    one xml file of Pascal VOC
yolo.py       YOLO's folders and lists
yolo_text.py  one label file of YOLO
csv_boxes.py  csv files of boxes
masks.py      instance masks
yaml_names.py  the class names of a data.yaml
described.py  files that describe a data set: data.yaml, darknet's .data
"""
