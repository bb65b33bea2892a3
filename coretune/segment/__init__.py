"""Semantic segmentation: a class for each pixel. Task, heads, pixel sampling, metrics."""
