"""The only package that opens a connection.

partial.py     a download that has not arrived yet, and what it must be
fetch.py       resumable, checked, one process at a time; the cache
archives.py    official archives: fetched, checked, unpacked without replacing anything
weights.py     the published weights: addresses, sizes, checksums
coco.py        COCO: the annotations once, then the images one by one
voc.py         VOC 2007 and 2012, BCCD
penn_fudan.py  Penn-Fudan, its masks as boxes
"""
