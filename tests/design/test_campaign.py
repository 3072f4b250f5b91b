"""Campaigns driven by policies and by the command line, killed and resumed."""

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from perturbkit.cli.design import app
from perturbkit.core.campaign import Campaign, CampaignConfig
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.design.campaign import next_round, status_of
from perturbkit.design.gather import from_columns


def pool(n=120, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    return pl.DataFrame({"gene": [f"G{i}" for i in range(n)], "a": x[:, 0], "b": x[:, 1]})


def truth(table):
    return dict(zip(table["gene"], (table["a"] > 0.8).cast(pl.Float64) * 3, strict=True))


def campaign(path, policy="greedy", **settings):
    table = pool().rename({"gene": "perturbation"})
    config = {"budget": 60.0, "batch": 20, "policy": policy, "hit": "high", **settings}
    return Campaign.create(path, table, CampaignConfig.parse(config))


def feed(c):
    answer = truth(pool())
    names = c.open_round.chosen["perturbation"].to_list()
    c.record(pl.DataFrame({"gene": names, "score": [answer[n] for n in names]}))


def test_a_campaign_learns_stops_at_its_budget_and_never_repeats(tmp_path):
    c = campaign(tmp_path / "c")
    known = from_columns(c.pool)
    for _ in range(3):
        next_round(c, known, threshold=1.0)
        feed(c)
    hits = [r["hits"] for r in status_of(c, threshold=1.0)["rounds"]]  # type: ignore[union-attr]
    assert hits[1] > 2 * hits[0]
    assert c.taken.sum() == 60
    assert c.remaining == 0
    with pytest.raises(SchemaError, match="the budget is spent"):
        next_round(c, known)
    assert "advice" in status_of(c, threshold=1.0)


def test_a_stated_threshold_is_the_campaigns_own(tmp_path):
    one, other = campaign(tmp_path / "a", threshold=1.0), campaign(tmp_path / "b")
    known = from_columns(one.pool)
    for _ in range(2):
        picked = next_round(one, known), next_round(other, known, threshold=1.0)
        assert picked[0].keys == picked[1].keys
        feed(one)
        feed(other)
    assert status_of(one)["rounds"] == status_of(other, threshold=1.0)["rounds"]


def test_going_on_after_a_kill_chooses_the_same(tmp_path):
    rounds = []
    for name in ("a", "b"):
        c = campaign(tmp_path / name, policy="thompson")
        next_round(c, from_columns(c.pool))
        feed(c)
        c = Campaign.open(c.path)
        again = next_round(c, from_columns(c.pool))
        assert next_round(Campaign.open(c.path), from_columns(c.pool)).keys == again.keys
        rounds.append(again.keys)
    assert rounds[0] == rounds[1]


def test_dear_conditions_never_break_the_budget(tmp_path):
    table = pool().rename({"gene": "perturbation"}).with_columns(cost=pl.lit(7.0))
    c = Campaign.create(tmp_path / "c", table, CampaignConfig(budget=20.0, policy="random"))
    assert next_round(c, from_columns(c.pool)).chosen.height == 2


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)


def test_the_command_line_from_new_to_status(tmp_path):
    table, folder = pool(), tmp_path / "camp"
    table.write_csv(tmp_path / "pool.csv")
    done = run("new", folder, "--pool", tmp_path / "pool.csv", "--budget", 40, "--batch", 20,
               "--policy", "greedy", "--hit", "high", "--threshold", 1.0)  # fmt: skip
    assert done.exit_code == 0, done.output
    order = tmp_path / "order.csv"
    assert run("next", folder, "-o", order).exit_code == 0
    listed = pl.read_csv(order)
    assert {"rank", "perturbation", "reason", "guides", "control_guides"} <= set(listed.columns)
    assert listed["control_guides"].sum() == 8
    answer = truth(table)
    rows = [(g, answer[g]) for g in listed["perturbation"]]
    bad = pl.DataFrame([*rows[:-1], ("NOPE", 1.0)], schema=["gene", "score"], orient="row")
    bad.write_csv(tmp_path / "bad.csv")
    failed = run("record", folder, tmp_path / "bad.csv")
    assert isinstance(failed.exception, SchemaError)
    assert "NOPE" in str(failed.exception)
    pl.DataFrame(rows, schema=["gene", "score"], orient="row").write_csv(tmp_path / "good.csv")
    assert run("record", folder, tmp_path / "good.csv").exit_code == 0
    status = run("status", folder)
    assert "remaining: 20" in status.output
    assert "advice" in status.output  # the threshold is remembered, so hits are counted
    assert status.output == run("status", folder, "--threshold", 1.0).output
    assert status.output != run("status", folder, "--threshold", 99.0).output
    assert run("plan", "--effect", 1.0, "--genes", 100).exit_code == 0


@pytest.mark.data
def test_replay_from_the_command_line(real_data, tmp_path, monkeypatch):
    graphs = tmp_path / "graphs"
    graphs.mkdir()
    name = "pathfindR_pin_string.csv.gz"
    pl.read_csv(real_data / "graphs" / name).gather_every(20).write_csv(graphs / name[:-3])
    monkeypatch.delenv("PERTURBKIT_DATA", raising=False)
    full = pl.read_csv(real_data / "screens" / "ground_truth_IL2.csv")
    some = full.gather_every(12).with_columns(Hit=pl.col("Score").abs() > 0.32)
    some.write_csv(tmp_path / "s.csv")
    done = run("replay", "--screen", tmp_path / "s.csv", "--policy", "degree", "--graphs", graphs,
               "--rounds", 2, "--batch", 30, "--seeds", 2, "-o", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0, done.output
    table = pl.read_csv(tmp_path / "out" / "replay.csv")
    assert set(table["policy"]) == {"random", "degree"}
    assert table.filter(policy="degree")["efficiency"].item() > 2


def test_a_campaign_remembers_what_its_choices_rested_on(tmp_path):
    genes = [f"G{i}" for i in range(30)]
    pl.DataFrame({"gene": genes}).write_csv(tmp_path / "pool.csv")
    (tmp_path / "graphs").mkdir()
    hub = pl.DataFrame({"gene1": genes[:1] * 29 + genes[1:4], "gene2": genes[1:] + genes[2:5]})
    hub.write_csv(tmp_path / "graphs" / "pathfindR_pin_string.csv")
    folder = tmp_path / "camp"
    run("new", folder, "--pool", tmp_path / "pool.csv", "--budget", 9, "--batch", 3)
    assert "next: perturbkit design next" in run("status", folder).output
    assert run("next", folder, "--graphs", tmp_path / "nope").exit_code != 0
    assert not (folder / "sources.json").exists()  # what failed is not remembered
    first = run("next", folder, "--graphs", tmp_path / "graphs")
    assert first.exit_code == 0, first.output
    assert "G0 |" in first.output  # the hub comes first
    assert "measure round 1" in run("status", folder).output
    waiting = Campaign.open(folder).open_round
    assert waiting is not None
    chosen = waiting.chosen["perturbation"].to_list()
    pl.DataFrame({"gene": chosen, "score": [3.0, 1.0, 0.5]}).write_csv(tmp_path / "r.csv")
    assert "next: perturbkit design next" in run("record", folder, tmp_path / "r.csv").output
    again = run("next", folder)
    assert again.exit_code == 0, again.output
    assert f"--graphs {tmp_path / 'graphs'}" in again.output
    assert "by chance" not in again.output


def test_a_pool_of_which_nothing_is_known_is_chosen_by_chance_and_says_so(tmp_path):
    pl.DataFrame({"gene": ["A", "B", "C"]}).write_csv(tmp_path / "pool.csv")
    run("new", tmp_path / "c", "--pool", tmp_path / "pool.csv", "--batch", 2)
    assert "choices are by chance" in run("next", tmp_path / "c").output
    pl.DataFrame({"name": ["A"]}).write_csv(tmp_path / "bad.csv")
    failed = run("new", tmp_path / "d", "--pool", tmp_path / "bad.csv")
    assert isinstance(failed.exception, SchemaError)
    assert "needs a column gene" in str(failed.exception)


def test_a_folder_without_an_agent_is_no_policy(tmp_path):
    pool().write_csv(tmp_path / "pool.csv")
    failed = run("new", tmp_path / "c", "--pool", tmp_path / "pool.csv", "--policy", tmp_path)
    assert isinstance(failed.exception, FileError)
    assert "train-agent" in str(failed.exception)
