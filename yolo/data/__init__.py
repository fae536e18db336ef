"""Data sets: where they come from, and how pictures and boxes become batches."""
