"""The models: what the rest of the program knows of a detector, and the detectors themselves."""
