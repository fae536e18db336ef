"""Ablation studies: variants of a training times seeds, side by side, and what they show."""
