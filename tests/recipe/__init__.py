"""Tests of `yolo/recipe`."""
