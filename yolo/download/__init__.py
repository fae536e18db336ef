"""The only package that opens a connection.

partial.py     a download that is not complete yet, and what it must be
connection.py  answers that end, redirections that stay safe
fetch.py       downloads: resumed, checked, by one process at a time
archives.py    official archives: downloaded, checked, unpacked without replacing any file
weights.py     the published weights: addresses, sizes, checksums
torch_hub.py   torchvision's published weights, in the folder where torchvision keeps them
coco.py        COCO: the annotations in one archive, then the images one by one
voc.py         VOC 2007 and 2012, BCCD
penn_fudan.py  Penn-Fudan, its masks as boxes
"""
