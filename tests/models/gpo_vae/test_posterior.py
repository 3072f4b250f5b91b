import numpy as np

from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.gpo_vae.evidence import Evidence
from perturbkit.models.gpo_vae.posterior import direct_effects

GENES = ["A", "B", "C", *(f"R{i}" for i in range(57))]


def evidence(change: np.ndarray, error: float = 0.05, rng=None) -> Evidence:
    rng = rng or np.random.default_rng(0)
    noisy = change + error * rng.standard_normal(change.shape)
    sources = Vocabulary(GENES[: len(change)], "perturbation")
    return Evidence(
        sources, Vocabulary(GENES, "readout"), noisy, np.full(change.shape, error),
        np.zeros(len(change), bool), np.zeros(len(change), bool),
    )  # fmt: skip


def chain() -> np.ndarray:
    """A activates B and B activates C; every knock-down takes 80 % of its own gene."""
    change = np.zeros((3, len(GENES)))
    change[0, :3] = np.log(0.2), 0.6 * np.log(0.2), 0.36 * np.log(0.2)
    change[1, 1:3] = np.log(0.2), 0.6 * np.log(0.2)
    change[2, 2] = np.log(0.2)
    change[1, 10:20] = 1.0  # B has targets of its own
    change[0, 10:20] = 0.6
    return change


def test_a_chain_is_recovered_without_its_short_cut() -> None:
    found = direct_effects(evidence(chain()))
    assert found.probability[0, 1] > 0.9
    assert found.probability[1, 2] > 0.9
    assert found.probability[0, 2] < 0.3
    assert (found.probability[1, 10:20] > 0.9).all()
    assert found.probability[0, 10:20].mean() < 0.3
    assert found.effect[0, 1] < 0
    assert np.isclose(found.probability[[0, 1, 2], [0, 1, 2]], 0).all()


def test_noise_alone_gives_no_edge() -> None:
    for seed in range(5):
        found = direct_effects(evidence(np.zeros((3, 60)), rng=np.random.default_rng(seed)))
        assert (found.fdr > 0.05).all()
