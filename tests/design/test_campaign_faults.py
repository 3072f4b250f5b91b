"""Campaigns killed at every step of writing, wrong results files, and network campaigns."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from perturbkit.cli.design import app
from perturbkit.core.campaign import Campaign, CampaignConfig
from perturbkit.core.errors import SchemaError
from perturbkit.design.campaign import next_round
from perturbkit.design.gather import from_columns
from perturbkit.design.network import NetworkTruth
from perturbkit.design.network_campaign import evidence_of

N_ROUNDS = 2


def pool(n=30):
    rng = np.random.default_rng(0)
    return pl.DataFrame({"perturbation": [f"G{i}" for i in range(n)], "a": rng.normal(size=n)})


def advance(folder):
    """Do everything that is left of a campaign of two rounds."""
    if not (folder / "campaign.json").exists():
        for file in folder.glob("*") if folder.exists() else ():
            file.unlink()  # what a killed `new` left: a pool without a campaign
        settings = {"budget": 10.0, "batch": 5, "policy": "thompson", "hit": "high"}
        Campaign.create(folder, pool(), CampaignConfig.parse(settings))
    answer = dict(zip(pool()["perturbation"], pool()["a"], strict=True))
    campaign = Campaign.open(folder)
    while len(campaign.rounds()) < N_ROUNDS or campaign.open_round is not None:
        current = next_round(campaign, from_columns(campaign.pool))
        names = current.chosen["perturbation"].to_list()
        campaign.record(pl.DataFrame({"gene": names, "score": [answer[n] for n in names]}))


def files_of(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*")) if not p.name.startswith(".")}


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_campaign_faults import advance
step, before, count, real = int(sys.argv[3]), sys.argv[4] == "before", [0], Path.replace

def replace(self, target):
    count[0] += 1
    if count[0] == step and before:
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(self, target)
    if count[0] == step:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

Path.replace = replace
advance(Path(sys.argv[2]))
"""
"""Runs the campaign and kills itself (SIGKILL) just before or after its step-th rename."""


def test_a_kill_at_any_write_loses_nothing_and_repeats_nothing(tmp_path):
    advance(tmp_path / "whole")
    expected = files_of(tmp_path / "whole")
    assert len(expected) == 2 + 2 * N_ROUNDS
    for step in range(1, 2 + 2 * N_ROUNDS + 1):
        folder, moment = tmp_path / str(step), ("before", "after")[step % 2]
        here = str(Path(__file__).parent)
        child = subprocess.run(
            [sys.executable, "-c", CHILD, here, str(folder), str(step), moment], check=False
        )
        assert child.returncode == -signal.SIGKILL
        advance(folder)
        assert files_of(folder) == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: [*rows, ("NOPE", 1.0)], "1 not of this round: NOPE"),
        (lambda rows: [*rows, rows[0]], "1 more than once"),
        (lambda rows: rows[1:], "1 missing"),
        (lambda rows: [(rows[0][0], "high"), *rows[1:]], "are no numbers"),
        (lambda rows: [(rows[0][0], "inf"), *rows[1:]], "are no numbers"),
    ],
)
def test_wrong_results_are_named_and_nothing_is_recorded(tmp_path, change, says):
    settings = CampaignConfig(budget=10.0, batch=5, policy="random")
    campaign = Campaign.create(tmp_path / "c", pool(), settings)
    next_round(campaign, from_columns(campaign.pool))
    rows = [(n, 1.0) for n in campaign.open_round.chosen["perturbation"]]
    before = files_of(campaign.path)
    table = pl.DataFrame(
        [(str(n), str(v)) for n, v in change(rows)], schema=["gene", "score"], orient="row"
    )
    with pytest.raises(SchemaError, match=says):
        campaign.record(table)
    assert files_of(campaign.path) == before
    campaign.record(pl.DataFrame(rows, schema=["gene", "score"], orient="row"))
    assert campaign.open_round is None


def test_a_network_campaign_turns_to_the_regulators(tmp_path):
    rng = np.random.default_rng(0)
    n, hubs = 24, 3
    effect = np.zeros((n, n))
    for h in range(hubs):
        effect[h, rng.permutation(np.arange(hubs, n))[:10]] = 1.5
    np.fill_diagonal(effect, -2.0)
    truth = NetworkTruth(effect, effect > 0, effect > 0)
    genes = [f"G{i}" for i in range(n)]
    pairs = [f"{genes[a]}+{genes[b]}" for a in range(n) for b in range(a + 1, n)]
    pl.DataFrame({"perturbation": genes + pairs}).write_csv(tmp_path / "pool.csv")
    folder = tmp_path / "net"
    made = CliRunner().invoke(
        app, ["new", str(folder), "--pool", str(tmp_path / "pool.csv"), "--objective", "network",
              "--budget", "60", "--batch", "20"],
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    for _ in range(3):
        campaign = Campaign.open(folder)
        chosen = next_round(campaign, from_columns(campaign.pool)).chosen
        assert "regulates" in chosen["reason"][0]
        rows = []
        for name in chosen["perturbation"]:
            knocked = tuple(genes.index(t) for t in name.split("+"))
            rows.append([name, *(truth.pooled(knocked) + 0.5 * rng.standard_normal(n))])
        campaign.record(pl.DataFrame(rows, schema=["perturbation", *genes], orient="row"))
    evidence = evidence_of(Campaign.open(folder))
    assert evidence.n_g.min() >= 1
    assert evidence.n_g[:hubs].mean() > 1.3 * evidence.n_g[hubs:].mean()
    assert evidence.noise == pytest.approx(0.5, rel=0.4)
    refused = CliRunner().invoke(
        app, ["new", str(tmp_path / "bad"), "--pool", str(tmp_path / "pool.csv"),
              "--objective", "network", "--readout", "G0"],
    )  # fmt: skip
    assert isinstance(refused.exception, SchemaError)
    assert not (tmp_path / "bad").exists()


def test_a_plan_is_made_from_the_cells_of_a_pilot(tmp_path):
    rng = np.random.default_rng(0)
    gene, guide, rep, _ = (v.ravel() for v in np.indices((20, 3, 2, 10)))
    value = rng.normal(size=(20, 3))[gene, guide] * 0.3 + rng.normal(size=len(gene))
    cells = pl.DataFrame({"value": value, "gene": gene, "guide": guide, "replicate": rep})
    cells.write_csv(tmp_path / "pilot.csv")
    arguments = ["plan", "--effect", "1.0", "--genes", "100", "--pilot"]
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "pilot.csv"), "--counting", "0.5"])
    assert done.exit_code == 0, done.output
    assert "depth" in done.output
    cells.drop("guide").write_csv(tmp_path / "bad.csv")
    failed = CliRunner().invoke(app, [*arguments, str(tmp_path / "bad.csv")])
    assert isinstance(failed.exception, SchemaError)
    assert "lacks guide" in str(failed.exception)
