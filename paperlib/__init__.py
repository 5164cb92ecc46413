"""Algorithms of three vision papers, thin enough to read beside the notebooks that use them."""

__version__ = "0.1.0"
