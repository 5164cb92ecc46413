"""Servers that compute windows and the edge that sends them."""
