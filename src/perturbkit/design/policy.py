"""Policies: a surrogate, an acquisition function, and how the first batch is chosen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.errors import FileError, unknown_name
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.design.acquire import ACQUISITIONS, History
from perturbkit.design.knowledge import Knowledge
from perturbkit.design.surrogate import SURROGATES
from perturbkit.design.surrogate.card import Fit

HIT_TARGET = 0.75
"""A learning target at or above it is a hit: hits are at least 1, others at most 0.5."""
_ORDERING = frozenset({"greedy", "ucb", "probability_of_hit"})
"""Acquisition functions that order a pool by its predictions and draw nothing."""


@dataclass(frozen=True)
class Policy:
    """How a campaign chooses: fit the surrogate, then ask the acquisition function."""

    acquisition: str
    surrogate: str = "prior"
    warm: bool = False
    """the first batch by the static prior; otherwise by chance, or by what needs no outcomes"""
    agent: Fit | None = None
    """scores of a trained agent in place of the surrogate's; it chooses the first batch as well"""
    agent_by_chance: bool = False
    """whether the agent's scores depend on the generator; those of a trained one do not"""

    @property
    def is_fixed(self) -> bool:
        """Whether chance plays no part: every seed chooses the same (but for exact ties)."""
        if self.agent is not None:
            return not self.agent_by_chance and self.acquisition in _ORDERING
        if self.surrogate == "prior" and not self.warm:
            return self.acquisition in {"degree", "page_rank", "coverage"}
        return (
            self.warm and not SURROGATES[self.surrogate].by_chance
            and self.acquisition in _ORDERING
        )  # fmt: skip


_COVERING = ("core_set", "k_means", "typiclust", "lcmd", "prior_kernels")
_LEARNING = ("ucb", "thompson", "probability_of_hit", "expected_improvement", "uncertainty",
             "badge", "bald", "batch_bald")  # fmt: skip
POLICIES: dict[str, Policy] = {
    "random": Policy("random"),
    "essentials": Policy("essentials"),
    "degree": Policy("degree"),
    "page_rank": Policy("page_rank"),
    "coverage": Policy("coverage"),
    "prior": Policy("greedy", "prior", warm=True),
    **{name: Policy(name) for name in _COVERING},
    "linear_bandit": Policy("linear_bandit"),
    "greedy": Policy("greedy", "bayes_ridge"),
    **{name: Policy(name, "bayes_ridge") for name in _LEARNING},
    "gp_greedy": Policy("greedy", "gp"),
    "gp_ucb": Policy("ucb", "gp"),
    "gp_thompson": Policy("thompson", "gp"),
    "botorch_greedy": Policy("greedy", "botorch_gp"),
    "botorch_thompson": Policy("thompson", "botorch_gp"),
    "deep_kernel": Policy("greedy", "deep_kernel"),
    "lpm_greedy": Policy("greedy", "lpm_ensemble"),
    "lpm_ucb": Policy("ucb", "lpm_ensemble"),
    "trees_greedy": Policy("greedy", "trees"),
    "committee": Policy("greedy", "committee"),
    "warm_ridge": Policy("greedy", "bayes_ridge", warm=True),
    "warm_gp": Policy("greedy", "gp", warm=True),
    "warm_trees": Policy("greedy", "trees", warm=True),
    "warm_committee": Policy("greedy", "committee", warm=True),
    "kernels": Policy("greedy", "graph_kernels"),
    "warm_kernels": Policy("greedy", "graph_kernels", warm=True),
    "warm_kernels_mixture": Policy("mixture", "graph_kernels", warm=True),
    "warm_kernels_ucb": Policy("ucb", "graph_kernels", warm=True),
    "warm_kernels_hit": Policy("probability_of_hit", "graph_kernels", warm=True),
}
"""Every policy of the side-by-side, by name."""


def policy_named(name: str) -> Policy:
    """Return a policy by its name, or a trained agent by its folder.

    Raises:
        UnknownNameError: neither; with what may have been meant.
        FileError: a folder without an agent, or an agent's folder that is not whole.
    """
    if name not in POLICIES:
        if (Path(name) / "agent.json").is_file():
            from perturbkit.design.agents.store import load_agent  # torch is imported here

            return Policy("greedy", agent=load_agent(name).fit)
        if Path(name).is_dir() or len(Path(name).parts) > 1:
            message = (
                f"{name} is no policy and holds no trained agent (no agent.json); train one by "
                "perturbkit design train-agent, or see perturbkit list policies"
            )
            raise FileError(message)
        raise unknown_name("policy", name, POLICIES)
    return POLICIES[name]


def learning_target(score_c: np.ndarray, hit_c: np.ndarray | None, side: str) -> np.ndarray:
    """Return what surrogates learn from scores: being a hit, plus how extreme the score is.

    Extremeness is the squared distance from the median of what was measured so far, in units of
    that of the least extreme hit so far (of the 95 % point, where no threshold is stated or no hit
    was found), at most 1. Nothing of the distribution of unmeasured scores enters.

    Args:
        score_c: float64, NaN where not measured.
        hit_c: whether each measured one is a hit, NaN where not; None when no threshold is stated.
        side: "high", "low" or "both" ends count.
    """
    seen = np.flatnonzero(np.isfinite(score_c))
    target = np.full(len(score_c), np.nan)
    if not len(seen):
        return target
    away = score_c[seen] - np.median(score_c[seen])
    away = {"high": np.maximum(away, 0), "low": np.maximum(-away, 0), "both": np.abs(away)}[side]
    is_hit = np.zeros(len(seen)) if hit_c is None else np.nan_to_num(hit_c[seen])
    among = away[is_hit > 0] if is_hit.any() else np.quantile(away, [0.95])
    unit = max(float(np.quantile(among, 0.1)), 1e-12)
    target[seen] = is_hit + 0.5 * np.minimum(away / unit, 1.0) ** 2
    return target


def as_responses(names: list[str], values_mc: np.ndarray, status: str = "neighbour") -> Responses:
    """Wrap predicted objectives of a pool as Responses of one readout in unit score."""
    table = pl.DataFrame({"perturbation": names}, schema={"perturbation": pl.String})
    table = table.with_columns(status=pl.lit(status))
    readouts = Vocabulary(["objective"], "readout")
    return Responses(values_mc[..., None].astype(np.float32), table, readouts, "score")


class Chooser:
    """One policy over one pool; keeps what does not change between rounds.

    Args:
        policy: how to choose.
        names: the pool, one condition a row.
        knowledge: what is known of it.
    """

    def __init__(self, policy: Policy, names: list[str], knowledge: Knowledge) -> None:
        self.policy, self.knowledge = policy, knowledge
        self._blank = as_responses(names, knowledge.prior_c[None], "prior")

    def choose(
        self, target_c: np.ndarray, taken: np.ndarray, k: int, rng: np.random.Generator,
        *, hit_above: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Return k positions, best first, and the predictions [members, pool] they rest on.

        Args:
            target_c: what was learned so far, NaN where not measured.
            taken: conditions that may not be chosen.
            k: batch size.
            rng: source of randomness.
            hit_above: target from which a condition counts as a hit.
        """
        policy, known = self.policy, self.knowledge
        blind = not np.isfinite(target_c).any()
        if policy.agent is not None:
            values, acquisition = policy.agent(known, target_c, rng), policy.acquisition
        elif blind and policy.warm:
            values, acquisition = known.prior_c[None], "greedy"
        elif blind and policy.surrogate != "prior":
            values, acquisition = known.prior_c[None], "random"
        else:
            values = SURROGATES[policy.surrogate].fn(known, target_c, rng)
            acquisition = policy.acquisition
        history = History(
            taken,
            target_c,
            known.places_cd,
            known.adjacency,
            hit_above,
            essential=known.essential_c,
            kernels=known.sources,
        )
        responses = replace_values(self._blank, values)
        return ACQUISITIONS[acquisition].fn(responses, k, rng, history=history), values


def replace_values(blank: Responses, values_mc: np.ndarray) -> Responses:
    """Return the same conditions with other values; keys are not checked again."""
    fresh = object.__new__(Responses)
    fresh.__dict__.update(blank.__dict__)
    fresh.__dict__.pop("mean_cg", None)
    object.__setattr__(fresh, "values", values_mc[..., None].astype(np.float32))
    return fresh
