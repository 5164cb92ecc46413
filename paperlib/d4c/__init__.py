"""D4C: Data-Free Quantization for CLIP models (Zhang et al., arXiv 2511.15411)."""
