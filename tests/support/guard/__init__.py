"""The network guard of the tests; `sitecustomize.py` is imported by every Python process that they start."""
