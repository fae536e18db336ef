"""A detector, or a results file, against a data set.

detect_all.py    the detections and the objects in all images of a data set
coco_results.py  a COCO results file against annotations, matched by names
evaluation.py  what an evaluation gives: numbers, tables, files
report.py        tables, metrics.json, per_class.csv
plots.py         curves, matrices and bars as PNG
"""
