"""How good a network is against a known truth or a gold standard."""

from typing import Any

import numpy as np
from scipy.stats import rankdata

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph


def scored_pairs(
    graph: Graph, truth: Graph, sources: list[str] | None = None, targets: list[str] | None = None
) -> dict[str, np.ndarray]:
    """Return score, truth and signs of every ordered pair that is judged, flat.

    Args:
        graph: the inferred network; pairs it lacks score 0. Undirected edges count both ways.
        truth: the known network, likewise.
        sources: regulators that are judged; by default every node of the truth.
        targets: targets that are judged; by default every node of the truth.

    Raises:
        SchemaError: no pair is left to judge.
    """
    sources = list(truth.nodes) if sources is None else sources
    targets = list(truth.nodes) if targets is None else targets
    judged = np.array(sources, dtype=object)[:, None] != np.array(targets, dtype=object)[None]
    if not judged.any():
        message = "found no ordered pair to judge; name at least two genes of the truth"
        raise SchemaError(message)
    score, sign = _matrix(graph, sources, targets, graph.weight)
    is_true, true_sign = _matrix(truth, sources, targets, np.ones(truth.n_edges, np.float32))
    result = {
        "score": score[judged], "sign": sign[judged],
        "truth": is_true[judged] > 0, "true_sign": true_sign[judged],
    }  # fmt: skip
    if "probability" in graph.columns:
        probability, _ = _matrix(graph, sources, targets, graph.columns["probability"])
        result["probability"] = probability[judged]
    if "fdr" in graph.columns:
        called, _ = _matrix(graph, sources, targets, 1 - np.asarray(graph.columns["fdr"]))
        result["fdr"] = 1 - called[judged]
    return result


def _matrix(
    graph: Graph, sources: list[str], targets: list[str], values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and signs of the edges between sources and targets, 0 where there is none."""
    row = np.full(len(graph.nodes), -1)
    column = row.copy()
    for names, place in ((sources, row), (targets, column)):
        found = graph.nodes.find(names)
        place[found[found >= 0]] = np.flatnonzero(found >= 0)
    result, sign = np.zeros((len(sources), len(targets))), np.zeros((len(sources), len(targets)))
    ends = [(graph.source, graph.target)]
    if not graph.directed:
        ends.append((graph.target, graph.source))
    for a, b in ends:
        p, g = row[a], column[b]
        here = (p >= 0) & (g >= 0)
        result[p[here], g[here]] = np.asarray(values, np.float64)[here]
        sign[p[here], g[here]] = graph.sign[here]
    return result, sign


def against_truth(
    graph: Graph,
    truth: Graph,
    *,
    sources: list[str] | None = None,
    targets: list[str] | None = None,
    max_fdr: float = 0.05,
) -> dict[str, Any]:
    """Compare a network with the truth.

    Args:
        graph: the inferred network.
        truth: the known one.
        sources: regulators that are judged; by default every node of the truth.
        targets: targets that are judged; by default every node of the truth.
        max_fdr: the rate at which edges are called, where the network has rates.

    Returns:
        `auroc`, `auprc` (average precision), `prevalence`, `early_precision_ratio` (precision of as
        many edges as are true, over prevalence), `shd` at that number, `sign_accuracy` among true
        edges with a sign; with rates also `n_called`, `false_share`, `recall`; with probabilities
        `calibration_error` (mean over edges of the difference between the mean probability and
        the share of true edges in ten bins).
    """
    pairs = scored_pairs(graph, truth, sources, targets)
    score, is_true = pairs["score"], pairs["truth"]
    n_true = int(is_true.sum())
    # ties at the cut are broken by position, which truth does not know
    top = np.zeros(len(score), bool)
    top[np.argsort(-score, kind="stable")[:n_true]] = True
    hits = int((top & is_true).sum())
    signed = is_true & (pairs["true_sign"] != 0) & (pairs["sign"] != 0)
    same = pairs["sign"][signed] == pairs["true_sign"][signed]
    prevalence = n_true / len(score)
    result: dict[str, Any] = {
        "n_pairs": len(score),
        "n_true": n_true,
        "prevalence": prevalence,
        "auroc": auroc(score, is_true),
        "auprc": average_precision(score, is_true),
        "early_precision_ratio": hits / max(n_true, 1) / prevalence if n_true else np.nan,
        "shd": n_true + int(top.sum()) - 2 * hits,
        "sign_accuracy": float(same.mean()) if len(same) else np.nan,
    }
    if "fdr" in pairs:
        called = (pairs["fdr"] <= max_fdr) & (score > 0)
        true_calls = int((called & is_true).sum())
        result["n_called"] = int(called.sum())
        result["false_share"] = 1 - true_calls / max(int(called.sum()), 1)
        result["recall"] = true_calls / max(n_true, 1)
    if "probability" in pairs:
        result["calibration_error"] = calibration_error(pairs["probability"], is_true)
    return result


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the chance that a true pair outscores a false one, ties one half; NaN without both."""
    n_true = int(truth.sum())
    n_false = len(truth) - n_true
    if not n_true or not n_false:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[truth].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean precision at each true pair, tied scores entering together; NaN without."""
    return weighted_average_precision(score, truth, np.ones(len(truth)))


def weighted_average_precision(score: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> float:
    """Return average precision where pairs count by their weight, as in a bootstrap; NaN without.

    Args:
        score: larger is likelier.
        truth: booleans.
        weight: how often each pair counts, not negative.
    """
    n_true = float(weight[truth].sum())
    if not n_true:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.r_[np.flatnonzero(np.diff(ranked)), len(ranked) - 1]
    found, seen = np.cumsum((weight * truth)[order])[last], np.cumsum(weight[order])[last]
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return float((np.diff(np.r_[0, found]) * precision).sum() / n_true)


def calibration_table(probability: np.ndarray, truth: np.ndarray, n_bins: int = 10) -> np.ndarray:
    """Return for each bin of probability: mean probability, share true, pairs; [bins, 3]."""
    place = np.minimum((probability * n_bins).astype(np.int64), n_bins - 1)
    n = np.bincount(place, minlength=n_bins)
    mean = np.bincount(place, probability, n_bins) / np.maximum(n, 1)
    share = np.bincount(place, truth.astype(float), n_bins) / np.maximum(n, 1)
    return np.stack([mean, share, n], 1)


def calibration_error(probability: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance between probability and share of true edges, over all pairs."""
    table = calibration_table(probability, truth)
    return float((table[:, 2] * np.abs(table[:, 0] - table[:, 1])).sum() / len(truth))
