"""A campaign that learns a network: which knock-outs, single or paired, to run next."""

import numpy as np
from scipy import sparse

from perturbkit.core.campaign import Campaign
from perturbkit.core.errors import SchemaError
from perturbkit.design.network import Evidence, information

FALL = 0.5
"""What is left of a gene's expected information for each further experiment of the batch."""


def evidence_of(campaign: Campaign) -> Evidence:
    """Return what the recorded rounds say; an experiment with a missing readout is left out.

    The noise of an experiment is estimated from the smaller responses: most genes do not respond,
    and a quarter of a standard normal lies within 0.3186 of 0.
    """
    genes = list(campaign.config.readouts)
    place = {g: i for i, g in enumerate(genes)}
    values = campaign.outcomes()
    rows = np.flatnonzero(np.isfinite(values).all(1))
    noise = float(np.quantile(np.abs(values[rows]), 0.25)) / 0.3186 if len(rows) else 1.0
    evidence = Evidence.none(len(genes), max(noise, 1e-6))
    names = campaign.pool["perturbation"].to_list()
    for row in rows:
        evidence.add(tuple(place[t] for t in names[row].split("+")), values[row])
    evidence.resolve()
    return evidence


def require_network(targets: list[str], readouts: tuple[str, ...]) -> None:
    """Refuse a pool of which some target has no readout.

    Raises:
        SchemaError: what a knock-out does cannot then be told from what is done to it.
    """
    known = set(readouts)
    without = sorted({t for name in targets for t in name.split("+")} - known)
    if without:
        message = (
            f"a network is learned from a readout for each gene; {len(without)} target(s) of the "
            f"pool have none: {', '.join(without[:5])}; name them by --readout or drop them"
        )
        raise SchemaError(message)


def choose_experiments(
    campaign: Campaign, k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return k free positions of the pool, best first, and the expected information of each, nats.

    The information of a pair is the sum over its genes; a gene's share falls by half with each
    experiment of the batch that holds it, so that a batch is spread.
    """
    names = campaign.pool["perturbation"].to_list()
    require_network(names, campaign.config.readouts)
    place = {g: i for i, g in enumerate(campaign.config.readouts)}
    pairs = [(i, place[t]) for i, name in enumerate(names) for t in name.split("+")]
    row, column = np.array(pairs).T
    member = sparse.csr_array((np.ones(len(row)), (row, column)), shape=(len(names), len(place)))
    gain = information(evidence_of(campaign))
    value = member @ gain
    open_, tie = ~campaign.taken, rng.random(len(names))
    chosen = np.zeros(k, np.int64)
    for i in range(k):
        left = np.where(open_, member @ gain, -np.inf)
        best = int(np.lexsort((tie, left))[-1])
        chosen[i], open_[best] = best, False
        gain[member.indices[member.indptr[best] : member.indptr[best + 1]]] *= FALL
    return chosen, value
