"""Network campaigns on planted networks: the posterior is right and information beats chance."""

import numpy as np
import pytest

from perturbkit.data.simulate import SimulationConfig
from perturbkit.data.simulate.settings import NetworkConfig
from perturbkit.design.metrics import level_tau, trophic_depth
from perturbkit.design.network import (
    CHOOSERS,
    Evidence,
    NetworkTruth,
    choose_information,
    choose_random,
    choose_random_pairs,
    draw_truth,
    entropy,
    information,
    levels,
    probabilities,
    run_campaign,
)


def planted(n=40, hubs=4, seed=0):
    rng = np.random.default_rng(seed)
    effect = np.zeros((n, n))
    for h in range(hubs):
        effect[h, rng.permutation(np.arange(hubs, n))[:12]] = rng.normal(size=12) * 1.5
    edge = effect != 0
    np.fill_diagonal(effect, -2.3)
    return NetworkTruth(effect, edge, edge)


def measured(truth, n_each, noise, seed=1):
    rng = np.random.default_rng(seed)
    evidence = Evidence.none(len(truth.edge_gg), noise)
    for gene in range(len(truth.edge_gg)):
        for _ in range(n_each):
            value = truth.effect_gg[gene] + noise * rng.standard_normal(len(truth.edge_gg))
            evidence.add((gene,), value)
    return evidence


def test_probabilities_separate_effects_from_noise_and_are_calibrated():
    truth = planted()
    p, rate, _ = probabilities(measured(truth, 2, 0.5))
    assert p[truth.edge_gg].mean() > 0.5
    off = ~truth.edge_gg & ~np.eye(40, dtype=bool)
    assert p[off].mean() < 0.05
    assert rate[:4].min() > np.median(rate[4:])
    assert p.sum() == pytest.approx(truth.edge_gg.sum(), rel=0.35)


def test_more_is_expected_from_what_is_unclear():
    truth = planted()
    evidence = measured(truth, 1, 0.6)
    gain = information(evidence)
    assert (gain > 0).all()
    assert gain[:4].mean() > 2 * gain[4:].mean()
    sure = information(measured(truth, 30, 0.6))
    assert sure.max() < gain.min() + 0.5 * gain[:4].mean()
    assert entropy(np.array([0.0, 0.5, 1.0])) == pytest.approx([0, np.log(2), 0], abs=1e-9)


def test_chance_is_balanced_and_information_repeats_hubs(rng):
    truth = planted()
    evidence = Evidence.none(40, 0.6)
    seen = [choose_random(evidence, 40, rng)]
    assert sorted(seen[0]) == [(g,) for g in range(40)]
    chosen = choose_information(measured(truth, 2, 0.5), 4, rng)
    assert set(chosen) == {(0,), (1,), (2,), (3,)}


def test_information_learns_the_network_with_fewer_experiments():
    truth = planted()
    curves = {
        p: run_campaign(truth, p, 100, 20, 0.7, np.random.default_rng(2), at=[50])
        for p in ("random", "information")
    }
    assert [c["experiments"] for c in curves["random"]] == [60, 100]
    final = {p: c[-1]["auprc"] for p, c in curves.items()}
    assert final["information"] > final["random"] + 0.03
    assert curves["information"][-1]["hierarchy"] > 0.9


def test_simulated_truth_is_consistent(rng):
    config = SimulationConfig(n_genes=40, n_contexts=1, n_perturbations=40, kind="ko",
                              network=NetworkConfig(complexes=0.0, feedback=0.0))  # fmt: skip
    truth = draw_truth(config, rng)
    assert truth.edge_gg.any()
    assert truth.ancestor_gg[truth.edge_gg].all()
    # only what lies below a gene moves when it is lost
    moved = (np.abs(truth.effect_gg) > 1e-6) & ~np.eye(40, dtype=bool)
    assert (truth.ancestor_gg | ~moved).all()
    evidence = measured(truth, 3, 0.05)
    level = levels(evidence)
    top = truth.ancestor_gg.sum(1) > 10
    assert level[top].mean() < level[~top].mean()


def test_pairs_are_divided_between_their_genes():
    truth = planted()
    rng = np.random.default_rng(0)
    evidence = Evidence.none(40, 0.2)
    for _ in range(8):
        for pair in choose_random_pairs(evidence, 20, rng):
            assert len(pair) == 2
            evidence.add(pair, truth.pooled(pair) + 0.2 * rng.standard_normal(40))
    assert (evidence.n_g == 8).all()
    evidence.resolve()
    off = ~np.eye(40, dtype=bool)
    error = (evidence.mean_gg - truth.effect_gg)[off]
    assert np.sqrt(np.mean(error**2)) < 0.2
    p, _, _ = probabilities(evidence)
    assert p[truth.edge_gg].mean() > 0.8
    assert p[~truth.edge_gg & off].mean() < 0.05


def test_paired_choices_learn_more_than_single_ones_from_as_many_experiments():
    truth = planted()
    final = {
        p: run_campaign(truth, p, 60, 20, 0.6, np.random.default_rng(2), at=[60])[-1]
        for p in ("random", "information_pairs")
    }
    assert final["information_pairs"]["auprc"] > final["random"]["auprc"] + 0.05
    assert final["random"]["over_prevalence"] > 5


def test_every_policy_chooses_genes_that_exist(rng):
    truth = planted()
    for name, choose in CHOOSERS.items():
        chosen = choose(measured(truth, 2, 0.5), 7, rng)
        assert len(chosen) == 7, name
        assert all(len(set(genes)) == len(genes) <= 2 for genes in chosen)
        assert all(0 <= g < 40 for genes in chosen for g in genes)


def test_depth_and_tau_on_a_chain_and_a_loop():
    above = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0]], bool)
    assert trophic_depth(above).tolist() == [0, 1, 2, 2]
    assert level_tau(np.array([0.0, 1, 2, 2]), above) == pytest.approx(1)
    assert level_tau(-np.array([0.0, 1, 2, 2]), above) == pytest.approx(-1)
