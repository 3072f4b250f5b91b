"""A campaign's next batch, and whether to stop: the policy applied to the folder."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from perturbkit.core.campaign import Campaign, Round
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.rng import named_rng
from perturbkit.design.acquire import ACQUISITIONS
from perturbkit.design.knowledge import Knowledge
from perturbkit.design.network_campaign import choose_experiments
from perturbkit.design.policy import HIT_TARGET, Chooser, learning_target, policy_named
from perturbkit.design.suggest import reasons

GUIDES = ("guides", "control_guides")


def next_round(
    campaign: Campaign, knowledge: Knowledge, *, threshold: float | None = None
) -> Round:
    """Choose and write the next batch; a round that waits for results is returned as it is.

    The draw depends on the campaign's seed and the round alone, so a command that was killed
    before it wrote chooses the same when it is run again.

    Args:
        campaign: the folder.
        knowledge: of the pool, rows in the pool's order.
        threshold: score from which a condition is a hit (its size, where both ends are hits); by
            default the campaign's.

    Raises:
        SchemaError: nothing is left of the pool or of the budget.
    """
    waiting = campaign.open_round
    if waiting is not None:
        return waiting
    k = affordable(campaign)
    index = len(campaign.rounds()) + 1
    rng = named_rng(campaign.config.seed, "round", index)
    if campaign.config.objective == "network":
        chosen, gain = choose_experiments(campaign, k, rng)
        chosen = within_budget(campaign, chosen)
        why = [f"expected to settle {gain[i]:.2f} nats of which genes it regulates" for i in chosen]
        return campaign.choose(chosen, order_table(campaign, chosen, gain[None], why))
    score = campaign.outcomes()[:, 0]
    threshold = campaign.config.threshold if threshold is None else threshold
    target = learning_target(score, _hits(score, threshold, campaign.config.hit),
                             campaign.config.hit)  # fmt: skip
    policy = policy_named(campaign.config.policy)
    names = campaign.pool["key"].to_list()
    chooser = Chooser(policy, [str(i) for i in range(len(names))], knowledge)
    above = None if threshold is None else HIT_TARGET
    chosen, values = chooser.choose(target, campaign.taken, k, rng, hit_above=above)
    chosen = within_budget(campaign, chosen)
    return campaign.choose(chosen, order_notes(campaign, chosen, values, knowledge))


def order_notes(
    campaign: Campaign, chosen: np.ndarray, values_mc: np.ndarray, knowledge: Knowledge
) -> pl.DataFrame:
    """Return what the order list says of each choice: prediction, reason, guides, controls."""
    policy = policy_named(campaign.config.policy)
    first = not np.isfinite(campaign.outcomes()).any()
    blind = knowledge.prior_c.std() == 0
    if first and policy.surrogate != "prior" and (blind or not policy.warm):
        why = ["first round: drawn by chance, so that later rounds learn from all of the pool"]
        why *= len(chosen)
    elif first and policy.warm:
        prior = f"first round, nothing measured yet: high {' and '.join(knowledge.says)}"
        why = [f"{prior} (score {knowledge.prior_c[i]:.2f})" for i in chosen]
    else:
        why = reasons(ACQUISITIONS[policy.acquisition], chosen, values_mc)
    return order_table(campaign, chosen, values_mc, why)


def order_table(
    campaign: Campaign, chosen: np.ndarray, values_mc: np.ndarray, why: list[str]
) -> pl.DataFrame:
    """Return the order list's columns beside the conditions: round, prediction, guides, reason."""
    config = campaign.config
    controls = np.zeros(len(chosen), np.int64)
    controls[0] = int(np.ceil(config.control_share * config.guides_per_gene * len(chosen)))
    spread = values_mc.std(0, ddof=1)[chosen] if len(values_mc) > 1 else [None] * len(chosen)
    return pl.DataFrame({
        "round": [len(campaign.rounds()) + 1] * len(chosen),
        "predicted": values_mc.mean(0)[chosen],
        "uncertainty": pl.Series(spread, dtype=pl.Float64),
        "guides": [config.guides_per_gene] * len(chosen),
        "control_guides": controls,
        "reason": why,
    })  # fmt: skip


def affordable(campaign: Campaign) -> int:
    """Return how many conditions the next batch may have.

    Raises:
        SchemaError: nothing is left of the pool or of the budget.
    """
    free = ~campaign.taken
    cost = np.sort(campaign.pool["cost"].to_numpy()[free])
    n = int((np.cumsum(cost) <= campaign.remaining + 1e-9).sum())
    if not n:
        what = "the pool is empty" if not free.any() else "the budget is spent"
        message = f"{what}: {campaign.spent:g} of {campaign.config.budget:g}; the campaign is over"
        raise SchemaError(message)
    return min(n, campaign.config.batch)


def within_budget(campaign: Campaign, chosen: np.ndarray) -> np.ndarray:
    """Return the choices in order, leaving out those the rest of the budget cannot pay."""
    cost, left, kept = campaign.pool["cost"].to_numpy(), campaign.remaining, []
    for i in chosen:
        if cost[i] <= left + 1e-9:
            kept.append(i)
            left -= cost[i]
    if not kept:
        message = f"{campaign.remaining:g} of the budget is left, less than any choice costs"
        raise SchemaError(message)
    return np.array(kept, np.int64)


def _hits(score_c: np.ndarray, threshold: float | None, side: str) -> np.ndarray | None:
    if threshold is None:
        return None
    extreme = {"high": score_c, "low": -score_c, "both": np.abs(score_c)}[side]
    return np.where(np.isfinite(score_c), extreme >= threshold, np.nan)


def status_of(campaign: Campaign, *, threshold: float | None = None) -> dict[str, object]:
    """Return what `design status` prints: rounds, spending, hits by round and advice."""
    rounds, score = campaign.rounds(), campaign.outcomes()[:, 0]
    threshold = campaign.config.threshold if threshold is None else threshold
    hits = _hits(score, threshold, campaign.config.hit)
    by_round = []
    for r in rounds:
        rows = [campaign.position[k] for k in r.keys]
        known = np.isfinite(score[rows])
        line = {"round": r.index, "chosen": len(rows), "measured": int(known.sum()),
                "waiting": r.results is None}  # fmt: skip
        if hits is not None:
            line["hits"] = int(np.nansum(hits[rows]))
        by_round.append(line)
    about = {"objective": campaign.config.objective, "policy": campaign.config.policy,
             "pool": campaign.pool.height, "chosen": int(campaign.taken.sum()),
             "budget": f"{campaign.config.budget:g}", "spent": f"{campaign.spent:g}",
             "remaining": f"{campaign.remaining:g}", "rounds": by_round}  # fmt: skip
    if hits is not None:
        about["advice"] = stopping_advice(campaign, hits)
    about["next"] = next_step(campaign)
    return about


def next_step(campaign: Campaign) -> str:
    """Say which command goes on from here."""
    waiting = campaign.open_round
    if waiting is not None:
        return f"measure round {waiting.index}, then perturbkit design record {campaign.path} FILE"
    try:
        k = affordable(campaign)
    except SchemaError as error:
        return str(error)
    return f"perturbkit design next {campaign.path} (at most {k} conditions)"


def stopping_advice(campaign: Campaign, hit_c: np.ndarray, floor: float = 0.5) -> str:
    """Say whether another round pays: the last rounds' hit rate against the first's.

    The rule: stop when the upper 95 % bound of the last round's hit rate is below `floor` times
    the rate over all rounds before it.
    """
    done = [r for r in campaign.rounds() if r.results is not None]
    if len(done) < 3:
        return "too early to say: at least three rounds with results are needed"
    rates = []
    for r in done:
        rows = [campaign.position[k] for k in r.keys]
        known = hit_c[rows][np.isfinite(hit_c[rows])]
        rates.append((float(known.sum()), len(known)))
    from scipy.stats import beta

    last, n_last = rates[-1]
    earlier = sum(h for h, _ in rates[:-1]) / max(sum(n for _, n in rates[:-1]), 1)
    upper = float(beta.ppf(0.975, last + 1, n_last - last)) if last < n_last else 1.0
    if upper < floor * earlier:
        return (
            f"stop: the last round's hit rate is at most {upper:.1%} (95 %), less than half of "
            f"the {earlier:.1%} before"
        )
    return f"go on: the last round's hit rate may be up to {upper:.1%}, {earlier:.1%} before"


def require_knowledge(campaign: Campaign, knowledge: Knowledge) -> None:
    """Refuse knowledge of another pool.

    Raises:
        FileError: the numbers of rows differ.
    """
    if len(knowledge.prior_c) != campaign.pool.height:
        message = (
            f"the knowledge covers {len(knowledge.prior_c)} conditions, the pool has "
            f"{campaign.pool.height}; build it from the campaign's pool"
        )
        raise FileError(message)


def genes_of(campaign: Campaign) -> list[str]:
    """Return the target of each condition of the pool.

    Raises:
        SchemaError: the pool holds combinations, or a target in several contexts.
    """
    genes = campaign.pool["perturbation"].to_list()
    pairs = [g for g in genes if "+" in g]
    if pairs or len(set(genes)) != len(genes):
        what = f"combinations such as {pairs[0]!r}" if pairs else "a target in several contexts"
        message = f"the pool holds {what}; network knowledge is of single targets in one context"
        raise SchemaError(message)
    return genes


def exclude(pool: pl.DataFrame, genes: Iterable[str]) -> pl.DataFrame:
    """Return the pool without conditions that touch any of these genes."""
    barred = set(genes)
    keep = [barred.isdisjoint(str(p).split("+")) for p in pool["perturbation"]]
    return pool.filter(pl.Series(keep, dtype=pl.Boolean))
