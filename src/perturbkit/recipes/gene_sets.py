"""Which gene sets the modules of a network come from, from files."""

from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.errors import ConfigError, SchemaError
from perturbkit.core.files import existing
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.graphs.sets import read_gmt
from perturbkit.grn.enrichment import enriched
from perturbkit.grn.export import load_graph
from perturbkit.grn.modules import modules

BY = ("regulator", "module")
"""What the genes are grouped by."""
MAX_SET = 500
"""Larger gene sets say too little to be tested."""


def enriched_sets(
    network: str | Path,
    sets: str | Path,
    measured: str | Path | None,
    *,
    by: str,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Test the targets of each regulator, or modules, of a network against gene sets.

    Args:
        network: a file of edges.
        sets: a GMT file.
        measured: a text file with every gene that could have had an edge; by default the genes of
            the network, which is a smaller background and makes fewer sets look surprising.
        by: one of BY.
        rng: draws the order in which modules are grown.

    Raises:
        ConfigError: another `by`.
        SchemaError: no gene set shares genes with the background, or no group is large enough.
    """
    if by not in BY:
        message = f"--by is {by!r}; it is {' or '.join(BY)}"
        raise ConfigError(message)
    graph = load_graph(network)
    background = graph.nodes
    if measured is not None:
        lines = existing(measured, "file of genes").read_text(encoding="utf-8").splitlines()
        listed = [line.split("\t")[0].strip() for line in lines if line.strip()]
        background = Vocabulary(dict.fromkeys([*listed, *graph.nodes]), "gene")
    members = {name: genes for name, _, genes in read_gmt(sets) if len(genes) <= MAX_SET}
    if by == "module":
        groups = modules(graph, rng)
    else:
        table = graph.table().group_by("source", maintain_order=True).agg("target")
        groups = dict(table.iter_rows())
    found = enriched(groups, members, background)
    if not found.height:
        largest = max((len(g) for g in groups.values()), default=0)
        covered = len(set(background) & {g for genes in members.values() for g in genes})
        message = (
            f"nothing could be tested: {len(groups)} groups, the largest of {largest} genes (5 are "
            f"needed), and {covered} of {len(background)} genes are in the sets; keep more edges, "
            "or check the gene names"
        )
        raise SchemaError(message)
    return found
