import numpy as np
import pytest
from scipy.integrate import solve_ivp

from perturbkit.core.condition import Condition
from perturbkit.core.errors import DivergedError
from perturbkit.data.simulate import SimulationConfig, draw_world, kinetics
from perturbkit.data.simulate.kinetics import Doses, steady_states
from perturbkit.data.simulate.network import Network, draw_network
from perturbkit.data.simulate.settings import ContextConfig, NetworkConfig


def production(net, active, log_basal, y, production_factor, activity):
    """Production of every gene, written edge by edge from the formula of steady_states."""
    out = np.empty_like(y)
    for gene in range(len(y)):
        product = 1.0
        edges = np.flatnonzero((net.target == gene) & active)
        for group in np.unique(net.group[edges]):
            members = edges[net.group[edges] == group]
            e = members[0]
            s = np.prod(y[net.source[members]] * activity[net.source[members]])
            fold = np.exp(net.sign[e] * net.log_fold[e])
            half = np.exp(net.log_half[e]) ** net.hill[e]
            bound, rest = s ** net.hill[e] / (half + s ** net.hill[e]), 1 / (half + 1)
            product *= (1 + (fold - 1) * bound) / (1 + (fold - 1) * rest)
        w = net.openness[gene]
        out[gene] = np.exp(log_basal[gene]) * (1 + w) * product / (1 + w * product)
    return out * production_factor


@pytest.mark.parametrize("knocked_out", [False, True])
def test_steady_states_are_where_the_differential_equations_end(knocked_out):
    config = NetworkConfig(feedback=0.2, complexes=0.5)
    net = draw_network(config, 30, np.random.default_rng(3))
    rng = np.random.default_rng(0)
    active = rng.random(net.n_groups)[net.group] > 0.2
    basal = 0.3 * rng.standard_normal(30)
    hub = int(np.bincount(net.source).argmax())
    doses = Doses(np.array([hub]), np.array([0]), np.array([np.log(0.2)]),
                  np.array([-np.inf if knocked_out else 0.0]))  # fmt: skip
    rest, changed = steady_states(net, active, basal, doses, 1)
    factor, activity = np.ones(30), np.ones(30)
    for found, perturbed in ((rest, False), (changed[0], True)):
        if perturbed:
            factor[hub] = 0.2
            activity[hub] = 0.0 if knocked_out else 1.0

        def slope(_t, y):
            return production(net, active, basal, y, factor, activity) - y

        end = solve_ivp(slope, (0, 120), np.ones(30), method="LSODA", rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(np.exp(found), end.y[:, -1], rtol=1e-5)


@pytest.fixture(scope="module")
def world():
    config = SimulationConfig(n_genes=300, n_contexts=2, kind="ko",
                              context=ContextConfig(edge_difference=0.2))  # fmt: skip
    return draw_world(config, np.random.default_rng(7))


def changes(world, targets, context="line1"):
    rest, log = world.log_levels([Condition(t, context=context) for t in targets])
    return log - rest


def test_knock_out_moves_direct_targets_in_the_direction_of_the_sign(world):
    net = world.network
    regulators = np.flatnonzero(net.is_regulator)
    delta = changes(world, [(world.genes[int(r)],) for r in regulators])
    row = np.searchsorted(regulators, net.source)
    # other paths may oppose an edge; where it is the only path its sign decides
    paths = net.reachable().astype(np.int64)
    only = np.array([
        ((net.target == t) & (paths[s] > 0)[net.source] & (net.source != s)).sum() == 0
        for s, t in zip(net.source, net.target, strict=True)
    ])  # fmt: skip
    effect = -net.sign * delta[row, net.target]
    works = world.active_xe[0]
    assert (only & works).sum() > 100
    assert (effect[only & works] > 0).all()
    assert np.mean(effect[only & works] > 0.05) > 0.95
    assert np.median(effect[only & works]) > 0.3
    assert np.mean(effect[works] > 0.02) > 0.8


def test_what_cannot_be_reached_does_not_move(world):
    net = world.network
    regulators = np.flatnonzero(net.is_regulator)
    delta = changes(world, [(world.genes[int(r)],) for r in regulators])
    unreached = ~net.reachable()[regulators]
    unreached[np.arange(len(regulators)), regulators] = False
    assert (delta[unreached] == 0).all()
    assert (delta[~unreached] != 0).mean() > 0.6
    leaves = np.flatnonzero(~net.is_regulator)[:20]
    own = changes(world, [(world.genes[int(g)],) for g in leaves])
    assert ((own != 0).sum(1) <= 1).all()


def test_hubs_move_more_genes_and_effects_shrink_with_distance(world):
    net = world.network
    regulators = np.flatnonzero(net.is_regulator)
    moved = (np.abs(changes(world, [(world.genes[int(r)],) for r in regulators])) > 0.2).sum(1)
    n_targets = np.bincount(net.source, minlength=300)[regulators]
    order = np.argsort(n_targets)
    third = len(order) // 3
    assert moved[order[-third:]].mean() > 3 * moved[order[:third]].mean()


def test_contexts_share_most_of_every_strong_response(world):
    net = world.network
    regulators = [(world.genes[int(r)],) for r in np.flatnonzero(net.is_regulator)]
    one, two = changes(world, regulators), changes(world, regulators, "line2")
    strong = np.linalg.norm(one, axis=1) > 1.5
    same = [np.corrcoef(a, b)[0, 1] for a, b in zip(one[strong], two[strong], strict=True)]
    assert 0.5 < np.median(same) < 0.99


def test_regulators_of_a_module_respond_alike(world):
    net = world.network
    regulators = np.flatnonzero(net.is_regulator)
    delta = changes(world, [(world.genes[int(r)],) for r in regulators])
    delta[np.arange(len(regulators)), regulators] = 0
    strong = np.linalg.norm(delta, axis=1) > 1
    correlation = np.corrcoef(delta[strong])
    module = net.module[regulators[strong]]
    same = module[:, None] == module
    off = ~np.eye(len(module), dtype=bool)
    assert correlation[same & off].mean() > correlation[~same].mean() + 0.1


def test_combinations_are_nearly_additive_and_complexes_saturate(world):
    net, rng = world.network, np.random.default_rng(0)
    names = [world.genes[int(r)] for r in np.flatnonzero(net.is_regulator)]
    pairs = [tuple(map(str, rng.choice(names, 2, replace=False))) for _ in range(80)]
    single = dict(zip(names, changes(world, [(n,) for n in names]), strict=True))
    double = changes(world, pairs)
    added = np.array([single[a] + single[b] for a, b in pairs])
    deviation = np.linalg.norm(double - added, axis=1) / np.linalg.norm(added, axis=1)
    assert np.median(deviation) < 0.1
    member = net.source[net.group == np.argmax(np.bincount(net.group))]
    couple = tuple(world.genes[int(g)] for g in member[:2])
    together = changes(world, [couple])[0]
    own = [world.genes.position(g) for g in couple]
    targets = np.setdiff1d(net.target[np.isin(net.source, member[0])], own)
    separate = single[couple[0]][targets] + single[couple[1]][targets]
    assert np.abs(together[targets]).sum() < 0.75 * np.abs(separate).sum()


@pytest.mark.parametrize(("kind", "low", "high"), [("crispri", -2.5, -1.2), ("crispra", 1.0, 2.0)])
def test_the_target_itself_moves_as_its_kind_says(kind, low, high):
    config = SimulationConfig(n_genes=100, n_contexts=1, kind=kind)
    world = draw_world(config, np.random.default_rng(0))
    leaves = np.flatnonzero(~world.network.is_regulator)[:10]
    own = changes(world, [(world.genes[int(g)],) for g in leaves])[np.arange(10), leaves]
    assert ((low < own) & (own < high)).all()


def test_the_answer_does_not_depend_on_what_else_is_asked(world):
    names = [(g,) for g in world.genes]
    together, alone = changes(world, names), changes(world, names[7:8])
    np.testing.assert_allclose(together[7], alone[0], atol=1e-8)


def test_an_oscillator_is_put_at_the_point_it_circles_or_refused(monkeypatch):
    net = Network(
        source=np.array([0, 1, 2]), target=np.array([1, 2, 0]), group=np.arange(3),
        sign=np.full(3, -1, np.int8), log_fold=np.full(3, np.log(1000)), hill=np.full(3, 8.0),
        log_half=np.zeros(3), feedback=np.array([False, False, True]), level=np.arange(3),
        module=np.zeros(3, np.int64), openness=np.full(3, 0.1),
    )  # fmt: skip
    nothing = Doses(*(np.zeros(0, t) for t in (np.int64, np.int64, float, float)))
    basal, active = np.full(3, 0.1), np.ones(3, bool)
    rest, _ = steady_states(net, active, basal, nothing, 0)
    y = np.exp(rest)
    np.testing.assert_allclose(production(net, active, basal, y, 1.0, np.ones(3)), y, rtol=1e-8)
    monkeypatch.setattr(kinetics, "NEWTON_STEPS", 1)
    with pytest.raises(DivergedError, match=r"lower network\.feedback"):
        steady_states(net, active, basal, nothing, 0)


def test_newtons_method_agrees_with_sweeps(monkeypatch):
    net = draw_network(NetworkConfig(feedback=0.2), 60, np.random.default_rng(3))
    doses = Doses(np.array([3, 9]), np.array([0, 1]), np.full(2, -1.5), np.array([0.0, -np.inf]))
    arguments = (net, np.ones(len(net.source), bool), np.zeros(60), doses, 2)
    swept = steady_states(*arguments)[1]
    monkeypatch.setattr(kinetics, "SWEEPS", 1)
    np.testing.assert_allclose(steady_states(*arguments)[1], swept, atol=1e-6)
