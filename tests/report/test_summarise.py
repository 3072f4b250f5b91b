import json
from dataclasses import replace

import pytest

from perturbkit.core.errors import FileError
from perturbkit.core.files import sha256
from perturbkit.report.summarise import summarise


def test_a_whole_run_is_summarised_as_values_json_can_hold(maker):
    run = maker.run()
    summary = summarise(run)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["notes"] == []
    assert summary["model"] == "lpm"
    assert summary["data"]["n_perturbations"] == 26
    assert summary["split"]["folds"] == [{"fold": "train", "n": 28}, {"fold": "test", "n": 26}]
    assert summary["status"] == [{"status": "seen", "n": 26}]
    assert summary["footer"]["fingerprint"] == sha256(run.config_path)
    assert summary["footer"]["seed"] == 3
    assert {"path": "model.width", "value": "8"} in summary["settings"]


def test_the_verdict_agrees_with_the_planted_quality(maker):
    assert summarise(maker.run("good"))["verdict"]["tone"] == "good"
    bad = summarise(maker.run("bad", noise=0.8, baseline_noise=0.05))
    assert bad["verdict"]["tone"] == "bad"
    assert bad["verdict"]["baseline"] == "mean_delta"


def test_every_metric_has_every_model_the_ceiling_on_top_then_the_best(maker):
    first, second = summarise(maker.run())["scores"]
    assert [r["role"] for r in first["rows"]] == [
        "ceiling",
        "ceiling",
        "model",
        "baseline",
        "baseline",
    ]
    assert first["deciding"]
    assert not second["deciding"]
    assert second["better"] == "lower"
    assert second["unit"] == "log1p counts per 10 k"
    values = [r["value"] for r in second["rows"][2:]]
    assert values == sorted(values)


def test_perturbations_are_ranked_and_panels_follow_the_ranking(maker):
    summary = summarise(maker.run())
    ranking = summary["ranking"]
    values = [r["value"] for r in ranking["best"]]
    assert values == sorted(values, reverse=True)
    worst = [r["value"] for r in ranking["worst"]]
    assert worst == sorted(worst)
    assert worst[-1] <= values[-1]
    assert ranking["n"] == 26
    assert ranking["best"][0]["cells"] == 20
    assert summary["scatters"][0]["key"] == f"{ranking['best'][0]['perturbation']} | line2"
    assert summary["scatters"][-1]["key"] == f"{ranking['worst'][0]['perturbation']} | line2"
    panel = summary["scatters"][0]
    assert len(panel["measured"]) == len(panel["predicted"]) == panel["drawn"] == panel["n"] == 60


def test_learning_curves_name_the_step_that_was_kept(maker):
    learning = summarise(maker.run())["learning"]
    assert [m["member"] for m in learning["members"]] == [0, 1]
    assert learning["members"][0]["best_step"] == 90
    assert learning["seconds"] == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (set(), ["has not been scored", "did not come to its end", "No predictions"]),
        ({"scores", "model", "predictions"}, ["measured responses are not stored"]),
        ({"scores", "model", "truth"}, ["No predictions are stored"]),
        ({"truth", "predictions", "model", "log"}, ["has not been scored"]),
    ],
)
def test_missing_pieces_become_sentences(maker, parts, said):
    summary = summarise(maker.run(parts=frozenset(parts)))
    text = " ".join([summary["verdict"]["headline"], *summary["notes"]])
    for words in said:
        assert words in text
    json.dumps(summary, allow_nan=False)


def test_a_closed_form_model_has_no_learning_curve(maker):
    run = maker.run(parts=frozenset({"truth", "predictions", "scores", "model"}))
    assert summarise(run)["learning"] is None


def test_nothing_but_settings_is_still_a_summary(maker):
    run = maker.run(parts=frozenset())
    for name in ("data.json", "split.parquet", "env.json"):
        (run.path / name).unlink()
    summary = summarise(run)
    assert summary["data"] is None
    assert summary["split"] is None
    assert summary["footer"]["command"] == ""


@pytest.mark.parametrize("name", ["scores.parquet", "truth.parquet", "split.parquet"])
def test_a_file_cut_short_is_named(maker, name):
    run = maker.run()
    path = run.path / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(FileError, match=name.removesuffix(".parquet")):
        summarise(run)


def test_refused_conditions_are_counted_and_never_scored(maker):
    summary = summarise(maker.run(n_refused=2))
    assert summary["status"] == [{"status": "seen", "n": 24}, {"status": "refused", "n": 2}]
    mine = next(r for r in summary["scores"][0]["rows"] if r["role"] == "model")
    assert mine["n"] == 24
    assert summary["ranking"]["n"] == 24
    assert any(r["model"] == "lpm" and "2 of 26" in r["reason"] for r in summary["reasons"])


def test_units_relative_to_control_without_replicates_have_no_ceiling(maker):
    def relative(truth):
        delta = truth.delta_cg()[None]
        changed = replace(truth, values=delta, halves=None, unit="zscore")
        return changed.select(~truth.is_control)

    summary = summarise(maker.run(rename=relative))
    assert summary["unit"] == "z-score"
    assert "no ceiling" in " ".join(summary["verdict"]["sentences"])
    assert summary["ranking"]["best"][0]["ceiling"] is None
    assert summary["scatters"]
