"""Drawn data sets, each drawn from a seed.

scenes.py   the embedded set: images of several figures with their boxes
singles.py  a set of single objects: one figure in every image
pedestrians.py  streets with pedestrians and their masks, in Penn-Fudan's layout
drawn.py    scenes to files in COCO's layout, written once and whole
figures.py  outlines, textures, colours, backgrounds
"""
