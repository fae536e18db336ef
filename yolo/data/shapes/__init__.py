"""The embedded data set, drawn from a seed.

scenes.py   images of figures with their boxes, written in COCO's layout
figures.py  outlines, textures, colours, backgrounds
"""
