"""PED-SAM: Segment Anything across servers of which none sees the whole image."""
