"""The campaign: nothing lost, nothing twice, never over budget, nothing recorded in part."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbkit.core import campaign as module
from perturbkit.core.campaign import Campaign, CampaignConfig
from perturbkit.core.errors import ConfigError, FileError, PerturbkitError, SchemaError


def pool(n=12, **columns):
    return pl.DataFrame({"perturbation": [f"G{i}" for i in range(n)], **columns})


def start(tmp_path, n=12, **settings_):
    config = CampaignConfig.parse({"budget": 8.0, "batch": 3, **settings_})
    return Campaign.create(tmp_path / "camp", pool(n), config)


def notes(n):
    return pl.DataFrame({"reason": ["because"] * n})


def results(names, values=None):
    return pl.DataFrame(
        {"gene": names, "score": values or [str(float(i)) for i in range(len(names))]}
    )


def test_a_campaign_runs_and_is_read_back(tmp_path):
    c = start(tmp_path)
    assert (c.remaining, c.taken.sum(), c.open_round) == (8, 0, None)
    c.choose([4, 1, 7], notes(3))
    again = Campaign.open(tmp_path / "camp")
    assert again.open_round.chosen["perturbation"].to_list() == ["G4", "G1", "G7"]
    assert again.open_round.chosen["rank"].to_list() == [1, 2, 3]
    assert again.remaining == 5
    again.record(results(["G7", "G4", "G1"], ["0.5", "", "-2"]))
    values = Campaign.open(tmp_path / "camp").outcomes()[:, 0]
    assert values[7] == 0.5
    assert values[1] == -2
    assert np.isnan(values[4])
    assert Campaign.open(tmp_path / "camp").taken.sum() == 3


def test_nothing_is_chosen_twice_nor_beyond_the_budget(tmp_path):
    c = start(tmp_path)
    c.choose([0, 1, 2], notes(3))
    with pytest.raises(FileError, match="round 1 has no results"):
        c.choose([3], notes(1))
    c.record(results(["G0", "G1", "G2"]))
    for bad in ([1, 5], [5, 5], []):
        with pytest.raises(SchemaError, match="chosen before, repeats"):
            c.choose(bad, notes(len(bad)))
    with pytest.raises(SchemaError, match="the batch costs 6 and 5 is left"):
        c.choose([3, 4, 5, 6, 7, 8], notes(6))
    assert len(c.rounds()) == 1


@pytest.mark.parametrize(
    ("names", "values", "says"),
    [
        (["G0", "G1", "ZZ"], None, "1 not of this round: ZZ"),
        (["G0", "G1", "G9"], None, "1 not of this round: G9"),
        (["G0", "G1", "G1", "G2"], None, "1 more than once: G1"),
        (["G0"], None, "2 missing: G1"),
        (["G0", "G1", "G2"], ["1", "two", "3"], "1 value(s) of score are no numbers ('two')"),
        (["G0", "G1", "G2"], ["1", "inf", "3"], "are no numbers ('inf')"),
    ],
)
def test_faulty_results_are_reported_and_nothing_is_recorded(tmp_path, names, values, says):
    c = start(tmp_path)
    c.choose([0, 1, 2], notes(3))
    before = sorted(p.name for p in c.path.iterdir())
    with pytest.raises(SchemaError) as caught:
        c.record(results(names, values))
    assert says in str(caught.value)
    assert "Nothing was recorded" in str(caught.value)
    assert [p for p in sorted(p.name for p in c.path.iterdir()) if p != ".lock"] == [
        p for p in before if p != ".lock"
    ]
    c.record(results(["G0", "G1", "G2"]))


def test_all_faults_of_a_file_are_in_one_message(tmp_path):
    c = start(tmp_path)
    c.choose([0, 1, 2], notes(3))
    with pytest.raises(SchemaError) as caught:
        c.record(results(["G0", "G0", "X"], ["a", "1", "2"]))
    for part in ("not of this round", "more than once", "missing", "no numbers"):
        assert part in str(caught.value)
    with pytest.raises(SchemaError, match="lack score"):
        c.record(pl.DataFrame({"gene": ["G0"], "value": [1.0]}))


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"perturbation": ["A", "A"]}),
        pl.DataFrame({"perturbation": ["A+B", "B+A"]}),
        pl.DataFrame({"perturbation": ["A", "control"]}),
        pl.DataFrame({"perturbation": ["A", "B"], "cost": [1.0, 0.0]}),
        pl.DataFrame({"perturbation": ["A"], "cost": [100.0]}),
        pl.DataFrame({"perturbation": []}, schema={"perturbation": pl.String}),
    ],
)
def test_pools_that_make_no_sense_are_refused(tmp_path, table):
    with pytest.raises(SchemaError):
        Campaign.create(tmp_path / "c", table, CampaignConfig(budget=8.0))
    assert not (tmp_path / "c" / "campaign.json").exists()


def test_a_folder_in_use_and_edited_files_are_refused(tmp_path):
    c = start(tmp_path)
    with pytest.raises(FileError, match="not an empty folder"):
        Campaign.create(c.path, pool(), c.config)
    with pytest.raises(FileError, match="holds no campaign"):
        Campaign.open(tmp_path)
    with pytest.raises(ConfigError):
        CampaignConfig.parse({"budgte": 3.0})
    c.choose([0, 1], notes(2))
    file = c.path / "round_001.csv"
    file.write_text(file.read_text().replace("G0", "Q0"))
    with pytest.raises(FileError, match="were edited"):
        c.rounds()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 5), st.booleans())
def test_a_kill_at_any_write_loses_nothing(tmp_path_factory, when, in_choose):
    """Die at the n-th atomic write; opened again, the campaign is as before or as after."""
    path = tmp_path_factory.mktemp("c")
    c = start(path)
    count = 0
    real = module.atomic_path

    def dying(target):
        nonlocal count
        count += 1
        if count > when:
            raise KeyboardInterrupt
        return real(target)

    monkey = pytest.MonkeyPatch()
    monkey.setattr(module, "atomic_path", dying)
    try:
        c.choose([0, 1, 2], notes(3))
        c.record(results(["G0", "G1", "G2"]))
        if in_choose:
            c.choose([3, 4, 5], notes(3))
    except KeyboardInterrupt:
        pass
    finally:
        monkey.undo()
    again = Campaign.open(c.path)
    done = [r.keys for r in again.rounds()]
    wanted = [["G0", "G1", "G2"], ["G3", "G4", "G5"]]
    assert [[k.split(" ")[0] for k in keys] for keys in done] == wanted[: len(done)]
    assert again.spent == 3 * len(done)
    if again.open_round is None and len(done) < 2:
        again.choose(np.flatnonzero(~again.taken)[:3], notes(3))
        assert len(again.rounds()) == len(done) + 1


def test_a_second_process_is_kept_out(tmp_path):
    c = start(tmp_path)
    with c.lock(), pytest.raises(PerturbkitError, match="another process"):
        c.choose([0], notes(1))


def test_combinations_and_contexts_are_told_apart(tmp_path):
    table = pl.DataFrame({"perturbation": ["A+B", "A", "A"], "context": ["x", "x", "y"]})
    c = Campaign.create(tmp_path / "c", table, CampaignConfig(budget=8.0))
    c.choose([0, 1, 2], notes(3))
    with pytest.raises(SchemaError, match="not of this round"):
        c.record(results(["B+A", "A", "A"]))
    done = pl.DataFrame(
        {"perturbation": ["B+A", "A", "A"], "context": ["x", "y", "x"], "score": [1.0, 2.0, 3.0]}
    )
    c.record(done)
    assert c.outcomes()[:, 0].tolist() == [1.0, 3.0, 2.0]
