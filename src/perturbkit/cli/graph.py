"""`perturbkit graph info|build|compare`: networks of genes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from perturbkit.core.graph import Graph

app = typer.Typer(no_args_is_help=True, help="Read, build and compare networks of genes.")

Where = Annotated[
    Path | None,
    typer.Option("--from", help="Folder or file of the network; by default it is downloaded."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, such as confidence=0.7 or mode=top_5; repeatable."),
]
Picture = Annotated[Path | None, typer.Option(help="Draw degrees here: .svg, .png or .pdf.")]


@app.command()
def info(
    network: Annotated[str, typer.Argument(help="One of `perturbkit list graphs`, or a .tsv.")],
    where: Where = None,
    settings: Settings = None,
    genes: Annotated[
        Path | None, typer.Option(help="Text file of genes: say which the network covers.")
    ] = None,
    picture: Picture = None,
) -> None:
    """Say how large a network is, how its degrees spread, and where it comes from."""
    from perturbkit.cli.tables import print_table
    from perturbkit.graphs.algebra import coverage
    from perturbkit.graphs.picture import degree_quantiles, draw

    graph = _read(network, where, settings or [])
    about = {k: v for k, v in graph.about().items() if isinstance(v, str) and v}
    rows = [{"what": k, "value": v} for k, v in (degree_quantiles(graph) | about).items()]
    print_table(str(graph), rows)
    if genes is not None:
        typer.echo(str(coverage(graph, _names(genes))))
    if picture is not None:
        draw({network: graph}, picture)


@app.command()
def build(
    network: Annotated[str, typer.Argument(help="One of `perturbkit list graphs`, or a .tsv.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the edges, as .tsv.")],
    where: Where = None,
    settings: Settings = None,
    genes: Annotated[
        Path | None, typer.Option(help="Text file of genes: keep edges among these.")
    ] = None,
    *,
    rewired: Annotated[
        bool, typer.Option("--rewired", help="Shuffle the edges and keep every degree: a control.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the shuffle.")] = 0,
) -> None:
    """Read a network, reduce it, and write its edges, strongest first."""
    from perturbkit.core.rng import named_rng
    from perturbkit.graphs.algebra import align, coverage
    from perturbkit.graphs.controls import rewire

    graph = _read(network, where, settings or [])
    if genes is not None:
        names = _names(genes)
        typer.echo(str(coverage(graph, names)), err=True)
        graph = align(graph, names)
    if rewired:
        graph = rewire(graph, named_rng(seed, "rewire", network))
    graph.save(out)
    typer.echo(f"{graph.n_edges:,} edges among {len(graph.nodes):,} genes written to {out}")


@app.command()
def compare(
    networks: Annotated[list[str], typer.Argument(help="Networks, or .tsv files, at least two.")],
    where: Where = None,
    picture: Picture = None,
) -> None:
    """Compare networks: sizes, degrees, and how many edges they share beyond chance."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.errors import ConfigError
    from perturbkit.graphs.picture import degree_quantiles, draw, overlap_table

    if len(set(networks)) < 2:
        message = f"found {', '.join(networks)}; name at least two different networks"
        raise ConfigError(message)
    graphs = {name: _read(name, where, []) for name in networks}
    print_table("networks", [{"network": n, **degree_quantiles(g)} for n, g in graphs.items()])
    print_table("shared edges among common genes", overlap_table(graphs))
    if picture is not None:
        draw(graphs, picture)


def _read(network: str, where: Path | None, settings: list[str]) -> "Graph":
    """Read a network of the catalogue, or a table of edges by its path."""
    from perturbkit.core.config import set_value
    from perturbkit.graphs.read import read_graph

    values: dict[str, Any] = {}
    for assignment in settings:
        set_value(values, assignment)
    if Path(network).suffix in (".tsv", ".csv", ".txt", ".gz"):
        return read_graph("edge_list", network, **values)
    if Path(network).suffix in (".sif", ".graphml", ".gmt"):
        return read_graph(Path(network).suffix[1:], network, **values)
    return read_graph(network, where, **values)


def _names(path: Path) -> list[str]:
    from perturbkit.core.files import existing

    text = existing(path, "file of genes").read_text(encoding="utf-8")
    return [line.split("\t")[0].strip() for line in text.splitlines() if line.strip()]
