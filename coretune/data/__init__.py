"""Images: sources, packing, splits, random draws, batched augmentation."""
