"""The embedded data set, drawn from a seed.

scenes.py   scenes in COCO's layout
figures.py  the figures that scenes are drawn of
"""
