"""The reverse question finds the perturbation behind a response."""

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.grn.regulators import Response, identification, read_response, regulators


@pytest.fixture
def responses(rng):
    effects = rng.normal(0, 1, (12, 60)) * (rng.random((12, 60)) < 0.3)
    values = np.concatenate([np.zeros((1, 60)), effects + rng.normal(0, 0.1, (12, 60))])
    names = ["control", *[f"p{i}" for i in range(12)]]
    return Responses(
        values[None], pl.DataFrame({"perturbation": names}),
        Vocabulary([f"g{j}" for j in range(60)], "readout"), "score",
    )  # fmt: skip


def test_the_perturbation_behind_a_noisy_response_ranks_first(responses, rng):
    ranked = []
    for i in range(12):
        change = 0.6 * responses.values[0, i + 1] + rng.normal(0, 0.2, 60)
        table = regulators(responses, Response(responses.readouts, change), rng)
        ranked.append(table["perturbation"].to_list())
    found = identification([f"p{i}" for i in range(12)], ranked)
    assert found["recall_at_1"] == 1.0
    assert found["mean_reciprocal_rank"] == 1.0


def test_size_direction_and_doubt_are_told(responses, rng):
    response = Response(responses.readouts, -2.0 * responses.values[0, 4].astype(float))
    table = regulators(responses, response, rng)
    opposite = table.filter(pl.col("perturbation") == "p3").row(0, named=True)
    assert opposite["score"] < -0.9
    assert opposite["scale"] == pytest.approx(-2.0, abs=0.2)
    assert opposite["low"] <= opposite["score"] <= opposite["high"]
    assert table["probability_best"].sum() == pytest.approx(1.0)
    doubtful = regulators(responses, Response(responses.readouts, rng.normal(0, 1, 60)), rng)
    assert doubtful["probability_best"].max() < 0.95


def test_readouts_are_matched_by_name_from_a_file(responses, rng, tmp_path):
    order = rng.permutation(60)
    table = pl.DataFrame({"gene": [f"g{j}" for j in order] + ["other"],
                          "log2fc": [*responses.values[0, 8][order].tolist(), 9.0]})  # fmt: skip
    table.write_csv(tmp_path / "response.csv")
    found = regulators(responses, read_response(tmp_path / "response.csv"), rng)
    assert found.row(0)[0] == "p7"
    assert found["n_readouts"][0] == 60
    pl.DataFrame({"a": ["x"]}).write_csv(tmp_path / "bad.csv")
    with pytest.raises(SchemaError, match="one of numbers"):
        read_response(tmp_path / "bad.csv")
    with pytest.raises(SchemaError, match="check the gene names"):
        regulators(responses, Response(Vocabulary(["x", "g0"], "gene"), np.ones(2)), rng)


def test_a_contrast_of_any_tool_is_a_response_and_levels_are_noticed(tmp_path):
    genes = [f"g{j}" for j in range(30)]
    contrast = pl.DataFrame({"gene": genes, "baseMean": 9.0, "log2FoldChange": -0.5, "padj": 0.1})
    contrast.write_csv(tmp_path / "de.tsv", separator="\t")
    found = read_response(tmp_path / "de.tsv")
    assert (found.change_g == -0.5).all()
    assert not found.all_rise
    contrast.select("gene", "baseMean").write_csv(tmp_path / "levels.csv")
    assert read_response(tmp_path / "levels.csv").all_rise
    contrast.select("gene", "baseMean", "padj").write_csv(tmp_path / "which.csv")
    with pytest.raises(SchemaError, match="called 'change'"):
        read_response(tmp_path / "which.csv")


def test_own_targets_can_be_left_out(rng):
    values = np.zeros((1, 3, 4))
    values[0, 1] = [-5, 0.5, 0.5, 0]
    values[0, 2] = [0, 0.1, -0.5, 0.5]
    screen = Responses(values, pl.DataFrame({"perturbation": ["control", "g0", "g3"]}),
                       Vocabulary(["g0", "g1", "g2", "g3"], "readout"), "score")  # fmt: skip
    response = Response(screen.readouts, np.array([5.0, 0.5, 0.5, 0.0]))
    with_own = regulators(screen, response, rng).filter(pl.col("perturbation") == "g0")
    without = regulators(screen, response, rng, own=False).filter(pl.col("perturbation") == "g0")
    assert with_own["score"][0] < 0 < without["score"][0]
