"""Published networks that turn images into feature maps.

published.py  a published network up to its last feature map, by name
lite0.py      EfficientNet-Lite0
"""
