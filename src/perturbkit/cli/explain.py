"""`perturbkit explain`: the network behind a screen."""

from pathlib import Path
from typing import Annotated

import typer


def explain(
    screen: Annotated[str, typer.Argument(help="A screen's name or path.")],
    method: Annotated[str, typer.Option(help="One of `perturbkit list grn_methods`.")] = "direct",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write: .tsv, .csv, .graphml or .sif.")
    ] = Path("grn.tsv"),
    fdr: Annotated[
        float | None,
        typer.Option(
            help="Keep edges up to this false discovery rate; 1 keeps all. "
            "Default: 0.05 where the method gives rates."
        ),
    ] = None,
    edges: Annotated[int | None, typer.Option(help="Keep so many of the strongest edges.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="Unit of an h5ad file that does not state its own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Infer which gene regulates which, and write the edges, strongest first."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.rng import named_rng
    from perturbkit.data.screens import open_screen
    from perturbkit.grn import GRN_METHODS
    from perturbkit.grn.explain import explain as infer
    from perturbkit.grn.export import edge_table, save_graph

    card = GRN_METHODS[method]
    limit = fdr if fdr is not None or not card.calibrated else 0.05
    graph = infer(
        open_screen(screen, unit=unit, seed=seed), method=method,
        rng=named_rng(seed, "explain", method), max_fdr=limit, n_edges=edges,
    )  # fmt: skip
    save_graph(graph, out)
    print_table(f"strongest edges by {method}", edge_table(graph).head(10).to_dicts())
    rate = f" at a false discovery rate of {limit:g}" if limit is not None else ""
    typer.echo(f"{graph.n_edges:,} edges{rate} written to {out}", err=True)
