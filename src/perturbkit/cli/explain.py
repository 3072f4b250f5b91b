"""`perturbkit explain`: the network behind a screen, or the perturbations behind a response."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from perturbkit.core.graph import Graph


def explain(  # noqa: PLR0913, PLR0917  (the options of two questions)
    screen: Annotated[
        list[str],
        typer.Argument(
            metavar="[regulators] SCREEN",
            help="A screen's name or path, or a run's folder; `regulators` before it asks which "
            "perturbations bring about --response.",
        ),
    ],
    method: Annotated[str, typer.Option(help="One of `perturbkit list grn_methods`.")] = "direct",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o",
            help="Where to write: .tsv, .csv, .graphml or .sif. Default: grn.tsv, regulators.tsv.",
        ),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option(
            help="Keep edges up to this false discovery rate; 1 keeps all. "
            "Default: 0.05 where the method gives rates."
        ),
    ] = None,
    edges: Annotated[int | None, typer.Option(help="Keep so many of the strongest edges.")] = None,
    response: Annotated[
        Path | None,
        typer.Option(help="A table with `gene` and its change: rank perturbations instead."),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Also draw the strongest edges: .svg, .png or .pdf.")
    ] = None,
    around: Annotated[
        list[str] | None, typer.Option(help="Draw around this gene (repeatable).")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Unit of an h5ad file that does not state its own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:  # fmt: skip
    """Infer which gene regulates which, strongest first; or what brings about a response."""
    source = _source(screen, response)
    if response is not None:
        _regulators(source, response, out or Path("regulators.tsv"), unit, seed)
        return
    path = out or Path("grn.tsv")
    options = {"method": method, "unit": unit, "n_edges": edges}
    graph = _network(source, path, fdr, seed, options)
    if draw is not None:
        from perturbkit.core.rng import named_rng
        from perturbkit.grn.draw import draw_graph

        draw_graph(graph, draw, named_rng(seed, "draw"), genes=around or ())


def _network(
    source: str, path: Path, fdr: float | None, seed: int, options: dict[str, Any]
) -> "Graph":
    """Infer, write and show the network."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.rng import named_rng
    from perturbkit.grn import GRN_METHODS
    from perturbkit.grn.export import checked_suffix, edge_table, save_graph
    from perturbkit.recipes import networks

    method = options["method"]
    checked_suffix(path)
    limit = fdr if fdr is not None or not GRN_METHODS[method].calibrated else 0.05
    rng = named_rng(seed, "explain", method)
    graph = networks.network_of(source, rng=rng, max_fdr=limit, **options)
    save_graph(graph, path)
    print_table(f"strongest edges by {method}", edge_table(graph).head(10).to_dicts())
    rate = f" at a false discovery rate of {limit:g}" if limit is not None else ""
    typer.echo(f"{graph.n_edges:,} edges{rate} written to {path}", err=True)
    return graph


def _regulators(source: str, response: Path, path: Path, unit: str | None, seed: int) -> None:
    """Rank, write and show the perturbations behind a response."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.rng import named_rng
    from perturbkit.recipes import networks

    rng = named_rng(seed, "regulators")
    table = networks.regulators_of(source, response, rng, unit=unit)
    _write(table, path)
    print_table(f"perturbations behind {response.name}", table.head(10).to_dicts())
    typer.echo(f"{table.height:,} perturbations ranked in {path}", err=True)


def _source(words: list[str], response: Path | None) -> str:
    """Return the screen among the words, after the optional `regulators`."""
    asks_back = len(words) > 1 and words[0] == "regulators"
    if len(words) != 1 + asks_back:
        message = f"found {' '.join(words)!r}; name one screen or run: explain SCREEN"
        raise typer.BadParameter(message)
    if asks_back and response is None:
        message = "`explain regulators` needs --response FILE, a table with `gene` and its change"
        raise typer.BadParameter(message)
    return words[-1]


def _write(table, path: Path) -> None:  # noqa: ANN001  (polars is imported late)
    from perturbkit.core.files import atomic_path

    with atomic_path(path) as temporary:
        table.write_csv(temporary, separator="," if path.suffix == ".csv" else "\t")
