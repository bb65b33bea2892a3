"""Self-supervised pre-training, so that no download is ever required."""
