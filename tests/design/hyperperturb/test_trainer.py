"""HyperPerturb on one screen: learns, keeps its promises of options, and leaks nothing."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from perturbkit.cli.main import app, run
from perturbkit.core.errors import ConfigError, SchemaError, UnknownNameError
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.screens import open_screen
from perturbkit.design.hyperperturb import HyperPerturbTrainer
from perturbkit.design.hyperperturb.inputs import JUDGE, TRAIN, prepare_inputs
from perturbkit.design.hyperperturb.reward import Reward, strong_pairs
from perturbkit.design.hyperperturb.trainer import HyperPerturbConfig, rate_at
from perturbkit.design.metrics import ancestor_concordance


def chain_screen(n=24, seed=0):
    """Genes in a line: a knock-out lowers all that follow, less with distance; noise 0.05."""
    rng = np.random.default_rng(seed)
    place = np.arange(n)
    away = place[None, :] - place[:, None]
    effect = np.where(away >= 0, -2.0 * 0.8**away, 0.0) + 0.05 * rng.normal(size=(n, n))
    genes = [f"G{i:02d}" for i in range(n)]
    rows = [("control", "x")] + [(g, "x") for g in genes]
    table = pl.DataFrame(rows, schema=["perturbation", "context"], orient="row")
    table = table.with_columns(status=pl.lit("measured"))
    rest = rng.gamma(4.0, 0.7, n) + 4
    values = np.vstack([rest, rest + effect]).astype(np.float32)
    edges = pl.DataFrame({"source": genes[:-1], "target": genes[1:]})
    graph = Graph.of(edges, directed=True)
    above = away > 0
    return Responses(values[None], table, Vocabulary(genes, "readout"), "log1p_cp10k"), graph, above


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_it_learns_effects_and_the_hierarchy(geometry):
    screen, graph, above = chain_screen()
    trainer = HyperPerturbTrainer(
        1.0, {"hierarchy": 1.0}, "quantum", epochs=60, geometry=geometry, validation=0.0, batch=24
    )
    fitted = trainer.train(screen, graph)
    losses = [r["loss"] for r in fitted.history]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]
    # a line is a hierarchy: radius must say who is above whom
    assert ancestor_concordance(fitted.levels(), above) > 0.9
    assert fitted.effects().shape == (24, 24)
    assert fitted.graph().n_edges == round(0.15 * 24 * 24)
    assert set(fitted.sensitivity()) == set(screen.readouts)


def test_nothing_of_held_out_perturbations_is_seen():
    screen, graph, _ = chain_screen()
    here = prepare_inputs(screen, graph, 0.3, np.random.default_rng(0))
    held = np.flatnonzero(here.role_c != TRAIN)
    assert 6 <= len(held) <= 8
    assert (here.role_c == JUDGE).sum() >= 3
    values = screen.values.copy()
    values[0, 1 + held] += 5.0  # the rows of the controls come first
    other = Responses(values, screen.conditions, screen.readouts, screen.unit)
    there = prepare_inputs(other, graph, 0.3, np.random.default_rng(0))
    torch.testing.assert_close(there.x_gf, here.x_gf)
    torch.testing.assert_close(there.center_r, here.center_r)
    assert there.unit == here.unit


def test_same_seed_same_bits_and_options_are_kept():
    screen, graph, _ = chain_screen(16)
    settings = {"epochs": 3, "checkpointing": True}
    first, again = (HyperPerturbTrainer(**settings).train(screen, graph) for _ in range(2))
    assert first.history == again.history
    np.testing.assert_array_equal(first.effects(), again.effects())
    plain = HyperPerturbTrainer(epochs=3).train(screen, graph)
    np.testing.assert_allclose(plain.effects(), first.effects(), rtol=1e-3, atol=1e-4)
    fixed = HyperPerturbTrainer(2.0, adaptive=False, epochs=3).train(screen, graph)
    assert fixed.curvature == pytest.approx(2.0, rel=1e-3)
    assert first.curvature != pytest.approx(1.0, abs=1e-5)  # adaptive: it moved


def test_mixed_precision_computes_in_bfloat16_and_learns_as_well():
    screen, graph, _ = chain_screen(16)
    seen = []

    def watch(module, inputs, output):
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)

    hook = torch.nn.modules.module.register_module_forward_hook(watch)
    try:
        mixed = HyperPerturbTrainer(epochs=20, precision="bf16").train(screen, graph)
    finally:
        hook.remove()
    full = HyperPerturbTrainer(epochs=20).train(screen, graph)
    assert torch.bfloat16 in seen
    a, b = mixed.history[-1]["loss"], full.history[-1]["loss"]
    assert a != b
    assert a == pytest.approx(b, rel=0.2)


def test_checkpointing_keeps_less_for_the_backward_pass():
    screen, graph, _ = chain_screen(24)
    kept = []
    for checkpointing in (False, True):
        trainer = HyperPerturbTrainer(
            epochs=1, checkpointing=checkpointing, n_layers=6, width=64, batch=24
        )
        total = 0

        def pack(x):
            nonlocal total
            total += x.numel() * x.element_size() if not x.is_sparse else 0
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            trainer.train(screen, graph)
        kept.append(total)
    assert kept[1] < 0.8 * kept[0]


def test_rewards_are_what_they_say():
    delta = np.array([[6.0, 0, 0], [6.0, 0, 0], [0, 0, 6.0]])
    reward = Reward(delta, np.array([0, 1, 2]), {"info_gain": 1.0, "hierarchy": 0.0})
    same, other = reward.gains(np.array([0, 1])), reward.gains(np.array([0, 2]))
    assert same[0] == pytest.approx(0.5 * np.log(1 + 36 / 3))
    assert other[1] == pytest.approx(same[0])
    assert same[1] < 0.3 * same[0]  # told before
    order = np.array([0, 1, 2])
    total = np.linalg.slogdet(np.eye(3) + delta @ delta.T / 3)[1] / 2
    assert reward.gains(order).sum() == pytest.approx(total)
    # 1 moves 0: agreement when 1 is above; own effects do not count
    assert reward.agreement(order, np.array([2.0, 1.0, 0.0])).tolist() == [0.0, 1.0, 0.0]
    assert reward.agreement(order, np.array([0.0, 1.0, 2.0])).tolist() == [0.0, -1.0, 0.0]
    above, below = strong_pairs(delta, np.array([0, 1, 2]))
    assert list(zip(above, below, strict=True)) == [(1, 0)]


def test_schedules_and_mistakes():
    config = HyperPerturbConfig(epochs=10, learning_rate=1.0)
    assert rate_at(config, 0) == 1.0
    assert rate_at(config.replace(lr_schedule="quantum"), 5) == rate_at(config, 5) < 0.5
    assert rate_at(config.replace(lr_schedule="constant"), 9) == 1.0
    with pytest.raises(UnknownNameError, match="'info_gian'; did you mean 'info_gain'"):
        HyperPerturbTrainer(reward_weights={"info_gian": 1.0})
    with pytest.raises(ConfigError, match="all are 0"):
        HyperPerturbTrainer(reward_weights={"info_gain": 0, "hierarchy": 0})
    with pytest.raises(ConfigError, match="curvature"):
        HyperPerturbTrainer(9.0)
    with pytest.raises(ConfigError, match="epochz"):
        HyperPerturbTrainer(epochz=3)
    screen, _, _ = chain_screen(16)
    names = pl.DataFrame({"source": ["A"], "target": ["B"]})
    with pytest.raises(SchemaError, match="no edge between"):
        HyperPerturbTrainer(epochs=1).train(screen, Graph.of(names, directed=False))
    with pytest.raises(SchemaError, match="at least four"):
        HyperPerturbTrainer(epochs=1).train(screen.select(np.arange(3)))


def test_the_command_reads_cells_and_writes_a_whole_folder(tmp_path, capsys):
    out = tmp_path / "hp"
    given = ["hyperperturb", "simulated", "-o", str(out), "--epochs", "2", "--curvature", "0.7",
             "--sparsity", "0.1", "--quantum", "--next", "3"]  # fmt: skip
    assert run(given) == 0
    about = json.loads((out / "model.json").read_text())
    assert about["config"]["network"]["curvature"] == 0.7
    assert about["config"]["sparsity"] == 0.1
    assert about["config"]["lr_schedule"] == "quantum"
    genes = pl.read_csv(out / "genes.tsv", separator="\t")
    assert {"gene", "level", "sensitivity", "policy"} <= set(genes.columns)
    assert (out / "network.tsv").exists()
    assert run(given) == 2
    assert "holds a fitted model" in capsys.readouterr().err
    help_text = CliRunner().invoke(app, ["hyperperturb", "--help"]).output
    for option in ("--curvature", "--sparsity", "--epochs", "--quantum"):
        assert option in help_text


def test_control_cells_become_features(rng):
    cells = open_screen("simulated", seed=0)
    inputs = prepare_inputs(cells, None, 0.2, rng)
    x = np.asarray(
        cells.adata.X[(cells.row_table()["perturbation"] == "control").to_numpy()].todense()
    )
    logged = np.log1p(1e4 * x / x.sum(1, keepdims=True)).mean(0)
    logged = (logged - logged.mean()) / logged.std()
    np.testing.assert_allclose(inputs.x_gf[:, 0].numpy(), np.clip(logged, -8, 8), atol=1e-3)
