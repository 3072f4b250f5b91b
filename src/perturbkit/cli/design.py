"""`perturbkit design`: campaigns that choose the next experiments, replay and planning."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from perturbkit.cli.design_inputs import (
    Sources,
    campaign_knowledge,
    data_folder,
    pool_knowledge,
    read_pilot,
    read_pool,
    remember,
    remembered,
    write_order_list,
)
from perturbkit.cli.options import Quiet

app = typer.Typer(no_args_is_help=True, help="Choose the next experiments, round by round.")

Folder = Annotated[Path, typer.Argument(help="The campaign's folder.")]
Graphs = Annotated[
    Path | None, typer.Option(help="Folder with STRING, hu.MAP, Reactome and GO files.")
]
Essentials = Annotated[
    Path | None, typer.Option(help="List of essential genes, such as CEGv2.txt.")
]
Earlier = Annotated[
    list[Path] | None,
    typer.Option(help="Earlier screen of the same genes, in a format of `replay` (repeatable)."),
]
Other = Annotated[
    list[Path] | None,
    typer.Option(
        help="Screen of another readout; the outcomes decide what it is worth (repeatable)."
    ),
]
Expressed = Annotated[
    Path | None, typer.Option(help="List of genes that the cells express, a name on each line.")
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Score from which a condition is a hit; its size where both ends are."),
]
OutFile = Annotated[Path | None, typer.Option("--out", "-o", help="Also write it here, as CSV.")]


class Objective(StrEnum):
    """What a campaign is after."""

    hits = "hits"
    model = "model"
    network = "network"


DEFAULT_POLICY = {
    Objective.hits: "warm_kernels", Objective.model: "prior_kernels", Objective.network: "random",
}  # fmt: skip
"""Policies by objective; a network campaign chooses by information, whatever its policy."""


class Side(StrEnum):
    """Which end of the score is a hit."""

    both = "both"
    high = "high"
    low = "low"


@app.command()
def new(  # noqa: PLR0913
    folder: Folder,
    *,
    pool: Annotated[Path, typer.Option(help="CSV with a column gene or perturbation.")],
    budget: Annotated[float, typer.Option(help="What may be spent; a condition costs 1.")] = 640,
    batch: Annotated[int, typer.Option(help="Conditions in a round.")] = 128,
    policy: Annotated[
        str | None, typer.Option(help="See `perturbkit list policies`; by default the objective's.")
    ] = None,
    objective: Annotated[Objective, typer.Option(help="What the campaign is after.")] = (
        Objective.hits
    ),
    readout: Annotated[
        list[str] | None, typer.Option(help="Column of the results (repeatable).")
    ] = None,
    hit: Annotated[Side, typer.Option(help="Which end is a hit.")] = Side.both,
    threshold: Threshold = None,
    exclude: Annotated[Path | None, typer.Option(help="List of genes never to choose.")] = None,
    guides: Annotated[int, typer.Option(help="Guides for each gene.")] = 4,
    controls: Annotated[float, typer.Option(help="Control guides, as a share.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
) -> None:
    """Start a campaign from a pool of conditions."""
    from perturbkit.core.campaign import Campaign, CampaignConfig
    from perturbkit.design.campaign import exclude as without
    from perturbkit.design.network_campaign import require_network
    from perturbkit.design.policy import policy_named
    from perturbkit.design.tables import read_essentials

    policy = policy or DEFAULT_POLICY[objective]
    policy_named(policy)
    table = read_pool(pool)
    if exclude is not None:
        table = without(table, read_essentials(exclude))
    if objective is Objective.network:
        targets = [str(p) for p in table["perturbation"]]
        readout = readout or sorted({t for p in targets for t in p.split("+")})
        require_network(targets, tuple(readout))
    settings = {
        "objective": objective.value, "budget": budget, "batch": batch, "policy": policy,
        "readouts": readout or ["score"], "hit": hit.value, "threshold": threshold,
        "guides_per_gene": guides, "control_share": controls, "seed": seed,
    }  # fmt: skip
    campaign = Campaign.create(folder, table, CampaignConfig.parse(settings))
    typer.echo(
        f"{folder}: {campaign.pool.height:,} conditions, budget {budget:g} in rounds of {batch}, "
        f"policy {policy}; next: perturbkit design next {folder}"
    )


@app.command("next")
def next_batch(  # noqa: PLR0913
    folder: Folder, *, graphs: Graphs = None, essentials: Essentials = None,
    earlier: Earlier = None, other: Other = None, expressed: Expressed = None,
    threshold: Threshold = None, out: OutFile = None,
) -> None:  # fmt: skip
    """Choose the next batch, or show the one that waits for results."""
    from perturbkit.core.campaign import Campaign
    from perturbkit.design.campaign import next_round
    from perturbkit.design.gather import from_columns

    campaign = Campaign.open(folder)
    waiting = campaign.open_round is not None
    sources = Sources(graphs, essentials, tuple(earlier or ()), tuple(other or ()), expressed)
    if waiting:
        known = from_columns(campaign.pool)  # the batch stands: what is known cannot change it
    else:
        sources = remembered(folder, sources)
        known = campaign_knowledge(campaign, sources)
    chosen = next_round(campaign, known, threshold=threshold)
    if not waiting:
        remember(folder, sources)
    write_order_list(chosen.chosen, out)
    state = "waits for results" if waiting else "chosen"
    file = folder / f"round_{chosen.index:03d}.csv"
    readouts = campaign.config.readouts
    columns = ", ".join(readouts[:3]) + (", ..." if len(readouts) > 3 else "")
    typer.echo(
        f"round {chosen.index} {state}: {chosen.chosen.height} conditions in {file}; "
        f"{campaign.remaining:g} of {campaign.config.budget:g} left; when it is measured: "
        f"perturbkit design record {folder} RESULTS.csv (columns gene, {columns})", err=True,
    )  # fmt: skip


@app.command()
def record(
    folder: Folder, results: Annotated[Path, typer.Argument(help="CSV with the results.")]
) -> None:
    """Record the results of the round that waits for them; all of the file or nothing."""
    import polars as pl

    from perturbkit.core.campaign import Campaign
    from perturbkit.core.errors import FileError
    from perturbkit.core.files import existing

    try:
        # as text: what is not a number is named, not guessed at
        table = pl.read_csv(existing(results, "results"), infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        message = f"{results} is no table ({error}); nothing was recorded: write it as CSV"
        raise FileError(message) from error
    done = Campaign.open(folder).record(table)
    typer.echo(
        f"round {done.index}: {done.chosen.height} results recorded; next: perturbkit design next "
        f"{folder}"
    )


@app.command()
def status(folder: Folder, threshold: Threshold = None) -> None:
    """Show rounds, spending, hits and whether another round pays."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.campaign import Campaign
    from perturbkit.design.campaign import status_of

    about = status_of(Campaign.open(folder), threshold=threshold)
    rounds = list(about.pop("rounds"))  # type: ignore[call-overload]
    if rounds:
        print_table("rounds", rounds)
    for name, value in about.items():
        typer.echo(f"{name}: {value}")


@app.command()
def replay(  # noqa: PLR0913
    *,
    screen: Annotated[str, typer.Option(help="CSV of a measured screen, or a known name.")],
    graphs: Graphs = None,
    essentials: Essentials = None,
    earlier: Earlier = None,
    other: Other = None,
    expressed: Expressed = None,
    policy: Annotated[list[str] | None, typer.Option(help="Policy (repeatable).")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 5,
    batch: Annotated[int, typer.Option(help="Conditions in a round.")] = 128,
    seeds: Annotated[int, typer.Option(help="Repeats.")] = 20,
    keep_essentials: Annotated[
        bool, typer.Option("--keep-essentials", help="Leave essential genes in the pool.")
    ] = False,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Permute the outcomes: the control.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the table.")] = None,
) -> None:
    """Let policies choose from a screen that was measured in full, and count the hits."""
    import numpy as np

    from perturbkit.cli.tables import print_table
    from perturbkit.core.files import write_text
    from perturbkit.design.policy import policy_named
    from perturbkit.design.replay import ReplayPlan, replay, summarise
    from perturbkit.design.tables import open_replay, read_essentials

    names = list(dict.fromkeys(["random", *(policy or ["degree", "prior", "greedy"])]))
    chosen = {n: policy_named(n) for n in names}
    table = open_replay(screen, data_folder())
    barred = read_essentials(essentials) if essentials else set()
    if barred and not keep_essentials:
        table = table.without(barred)
    if shuffle:
        table = table.shuffled(np.random.default_rng(0))
    sources = Sources(graphs, essentials, tuple(earlier or ()), tuple(other or ()), expressed)
    known = pool_knowledge(list(table.conditions), sources)
    results = replay(table, chosen, known, ReplayPlan(rounds, batch, seeds))
    summary = summarise(results, table, np.random.default_rng(0))
    print_table(
        f"{table.name}: {int(table.hit_c.sum())} hits among {len(table.conditions):,}; "
        "efficiency is hits over chance, low and high its 95 % interval",
        summary.select("policy", "seeds", "hits", "efficiency", "low", "high", "area", "saved",
                       "regret").to_dicts(),
    )  # fmt: skip
    if out is not None:
        write_text(out / "replay.csv", summary.write_csv())
        typer.echo(f"wrote {out / 'replay.csv'}")


@app.command("train-agent")
def train_agent(
    agent: Annotated[str, typer.Argument(help="See `perturbkit list agents`.")] = "actor_critic",
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the agent.")],
    updates: Annotated[int, typer.Option(help="Gradient steps.")] = 110,
    topology: Annotated[
        list[Path] | None,
        typer.Option(help="Table of directed edges, such as YEASTRACT's (repeatable)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    max_stage: Annotated[int, typer.Option(help="Last stage of the curriculum.")] = 5,
    quiet: Quiet = False,
) -> None:
    """Train an agent on simulated screens; its folder is then a --policy of replay and new."""
    from perturbkit.design.agents import AGENTS, AgentConfig
    from perturbkit.design.agents.store import refuse_agent
    from perturbkit.design.agents.topologies import read_topology
    from perturbkit.design.agents.training import train_agent as train

    name = AGENTS[agent].name
    refuse_agent(out)
    config = AgentConfig.parse({"n_updates": updates, "max_stage": max_stage})
    graphs = [read_topology(path) for path in topology or ()]

    def told(update: int, n: int, record: dict) -> None:
        if quiet or ("test_efficiency" not in record and "promoted_to" not in record):
            return
        test = record.get("test_efficiency")
        line = f"update {update + 1} of {n}: {record['stage']}, {record['efficiency']:.2f}x chance"
        line += f"; held-out screens {test:.2f}x" if test is not None else ""
        line += f"; promoted to {record['promoted_to']}" if "promoted_to" in record else ""
        typer.echo(line, err=True)

    train(name, config, seed, topologies=graphs, out=out, watch=told)
    typer.echo(f"{out}: {name}; next: perturbkit design replay --policy {out} --screen ifng")


@app.command()
def plan(  # noqa: PLR0913
    *,
    effect: Annotated[float, typer.Option(help="Smallest effect worth finding.")],
    genes: Annotated[int, typer.Option(help="Genes in the screen.")],
    cell_sd: Annotated[float, typer.Option(help="Spread between cells of a guide.")] = 1.0,
    guide_sd: Annotated[float, typer.Option(help="Spread between guides of a gene.")] = 0.2,
    replicate_sd: Annotated[float, typer.Option(help="Spread between replicates.")] = 0.1,
    power: Annotated[float, typer.Option(help="Chance to find it.")] = 0.8,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="CSV of a pilot's cells (value, gene, guide, replicate) for the spreads."
        ),
    ] = None,
    counting: Annotated[
        float, typer.Option(help="Share of the variance between cells that is counting noise.")
    ] = 0.0,
) -> None:
    """Plan guides, cells, replicates and depth: the ten cheapest designs that reach the power."""
    from dataclasses import replace

    from perturbkit.cli.tables import print_table
    from perturbkit.design.planning import Pilot, Prices, plan_table

    spreads = read_pilot(pilot) if pilot else Pilot(cell_sd, guide_sd, replicate_sd)
    spreads = replace(spreads, counting_share=counting)
    typer.echo(
        f"standard deviations: cells {spreads.cell_sd:.3g}, guides {spreads.guide_sd:.3g}, "
        f"replicates {spreads.replicate_sd:.3g}", err=True,
    )  # fmt: skip
    designs = plan_table(spreads, effect, genes, Prices(), wanted=power)
    print_table(f"designs of at least {power:.0%} power", designs.head(10).to_dicts())
    if not designs.height:
        typer.echo("no design within 10 guides, 1000 cells and 6 replicates reaches this power")
        raise typer.Exit(1)
