"""`perturbkit explain`: the network behind a screen, its scores, drawing and gene sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from perturbkit.core.graph import Graph

DEFAULT = "network"
"""What `explain SCREEN` means."""


class NetworkByDefault(TyperGroup):
    """A group in which a first word that is no command goes to `network`."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:  # noqa: ANN001  (typer's own click)
        """Put the default command before anything but a command or a request for help."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=NetworkByDefault,
    no_args_is_help=True,
    help="Infer which gene regulates which (`explain SCREEN`), score networks, ask back.",
)

Unit = Annotated[str | None, typer.Option(help="Unit of an h5ad file that does not state its own.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Source = Annotated[str, typer.Argument(help="A screen's name or path, or a run's folder.")]
Networks = Annotated[
    list[str],
    typer.Argument(help="Files of edges (.tsv, .csv, .sif, .graphml), methods, or runs."),
]
Graphs = Annotated[
    Path | None, typer.Option(help="A folder of databases (STRING, hu.MAP, Reactome, ...).")
]
Prior = Annotated[
    list[str] | None,
    typer.Option(
        help="Raise edges that this database of --graphs has too, by as much as the "
        "screen itself supports (repeatable)."
    ),
]
Around = Annotated[list[str] | None, typer.Option(help="Draw around this gene (repeatable).")]


@app.command(DEFAULT)
def network(  # noqa: PLR0913, PLR0917  (the options of one question)
    source: Source,
    method: Annotated[
        str,
        typer.Option(
            help="One of `perturbkit list grn_methods`, or gpo_vae, which is fitted to the cells."
        ),
    ] = "direct",
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
    draw: Annotated[
        Path | None, typer.Option(help="Also draw the strongest edges: .svg, .png or .pdf.")
    ] = None,
    around: Around = None,
    prior: Prior = None,
    graphs: Graphs = None,
    *,
    impute: Annotated[
        bool,
        typer.Option(
            "--impute", help="For a run: also ask its model for perturbations never made."
        ),
    ] = False,
    unit: Unit = None,
    seed: Seed = 0,
) -> None:
    """Infer which gene regulates which, strongest first. The default command."""
    from perturbkit.core.rng import named_rng
    from perturbkit.grn.draw import checked_picture
    from perturbkit.grn.export import checked_suffix
    from perturbkit.recipes import networks
    from perturbkit.recipes.learned_networks import gives_rates

    checked_suffix(out)
    if draw is not None:
        checked_picture(draw)
    limit = fdr if fdr is not None or not gives_rates(method) else 0.05
    priors = networks.priors_of(prior or (), graphs)
    # what a database raises may pass the limit only then
    cut = {} if priors else {"max_fdr": limit, "n_edges": edges}
    rng = named_rng(seed, "explain", method)
    graph = networks.network_of(source, method=method, rng=rng, unit=unit, impute=impute, **cut)
    if priors:
        graph = _raised(graph, priors, limit, edges)
    _save_network(graph, out, limit)
    if draw is not None:
        _draw(graph, draw, around, seed)


def _raised(
    graph: "Graph", priors: "Mapping[str, Graph]", max_fdr: float | None, n_edges: int | None
) -> "Graph":
    """Raise edges that databases have too, say by how much, and keep the strongest."""
    from perturbkit.cli.tables import print_table
    from perturbkit.grn.combine import supported_by
    from perturbkit.grn.explain import strongest

    raised, gains = supported_by(graph, priors)
    print_table("what databases add", gains)
    return strongest(raised, max_fdr=max_fdr, n_edges=n_edges)


def _save_network(graph: "Graph", out: Path, max_fdr: float | None) -> None:
    from perturbkit.cli.tables import print_table
    from perturbkit.grn.export import edge_table, save_graph

    save_graph(graph, out)
    print_table("strongest edges", edge_table(graph).head(10).to_dicts())
    rate = f" at a false discovery rate of {max_fdr:g}" if max_fdr is not None else ""
    typer.echo(f"{graph.n_edges:,} edges{rate} written to {out}", err=True)


def _draw(graph: "Graph", picture: Path, around: list[str] | None, seed: int) -> None:
    from perturbkit.core.rng import named_rng
    from perturbkit.grn.draw import draw_graph

    drawn = draw_graph(graph, picture, named_rng(seed, "draw"), genes=around or ())
    typer.echo(f"{drawn.n_edges} edges drawn in {picture}", err=True)


@app.command()
def regulators(
    source: Source,
    response: Annotated[
        Path | None,
        typer.Option(help="A table with `gene` and its change from state A to state B."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write, as .tsv or .csv.")
    ] = Path("regulators.tsv"),
    unit: Unit = None,
    seed: Seed = 0,
) -> None:
    """Rank the perturbations that bring a state from A to B, with uncertainty."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.rng import named_rng
    from perturbkit.grn.regulators import read_response
    from perturbkit.recipes import networks

    if response is None:
        message = "`explain regulators` needs --response FILE, a table with `gene` and its change"
        raise typer.BadParameter(message)
    change = read_response(str(response))
    if change.all_rise:
        typer.echo(
            f"note: no gene of {response.name} falls; if these are levels and not changes, "
            "subtract those of state A",
            err=True,
        )
    table = networks.regulators_of(source, change, named_rng(seed, "regulators"), unit=unit)
    _write(table, out)
    print_table(f"perturbations behind {response.name}", table.head(10).to_dicts())
    typer.echo(f"{table.height:,} perturbations ranked in {out}", err=True)


@app.command()
def score(  # noqa: PLR0913  (the options of one question)
    networks: Networks,
    screen: Annotated[
        str | None,
        typer.Option(help="Screen of cells to test in. Methods are inferred from its other cells."),
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="File with the known network.")] = None,
    graphs: Graphs = None,
    standard: Annotated[
        list[str] | None, typer.Option(help="Only this database of --graphs (repeatable).")
    ] = None,
    edges: Annotated[
        int | None,
        typer.Option(help="Compare at so many edges. Default: those of the smallest network."),
    ] = None,
    *,
    every_readout: Annotated[
        bool,
        typer.Option("--every-readout", help="Judge edges to all readouts, not only to targets."),
    ] = False,
    folds: Annotated[
        int, typer.Option(help="Also leave perturbations out, in so many folds; 0: do not.")
    ] = 0,
    test_share: Annotated[
        float, typer.Option(help="Share of each condition's cells that is tested.")
    ] = 0.5,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write, as .tsv or .csv.")
    ] = Path("network_scores.tsv"),
    draw: Annotated[
        Path | None, typer.Option(help="Draw scores over numbers of edges: .svg, .png or .pdf.")
    ] = None,
    unit: Unit = None,
    seed: Seed = 0,
) -> None:
    """Score networks: held-out cells and perturbations, databases, a known truth."""
    from perturbkit.cli.tables import print_table
    from perturbkit.grn.draw import checked_picture
    from perturbkit.grn.draw_curves import draw_curves
    from perturbkit.recipes.network_scores import ScoreRequest, compared, score_request

    if draw is not None:
        checked_picture(draw)
    found = score_request(ScoreRequest(
        networks=networks, screen=screen, unit=unit, truth=_text(truth), graphs=_text(graphs),
        standards=standard or (), every_readout=every_readout, n_edges=edges,
        test_share=test_share, n_folds=folds, seed=seed,
    ))  # fmt: skip
    _write(found.table, out)
    for title, rows in compared(found.table):
        print_table(title, rows)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{found.table.height:,} scores written to {out}", err=True)
    if draw is not None:
        typer.echo(f"{draw_curves(found.table, draw)} panels drawn in {draw}", err=True)


@app.command()
def modules(
    network_file: Annotated[Path, typer.Argument(metavar="NETWORK", help="A file of edges.")],
    sets: Annotated[Path, typer.Option(help="Gene sets as .gmt or .gmt.gz: GO, Reactome, yours.")],
    measured: Annotated[
        Path | None,
        typer.Option(
            help="Text file of all genes that could have had an edge: the background. "
            "Default: the genes of the network."
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="`regulator`: the targets of each; `module`: groups of genes.")
    ] = "regulator",
    fdr: Annotated[float, typer.Option(help="Show sets up to this false discovery rate.")] = 0.05,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write, as .tsv or .csv.")
    ] = Path("modules.tsv"),
    seed: Seed = 0,
) -> None:
    """Test which gene sets the targets of regulators, or modules, come from."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.rng import named_rng
    from perturbkit.recipes.gene_sets import enriched_sets

    table = enriched_sets(network_file, sets, measured, by=by, rng=named_rng(seed, "modules"))
    _write(table, out)
    shown = table.filter(table["fdr"] <= fdr)
    print_table(f"gene sets at a false discovery rate of {fdr:g}", shown.head(15).to_dicts())
    typer.echo(f"{shown.height:,} of {table.height:,} tests pass; all written to {out}", err=True)


@app.command()
def draw(
    network_file: Annotated[Path, typer.Argument(metavar="NETWORK", help="A file of edges.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture: .svg, .png or .pdf.")],
    around: Around = None,
    edges: Annotated[int, typer.Option(help="Draw at most so many edges.")] = 50,
    seed: Seed = 0,
) -> None:
    """Draw the strongest edges of a network, or those around chosen genes."""
    from perturbkit.core.rng import named_rng
    from perturbkit.grn.draw import draw_graph
    from perturbkit.grn.export import load_graph

    graph = load_graph(network_file)
    drawn = draw_graph(graph, out, named_rng(seed, "draw"), genes=around or (), n_edges=edges)
    typer.echo(f"{drawn.n_edges} of {graph.n_edges:,} edges drawn in {out}", err=True)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _write(table: "pl.DataFrame", path: Path) -> None:
    from perturbkit.core.files import atomic_path

    with atomic_path(path) as temporary:
        table.write_csv(temporary, separator="," if path.suffix == ".csv" else "\t")
