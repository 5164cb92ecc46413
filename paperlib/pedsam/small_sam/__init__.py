"""A small SAM: its training, its data, and segmentation with it."""
