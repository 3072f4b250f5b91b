"""Gene names and gene features."""
