"""Train a graph encoder so that its similarity says which genes are linked."""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.rng import torch_generator
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.nn.graph import (
    GraphEncoder,
    edge_codes,
    graph_consistency_loss,
    relations_of,
    shuffled_partners,
)


class LinkConfig(Config):
    """Settings of the learned network embedding."""

    width: int = Field(default=128, ge=2)
    """length of the vectors"""
    n_layers: int = Field(default=1, ge=1)
    """how far information travels"""
    n_steps: int = Field(default=60, ge=1)
    """optimizer steps"""
    steps_per_split: int = Field(default=5, ge=1)
    """after so many steps other edges are hidden and asked for"""
    hidden: float = Field(default=0.2, gt=0, lt=1)
    """share of the edges that a step asks for and does not pass messages along"""
    learning_rate: float = Field(default=5e-3, gt=0)
    """of Adam"""


def fit_graph_encoder(
    graphs: Sequence[Graph],
    config: LinkConfig,
    rng: np.random.Generator,
    *,
    features: Features | None = None,
) -> Features:
    """Return vectors whose cosine tells edges of the first network from degree-matched pairs.

    Some of the first network's edges are hidden at a time and asked for, so that the encoder
    learns what predicts an edge rather than to copy it. Further networks pass messages only.

    Args:
        graphs: networks; the nodes of the first are embedded.
        config: the settings.
        rng: the source of randomness.
        features: vectors to start from, such as spectral ones of the same training edges.
    """
    first, nodes = graphs[0], graphs[0].nodes
    start = _start(features, nodes)
    pairs, n = edge_codes(first, nodes), len(nodes)
    codes = np.sort(pairs[:, 0] * n + pairs[:, 1])
    encoder = GraphEncoder(
        relations_of(graphs, nodes), config.width, rng, n_layers=config.n_layers,
        feature_width=0 if start is None else start.shape[1], identity=start is None,
    )  # fmt: skip
    if encoder.project is not None and encoder.project.in_features == config.width:
        with torch.no_grad():
            # begin at the given vectors rather than at a random turn of them
            encoder.project.weight.copy_(torch.eye(config.width))
            encoder.out.weight.copy_(torch.eye(config.width))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=config.learning_rate)
    order = torch_generator(rng)
    asked = others = torch.zeros(0, 2, dtype=torch.int64)
    for step in range(config.n_steps):
        if step % config.steps_per_split == 0:
            hidden = torch.rand(first.n_edges, generator=order).numpy() < config.hidden
            encoder.relations[0] = relations_of([first.select(~hidden)], nodes)[0]
            asked_pairs = edge_codes(first.select(hidden), nodes)
            asked = torch.from_numpy(asked_pairs)
            others = torch.from_numpy(shuffled_partners(asked_pairs, codes, n, rng))
        optimizer.zero_grad()
        graph_consistency_loss(encoder(start), asked, others).backward()
        optimizer.step()
    encoder.relations[0] = relations_of([first], nodes)[0]
    with torch.no_grad():
        z = torch.nn.functional.normalize(encoder.eval()(start), dim=1).numpy()
    return Features(nodes, z, f"learned on {first.provenance.name or 'a network'}")


def _start(features: Features | None, nodes: Vocabulary) -> torch.Tensor | None:
    if features is None:
        return None
    place = features.names.find(nodes)
    values = np.zeros((len(nodes), features.width), np.float32)
    values[place >= 0] = features.values[place[place >= 0]]
    return torch.from_numpy(values * np.float32(features.width**0.5))
