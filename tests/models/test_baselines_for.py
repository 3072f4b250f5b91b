from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models import MODELS
from perturbkit.models.applies import why_not
from perturbkit.models.baselines_for import baselines_for


def test_combinations_call_for_the_models_of_combinations(planted_law) -> None:
    pairs = [k for k in planted_law.truth.keys if "+" in k][:3]
    train, test = planted_law.split(pairs)
    assert {"additive", "matching_mean", "no_change"} <= set(baselines_for(train, test.conditions))
    train, test = planted_law.split(["G01 | liver"])
    names = set(baselines_for(train, test.conditions))
    assert "additive" not in names
    assert {"mean_delta", "cross_context_ridge", "knn", "bilinear_ridge"} <= names


def test_one_context_leaves_out_what_needs_several(planted_law) -> None:
    truth = planted_law.truth
    names = set(baselines_for(truth.select(truth.contexts == "skin")))
    assert not names & {"mean_delta", "cross_context_ridge", "additive"}
    assert {"context_mean", "no_change", "knn"} <= names


def test_compounds_without_features_say_why(planted_law) -> None:
    compounds = planted_law.truth.with_readouts(Vocabulary([f"R{i:02d}" for i in range(30)]))
    assert not {"knn", "kernel_ridge", "bilinear_ridge"} & set(baselines_for(compounds))
    reason = why_not(MODELS["knn"], compounds)
    assert reason == "0 of 40 training targets have a measured readout"
    assert "knn" in baselines_for(compounds, features=planted_law.features)


def test_models_of_cells_say_what_cells_they_lack() -> None:
    from perturbkit.models import MODELS
    from perturbkit.models.applies import why_not_cells

    assert "holds profiles" in why_not_cells(MODELS["sams_vae"], None)
    assert "log1p_cp10k" in why_not_cells(MODELS["gpo_vae"], "log1p_cp10k")
    for name in ("gpo_vae", "sams_vae", "mean_delta"):
        assert not why_not_cells(MODELS[name], "counts")
    assert not why_not_cells(MODELS["mean_delta"], None)
