"""What is wrong with a data set, and what looks wrong.

finding.py        kinds of findings and what to do about them
opened.py         all splits of a data set, and what the reader says about them
copies.py         images that are there more than once, whatever was done to the copies
twins.py          what copies mean: leaks, contradictions
labels.py         what the labels alone give away
against_model.py  labels and confident detections that contradict each other
sheet.py          suspicious images with what is odd in them
report.py         findings as text, json and a page
"""
