"""Readers: one file per format, each returning what the file holds or one clear error."""
