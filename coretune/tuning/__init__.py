"""The science: losses, hard pairs, methods, and the training loop."""
