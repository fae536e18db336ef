"""Data sets: from the user's files to samples."""
