"""Whole studies: the verbs behind the Python API and the command line."""
