"""The next conditions to test, with reasons: the one function the other layers call."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from perturbkit.core.condition import CONDITION_SCHEMA
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.design.acquire import ACQUISITIONS, AcquisitionCard, History
from perturbkit.design.acquire.card import objective_mc, spread


def suggest(
    responses: Responses,
    k: int,
    rng: np.random.Generator,
    *,
    policy: str = "greedy",
    exclude: Iterable[str] = (),
    features: Features | None = None,
    graph: Graph | None = None,
) -> pl.DataFrame:
    """Return the k conditions to test next, best first, each with its reason.

    Args:
        responses: predictions for every candidate, one member for each member of the ensemble;
            controls, and conditions with status `measured` or `refused`, are never suggested.
        k: how many.
        rng: source of randomness.
        policy: a name of ACQUISITIONS. `greedy` asks for the largest predicted effects; `ucb`,
            `thompson`, `uncertainty`, `batch_bald` need an ensemble; `degree`, `page_rank` and
            `coverage` a graph.
        exclude: targets that may not be used, such as essential genes.
        features: vectors of targets, for policies that spread choices out.
        graph: a network of targets.

    Returns:
        `rank`, CONDITION_SCHEMA, `status`, `predicted` (root mean square change, or the score),
        `uncertainty` (standard deviation over members; null for one member), `reason`.

    Raises:
        UnknownNameError: no such policy.
        SchemaError: fewer than k candidates are left, or the policy lacks what it needs.
    """
    card = ACQUISITIONS[policy]
    names = responses.conditions["perturbation"].to_list()
    history = _history(responses, names, set(exclude), features, graph)
    require_needs(card, responses, history)
    chosen = card.fn(responses, k, rng, history=history)
    values = objective_mc(responses)
    table = responses.conditions.select(*CONDITION_SCHEMA, "status")[chosen]
    several = len(values) > 1
    return table.with_columns(
        pl.Series("predicted", values.mean(0)[chosen]),
        pl.Series("uncertainty", spread(values)[chosen] if several else [None] * len(chosen),
                  dtype=pl.Float64),
        pl.Series("reason", reasons(card, chosen, values), dtype=pl.String),
    ).insert_column(0, pl.Series("rank", np.arange(1, len(chosen) + 1)))  # fmt: skip


def _history(
    responses: Responses, names: Sequence[str], exclude: set[str], features: Features | None,
    graph: Graph | None,
) -> History:  # fmt: skip
    known = responses.conditions["status"].is_in(["measured", "refused"]).to_numpy()
    barred = np.array([not exclude.isdisjoint(n.split("+")) for n in names], bool)
    taken = known | responses.is_control | barred
    outcome = np.full(len(names), np.nan)
    vectors = adjacency = None
    if features is not None:
        place = features.names.find(names)
        vectors = np.zeros((len(names), features.width), np.float32)
        vectors[place >= 0] = features.values[place[place >= 0]]
    if graph is not None:
        if len(set(names)) != len(names):
            message = "targets occur in several contexts; a network policy needs one context"
            raise SchemaError(message)
        inside = graph.within(Vocabulary(names, "node")).adjacency
        adjacency = inside.maximum(inside.T).tocsr()
    return History(taken, outcome, vectors, adjacency)


def require_needs(card: AcquisitionCard, responses: Responses, history: History) -> None:
    """Refuse an acquisition function that lacks what its card says it needs.

    Raises:
        SchemaError: one member where an ensemble is needed, or no network, or no list of
            essential genes.
    """
    if "members" in card.needs and len(responses.values) < 2:
        message = (
            f"{card.name} needs the spread of an ensemble and there is one member; fit several "
            "members, or choose greedy"
        )
        raise SchemaError(message)
    if "adjacency" in card.needs and history.adjacency is None:
        message = f"{card.name} needs a network over the targets; give one, or choose greedy"
        raise SchemaError(message)
    if "essential" in card.needs and history.essential is None:
        message = f"{card.name} needs a list of essential genes; give one, or choose greedy"
        raise SchemaError(message)


def reasons(card: AcquisitionCard, chosen: np.ndarray, values_mc: np.ndarray) -> list[str]:
    """Say of each choice, in the card's words, why it was made."""
    mean, std = values_mc.mean(0), spread(values_mc)
    place = np.empty(len(mean), np.int64)
    place[np.argsort(-mean, kind="stable")] = np.arange(1, len(mean) + 1)
    text = card.reason or card.summary
    return [text.format(value=mean[i], std=std[i], rank=place[i]) for i in chosen]
