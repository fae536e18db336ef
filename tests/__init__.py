"""Tests mirror the modules. `python -m tests` runs the formatter, the linter, the type checker and the tests."""
