"""`perturbkit hyperperturb`: signed effects, levels and the next targets from one screen."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Geometry(StrEnum):
    """The space of the embeddings."""

    hyperbolic = "hyperbolic"
    euclidean = "euclidean"


def hyperperturb(  # noqa: PLR0913
    screen: Annotated[str, typer.Argument(help="A screen's name or a file.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    graph: Annotated[
        list[str] | None,
        typer.Option(help="Prior network: `string`, or a table of edges. Default: none."),
    ] = None,
    graphs: Annotated[Path | None, typer.Option(help="Folder with the networks' files.")] = None,
    curvature: Annotated[float, typer.Option(help="Curvature to start from, 0.05 to 5.")] = 1.0,
    sparsity: Annotated[float, typer.Option(help="Share of effects in the network.")] = 0.15,
    epochs: Annotated[int, typer.Option(help="Passes over the conditions.")] = 60,
    quantum: Annotated[
        bool,
        typer.Option(
            "--quantum/--no-quantum",
            help="The annealed schedule, by its published name (nothing in it is quantum); else "
            "the rate is constant.",
        ),
    ] = True,
    geometry: Annotated[Geometry, typer.Option(help="Hyperbolic, or its twin.")] = (
        Geometry.hyperbolic
    ),
    info_gain: Annotated[float, typer.Option(help="Weight of information in the reward.")] = 1.0,
    hierarchy: Annotated[float, typer.Option(help="Weight of the hierarchy.")] = 0.2,
    bf16: Annotated[bool, typer.Option("--bf16", help="Mixed precision.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Less memory, more time.")
    ] = False,
    k: Annotated[int, typer.Option("--next", help="How many targets to suggest.")] = 10,
    unit: Annotated[str | None, typer.Option(help="Unit of an h5ad file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
) -> None:
    """Fit HyperPerturb to a screen: effects of every gene, levels, a policy for what is next."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.errors import FileError
    from perturbkit.data.screens import open_screen
    from perturbkit.design.hyperperturb import HyperPerturbTrainer
    from perturbkit.design.hyperperturb.networks import prior_network

    trainer = HyperPerturbTrainer(
        curvature, {"info_gain": info_gain, "hierarchy": hierarchy},
        "quantum" if quantum else "constant", sparsity=sparsity, epochs=epochs, seed=seed,
        geometry=geometry.value, precision="bf16" if bf16 else "fp32", checkpointing=checkpointing,
    )  # fmt: skip
    if (out / "model.json").exists():
        message = f"{out} holds a fitted model; choose another folder, or remove that one"
        raise FileError(message)
    network = prior_network(graph or (), graphs)
    fitted = trainer.train(open_screen(screen, unit=unit, seed=seed), network)
    fitted.save(out)
    found = fitted.summary()
    gain = 1 - found["error"] / found["error_of_mean"]
    verdict = "no different" if abs(gain) < 0.01 else "better" if gain > 0 else "worse"
    typer.echo(
        f"held-out perturbations: squared error {found['error']:.3f}, of the mean change "
        f"{found['error_of_mean']:.3f}: {verdict} ({gain:+.1%}); "
        f"curvature {found['curvature']:.2f}"
    )
    n_free = len(fitted.genes) - len(set(fitted.inputs.target_cg.indices.tolist()))
    if min(k, n_free):
        print_table("perturb next", fitted.next_targets(min(k, n_free)).to_dicts())
    typer.echo(f"effects, genes and the network are in {out}")
