"""Everything that touches pixels.

opencv.py     OpenCV, or which package is missing
header.py     width and height from the header of an image file
files.py      image files to RGB uint8 and back
placement.py  where an image lies in the network input; coordinates there and back
resize.py     images to network inputs: resize, letterbox, darknet's own resize
draw.py       boxes on images
video.py      frames of a video, a stream or a camera, all or the newest
inputs.py     what a caller of Python gives, such as arrays, Pillow's images and tensors, as images
sources.py    images, folders, globs, videos and cameras as one stream of images
"""
