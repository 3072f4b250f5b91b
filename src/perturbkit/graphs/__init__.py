"""Networks of genes: one file per source, every one read into a Graph."""
