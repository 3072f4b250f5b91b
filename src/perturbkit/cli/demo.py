"""`perturbkit demo`: the main job on a simulated screen."""

from pathlib import Path
from typing import Annotated

import typer

from perturbkit.cli.options import Force, Quiet


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    *,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a screen, then fit, predict, explain, design and report; needs no data."""
    from perturbkit.cli.progress import bar
    from perturbkit.cli.tables import print_table
    from perturbkit.recipes import demo as steps
    from perturbkit.recipes import verbs
    from perturbkit.recipes.summaries import prediction_rows, score_rows, verdict

    typer.echo("1/5 fit: an ensemble of three LPMs and every baseline, on a simulated screen")
    with bar(quiet=quiet) as watch:
        fitted = steps.fit(out, force=force, seed=seed, watch=watch)
    world = fitted.world()
    typer.echo(f"    {world.screen}")

    typer.echo("2/5 predict: seen, unseen combination, gene never perturbed, unknown name")
    predicted = verbs.predict(fitted.run, steps.questions(world.screen))
    controls = verbs.predicted_controls(fitted.run, predicted)
    print_table("predictions", prediction_rows(predicted, controls, 3))

    typer.echo("3/5 explain: which gene regulates which")
    graph, found = steps.infer_network(fitted, world)
    print_table("strongest edges", graph.table().head(5).to_dicts())
    figures = ", ".join(f"{k} {v:.3f}" for k, v in found.items() if isinstance(v, float))
    typer.echo(f"    {graph.n_edges} edges at a false discovery rate of {steps.MAX_FDR:g}")
    typer.echo(f"    against the true network: {figures}")

    typer.echo("4/5 design: what to perturb next")
    print_table("next experiments", steps.next_experiments(fitted, world).to_dicts())

    typer.echo("5/5 score and report")
    scores = verbs.score(fitted.run)
    print_table("held-out scores, mean over conditions [95 % interval]", score_rows(scores))
    typer.echo(verdict(scores, scores.models[0]))
    typer.echo(f"report: {verbs.report(fitted.run).resolve()}")
