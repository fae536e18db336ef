"""Everything that touches pixels.

files.py      any image file <-> RGB uint8
placement.py  where an image lies in the network input, and the inverse
resize.py     resize, letterbox, darknet's own resize
draw.py       boxes on images
sources.py    images, folders, globs, videos, cameras as one stream
"""
