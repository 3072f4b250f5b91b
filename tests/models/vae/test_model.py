import numpy as np
import polars as pl
import pytest
import torch

from perturbkit.core.errors import DivergedError, SchemaError
from perturbkit.core.features import Features
from perturbkit.core.rng import named_rng
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.profiles import responses_of
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.store import store_of
from perturbkit.models import MODELS
from perturbkit.models.cells import CellBatch, CellData
from perturbkit.models.vae import changes, predict
from perturbkit.models.vae.model import CellVae
from perturbkit.train.cells import build_of_cells, cell_data
from perturbkit.train.config import TrainConfig
from perturbkit.train.loop import Hooks, train

FAMILY = ["conditional_vae", "cpa_vae", "svae_plus", "sams_vae"]
SMALL = {"latent_dim": 6, "hidden_dim": 24, "n_draws": 16}


@pytest.fixture(scope="module")
def world():
    return simulate(preset("tiny"), np.random.default_rng(0))


def data_of(screen: Screen) -> CellData:
    return cell_data(store_of(screen), responses_of(screen), (), np.random.default_rng(0))


@pytest.fixture(scope="module")
def data(world) -> CellData:
    return data_of(world.screen)


def rng_of(name: str) -> np.random.Generator:
    return named_rng(0, name)


def fitted(
    name: str, cells: CellData, *, settings: dict | None = None, features=None, hooks=None, **loop
) -> CellVae:
    card = MODELS[name]
    config = card.config.parse(SMALL | (settings or {}))
    training = TrainConfig.parse({**card.train, "n_epochs": 2, "batch_cells": 128, **loop})
    model, source, validate = build_of_cells(card, config, cells, features, training, rng_of)
    hooks = hooks or Hooks()
    hooks.validate = validate
    train(model, source, training, rng_of("train"), hooks)
    return model.eval()


def batch_of(model: CellVae, cells: CellData, rows: np.ndarray) -> CellBatch:
    store = cells.store
    return CellBatch(
        torch.from_numpy(store.dense(rows)),
        torch.from_numpy(store.arrays["condition"][rows].astype(np.int64)),
        torch.from_numpy(store.arrays["batch"][rows].astype(np.int64)),
        model.encode(store.conditions), cells=torch.from_numpy(rows),
    )  # fmt: skip


@pytest.mark.parametrize("name", FAMILY)
def test_predicts_the_true_effects_better_than_the_cells_alone(name, world, data) -> None:
    model = fitted(name, data, n_epochs=4)
    observed, truth = data.profiles, world.responses.at(data.profiles.keys)
    perturbed = ~observed.is_control
    found = (model.predict(observed.conditions).mean_cg
             - observed.control_of(observed.contexts))[perturbed]  # fmt: skip
    true = truth.delta_cg()[perturbed]
    alone = np.corrcoef(observed.delta_cg()[perturbed].ravel(), true.ravel())[0, 1]
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > alone + 0.04


def test_effects_cost_each_cell_its_share(data) -> None:
    """Over an epoch each target's divergence is paid exactly once."""
    config = MODELS["sams_vae"].config.parse(SMALL | {"guide": "mean_field"})
    model = CellVae.build(config, data, None, rng_of("build"))
    parts = np.array_split(np.random.default_rng(0).permutation(data.train_n), 5)
    paid = sum(model.terms(batch_of(model, data, p), 1).effect_cost for p in parts)
    rows = model.encode(data.store.conditions)
    whole = model.effect.draw(model.targets_of(rows), 1).cost.sum()
    torch.testing.assert_close(paid, whole, rtol=1e-4, atol=1e-3)


def test_more_importance_samples_tighten_the_bound(data) -> None:
    model = fitted("cpa_vae", data)
    batch = batch_of(model, data, data.train_n[:200])
    torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
    bounds = [float(model.iwelbo(batch, n).mean()) for n in (1, 10, 100)]
    elbo = -model.loss(batch).item()
    assert bounds[0] < bounds[1] < bounds[2]
    assert elbo < bounds[2]


def test_unseen_targets_with_features_are_answered_and_others_refused(world, data) -> None:
    genes = [*list(world.screen.targets), "UNSEEN"]
    vectors = np.random.default_rng(0).normal(size=(len(genes), 5)).astype(np.float32)
    features = Features(Vocabulary(genes, "target"), vectors)
    model = fitted("sams_vae", data, features=features)
    context = model.contexts[0]
    asked = pl.DataFrame({
        "perturbation": ["UNSEEN", "NOSUCH", genes[0], f"{genes[0]}+{genes[5]}"],
        "context": [context] * 4,
    })  # fmt: skip
    predicted = model.predict(asked)
    assert predicted.conditions["status"].to_list() == ["prior", "refused", "seen", "seen"]
    assert np.isfinite(predicted.mean_cg[[0, 2, 3]]).all()
    without = fitted("sams_vae", data)
    assert without.predict(asked).conditions["status"].to_list()[0] == "refused"


def test_combinations_add_the_effects_of_their_targets(data) -> None:
    model = fitted("cpa_vae", data)
    a, b = model.targets.names[:2]
    table = pl.DataFrame({"perturbation": [a, b, f"{a}+{b}"]}).with_columns(
        context=pl.lit(model.contexts[0])
    )
    shift = model.effect.expected(model.targets_of(model.encode(table)))
    torch.testing.assert_close(shift[2], shift[0] + shift[1])


def test_doses_scale_the_effect(data) -> None:
    model = fitted("cpa_vae", data)
    with torch.no_grad():
        model.dose.exponents.copy_(torch.tensor([1.0, 0.0]))
    name = model.targets.names[0]
    table = pl.DataFrame({"perturbation": [f"{name}@1uM", f"{name}@2uM", name]}).with_columns(
        context=pl.lit(model.contexts[0])
    )
    shift = model.effect.expected(model.targets_of(model.encode(table)))
    torch.testing.assert_close(shift[1], 2**0.4342945 * shift[0])
    torch.testing.assert_close(shift[2], shift[0])


def test_mean_of_drawn_cells_is_what_is_predicted(data) -> None:
    model = fitted("sams_vae", data)
    table = data.profiles.conditions[3:5]
    drawn = model.predict_cells(table, 3000, np.random.default_rng(0))
    predicted = model.predict(table).mean_cg
    controls = predict._observed_controls(model, predict.answer(model, table).base_kg)
    for i in range(2):
        x = drawn.x[i]
        mean = np.log1p(1e4 * x / x.sum(1, keepdims=True)).mean(0)
        # gene-wise misfits of the likelihood are taken out of `predict` by the observed control
        assert np.abs(mean - predicted[i]).mean() < 0.1 * controls.mean()
        assert np.corrcoef(mean, predicted[i])[0, 1] > 0.98


@pytest.mark.parametrize("name", FAMILY)
def test_hostile_screens_give_finite_numbers(name) -> None:
    """All-zero genes, one-cell perturbations, an enormous cell."""
    world = simulate(preset("tiny"), np.random.default_rng(3))
    adata = world.screen.adata.copy()
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    rare = sorted(set(labels) - {"control"})[:4]
    first = np.array([np.flatnonzero(labels == r)[0] for r in rare])
    keep = np.flatnonzero(~np.isin(labels, rare))
    adata = adata[np.sort(np.r_[keep, first])].copy()
    x = adata.X.toarray()
    x[:, :5] = 0
    x[0] *= 10_000
    adata.X = x
    screen = Screen.of(adata, level="cells", unit="counts")
    cells = data_of(screen)
    model = fitted(name, cells, settings={"artefact": "quality", "n_particles": 2})
    assert np.isfinite(model.predict(cells.profiles.conditions).values).all()


@pytest.mark.parametrize("rate", [1e-5, 1e-3, 1e-1])
def test_any_learning_rate_ends_finite_or_in_the_named_error(rate, data, tmp_path) -> None:
    hooks = Hooks(folder=tmp_path / "checkpoints")
    settings = {"n_particles": 2}
    try:
        model = fitted("sams_vae", data, settings=settings, hooks=hooks, learning_rate=rate,
                       checkpoint_seconds=0.0)  # fmt: skip
    except DivergedError:
        assert list((tmp_path / "checkpoints").iterdir())
    else:
        assert all(torch.isfinite(v).all() for v in model.state_dict().values())
        assert np.isfinite(model.predict(data.profiles.conditions).values).all()


def test_a_broken_training_ends_in_the_named_error_with_the_last_good_weights(
    data, tmp_path
) -> None:
    from perturbkit.train import checkpoint

    hooks = Hooks(folder=tmp_path)
    model_config = MODELS["cpa_vae"].config.parse(SMALL)
    training = TrainConfig.parse({"n_epochs": 4, "batch_cells": 128, "checkpoint_seconds": 0.0})
    model, source, _ = build_of_cells(MODELS["cpa_vae"], model_config, data, None, training, rng_of)
    loss, calls = model.loss, []

    def breaking(batch: CellBatch) -> torch.Tensor:
        calls.append(1)
        return loss(batch) * (float("nan") if len(calls) > 9 else 1.0)

    model.loss = breaking
    with pytest.raises(DivergedError, match="last good checkpoint"):
        train(model, source, training, rng_of("train"), hooks)
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.position.step == 9
    assert all(torch.isfinite(v).all() for v in found.model.values())


def test_values_that_are_no_counts_take_the_normal_likelihood(world) -> None:
    screen = world.screen
    adata = screen.adata.copy()
    x = adata.X.toarray()
    adata.X = np.log1p(1e4 * x / np.maximum(x.sum(1, keepdims=True), 1)).astype(np.float32)
    adata.uns.pop("perturbkit", None)
    logged = Screen.of(adata, level="cells", unit="log1p_cp10k")
    cells = data_of(logged)
    model = fitted("sams_vae", cells)
    observed = cells.profiles
    found = model.predict(observed.conditions)
    assert found.unit == "log1p_cp10k"
    truth = world.responses.at(observed.keys).delta_cg()[~observed.is_control]
    delta = (found.mean_cg - observed.control_of(observed.contexts))[~observed.is_control]
    alone = observed.delta_cg()[~observed.is_control]
    assert (np.corrcoef(delta.ravel(), truth.ravel())[0, 1]
            > np.corrcoef(alone.ravel(), truth.ravel())[0, 1])  # fmt: skip
    drawn = model.predict_cells(observed.conditions[:1], 4, np.random.default_rng(0))
    assert drawn.x[0].shape == (4, 60)
    with pytest.raises(SchemaError, match="likelihood is for counts"):
        fitted("sams_vae", cells, settings={"likelihood": "poisson"})


def test_without_the_residual_the_decoder_speaks_alone(data) -> None:
    whole = fitted("sams_vae", data)
    alone = fitted("sams_vae", data, settings={"residual": False})
    table = data.profiles.conditions[4:6]
    said = predict.answer(alone, table).change_cg
    controls = changes.decoded(alone, changes.controls_of(alone))
    decoded = changes.decoded(alone, table)
    at = predict.answer(alone, table).context_c
    ratio = np.log(decoded / controls[at])
    shift = said - ratio  # shares add to one: all readouts move alike
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-9)
    assert np.abs(shift).max() < 0.1
    assert np.abs(predict.answer(whole, table).change_cg - said).max() > 0.05


def test_batches_are_kept_apart_from_effects() -> None:
    """A batch that holds most cells of one perturbation is not taken for its effect."""
    world = simulate(preset("tiny").replace(n_contexts=1, n_doubles=0), np.random.default_rng(5))
    adata = world.screen.adata.copy()
    rng = np.random.default_rng(0)
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    shifted = sorted(set(labels) - {"control"})[0]
    share = np.where(labels == shifted, 0.9, 0.3)
    second = rng.random(len(labels)) < share
    x = adata.X.toarray()
    x[second, 10] = rng.poisson(4 * x[second, 10].mean() + 20, second.sum())
    adata.X = x
    adata.obs["batch"] = np.where(second, "two", "one")
    adata.uns.pop("perturbkit", None)
    screen = Screen.of(adata, level="cells", unit="counts")
    cells = data_of(screen)
    model = fitted("cpa_vae", cells, n_epochs=6)
    at = cells.profiles.find([f"{shifted} | {model.contexts[0]}"])
    change = predict.answer(model, cells.profiles.conditions[at]).change_cg[0, 10]
    assert abs(change) < 0.35 < abs(cells.profiles.delta_cg()[at][0, 10])


def test_a_decoder_that_has_learned_nothing_is_not_believed() -> None:
    rng = np.random.default_rng(0)
    observed, noise = rng.normal(size=(5, 300)), rng.normal(size=(5, 300))
    error = np.full(observed.shape, 0.1)
    assert changes.credibility(observed, error, noise) < 0.1
    assert changes.credibility(observed, error, observed) == pytest.approx(1.0)
    assert changes.credibility(observed, error, 4 * observed) == pytest.approx(0.25)
    assert changes.credibility(observed, error, -observed) == 0.0
    assert changes.credibility(observed, error, 0 * observed) == 0.0
