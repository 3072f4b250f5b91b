import numpy as np
import polars as pl
import pytest

from perturbkit.metrics.score import CEILING
from perturbkit.report.verdict import Judged, ceiling_share, difference, verdict


def judged(values, better="higher", baselines=("mean_delta", "no_change"), n=60):
    """Tables of models whose scores are a shared part plus an offset and a little noise."""
    rng = np.random.default_rng(0)
    shared = 0.2 * rng.standard_normal(n)
    keys = [f"P{i // 3} | line{i % 3}" for i in range(n)]
    scores, conditions = [], []
    for model, (offset, noise) in values.items():
        own = shared + offset + noise * rng.standard_normal(n)
        conditions += [{"model": model, "metric": "m", "key": k, "value": v}
                       for k, v in zip(keys, own, strict=True)]  # fmt: skip
        scores.append({"model": model, "metric": "m", "value": own.mean(), "low": own.mean() - 0.1,
                       "high": own.mean() + 0.1, "n": n, "better": better,
                       "reason": ""})  # fmt: skip
    perturbation_of = {k: k.split(" |")[0] for k in keys}
    return Judged(
        pl.DataFrame(scores), pl.DataFrame(conditions), "lpm", baselines, perturbation_of, 0
    )


def text(found):
    return " ".join([found["headline"], *found["sentences"]]).replace("\u00a0", " ")


def test_a_better_model_beats_the_best_baseline_and_not_just_any():
    found = verdict(judged({"lpm": (0.8, 0.02), "mean_delta": (0.7, 0.02), "no_change": (0.1, 0)}))
    assert found["tone"] == "good"
    assert found["headline"] == "Yes: lpm beats the best baseline, mean_delta."
    gap = found["numbers"][2]
    assert gap["low"] < gap["value"] < gap["high"]
    assert gap["value"] == pytest.approx(0.1, abs=0.02)
    assert "better by 0.1" in text(found)
    assert "60 held-out conditions of 20 perturbations" in text(found)


def test_a_worse_model_is_called_worse_with_a_positive_amount():
    found = verdict(judged({"lpm": (0.5, 0.02), "mean_delta": (0.7, 0.02)}))
    assert found["tone"] == "bad"
    assert found["headline"].startswith("No:")
    assert "worse by 0." in text(found)


def test_noise_is_called_undecided():
    found = verdict(judged({"lpm": (0.7, 0.2), "mean_delta": (0.7, 0.2)}))
    assert found["tone"] == "even"
    assert found["headline"].startswith("Undecided:")


def test_two_names_of_one_model_are_said_to_say_the_same():
    whole = judged({"lpm": (0.7, 0.0), "mean_delta": (0.7, 0.0)})
    found = verdict(whole)
    assert found["tone"] == "even"
    assert "both say nearly the same" in text(found)


def test_pairing_sees_a_small_difference_that_the_spread_of_conditions_hides():
    found = difference(judged({"lpm": (0.72, 0.01), "mean_delta": (0.7, 0.01)}), "m")
    assert found is not None
    assert found["tone"] == "good"
    assert found["high"] - found["low"] < 0.02


def test_lower_is_better_where_the_metric_says_so():
    found = verdict(judged({"lpm": (1.0, 0.02), "mean_delta": (1.3, 0.02), "no_change": (2, 0),
                            CEILING: (0.5, 0.02)}, better="lower"))  # fmt: skip
    assert found["tone"] == "good"
    assert found["baseline"] == "mean_delta"
    share = found["numbers"][-1]
    assert share["value"] == pytest.approx(0.5, abs=0.05)
    assert "off by 0.5" in text(found)


def test_the_share_of_the_ceiling_has_an_interval():
    share = ceiling_share(judged({"lpm": (0.6, 0.05), CEILING: (0.8, 0.05)}), "m")
    assert share is not None
    assert share["low"] < 0.75 < share["high"]
    assert share["high"] - share["low"] < 0.2


def test_what_is_missing_is_said():
    alone = verdict(judged({"lpm": (0.6, 0.05)}, baselines=()))
    assert "no baseline" in alone["headline"]
    assert "no ceiling" in text(alone)
    zero = verdict(judged({"lpm": (0.6, 0.05), "mean_delta": (0.5, 0.05), CEILING: (0.0, 0.0)}))
    assert "too close to 0" in text(zero)
    table = judged({"mean_delta": (0.5, 0.1)})
    refused = {"model": "lpm", "metric": "m", "value": float("nan"), "low": float("nan"),
               "high": float("nan"), "n": 0, "better": "higher",
               "reason": "60 of 60: refused by the model"}  # fmt: skip
    scores = pl.concat([table.scores, pl.DataFrame([refused], schema=table.scores.schema)])
    found = verdict(Judged(scores, table.conditions, "lpm", ("mean_delta",), {}, 0))
    assert found["tone"] == "none"
    assert "refused by the model" in text(found)


def test_conditions_without_a_value_do_not_count():
    whole = judged({"lpm": (0.8, 0.02), "mean_delta": (0.7, 0.02)})
    values = pl.when(pl.col("key").str.starts_with("P1 ")).then(None).otherwise(pl.col("value"))
    cut = Judged(whole.scores, whole.conditions.with_columns(values.alias("value")), "lpm",
                 whole.baselines, whole.perturbation_of, 0)  # fmt: skip
    found = difference(cut, "m")
    assert found is not None
    assert found["n"] == 57
