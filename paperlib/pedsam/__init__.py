"""PED-SAM: Segment Anything across servers that never see the image."""
