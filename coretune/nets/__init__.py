"""Backbones, the model around them, and their weights on disk."""
