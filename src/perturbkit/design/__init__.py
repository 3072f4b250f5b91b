"""Choosing the next experiments."""
