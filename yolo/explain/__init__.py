"""Why an object was found or missed.

trace.py        every box of an image, which became detections, and what suppressed the others
responsible.py  which boxes are responsible for the objects, by each of the three rules
scene.py        one image: its objects, all boxes of the network, what each detection is
reasons.py      why an object was found or missed
text.py         an explained image as numbers and as text
draw.py         an explained image as a drawing
build.py        everything about one image
"""
