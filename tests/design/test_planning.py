"""Power: agrees with simulation; pilots are recovered; a dearer design is never better placed."""

import numpy as np
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.design.planning import (
    Pilot,
    Prices,
    pilot_from_cells,
    plan_table,
    power,
    variance,
)


def draw(pilot, genes, guides, cells, replicates, rng, effect=0.0):
    shape = (genes, guides, replicates, cells)
    by_rep = rng.normal(size=(genes, 1, replicates, 1)) * pilot.replicate_sd
    by_guide = rng.normal(size=(genes, guides, 1, 1)) * pilot.guide_sd
    return effect + by_rep + by_guide + rng.normal(size=shape) * pilot.cell_sd


def test_variance_and_power_agree_with_simulation(rng):
    pilot = Pilot(1.0, 0.3, 0.2)
    means = draw(pilot, 4000, 3, 20, 2, rng, effect=0.6).mean((1, 2, 3))
    assert means.var() == pytest.approx(variance(pilot, 3, 20, 2), rel=0.1)
    sd = variance(pilot, 3, 20, 2) ** 0.5
    called = (np.abs(means) > 1.96 * sd).mean()
    assert called == pytest.approx(power(0.6, sd, 1), abs=0.03)
    assert power(0.0, sd, 1) == pytest.approx(0.05, abs=1e-6)


def test_a_pilot_gives_its_spreads_back(rng):
    pilot = Pilot(1.0, 0.5, 0.4)
    x = draw(pilot, 200, 4, 15, 3, rng)
    gene, guide, rep, _ = np.indices(x.shape)
    found = pilot_from_cells(x.ravel(), gene.ravel(), guide.ravel(), rep.ravel())
    assert found.cell_sd == pytest.approx(1.0, rel=0.05)
    assert found.guide_sd == pytest.approx(0.5, rel=0.15)
    assert found.replicate_sd == pytest.approx(0.4, rel=0.15)
    one = np.zeros(30)
    with pytest.raises(SchemaError, match="two guides"):
        pilot_from_cells(rng.normal(size=30), np.arange(30) // 10, one, one)


def test_plans_reach_the_power_cheapest_first():
    plans = plan_table(Pilot(1.0, 0.2, 0.1), 1.0, 500, Prices())
    assert plans.height
    assert (plans["power"] >= 0.8).all()
    assert plans["cost"].is_sorted()
    assert not plan_table(Pilot(1.0, 0.2, 5.0), 0.1, 500, Prices()).height


def test_deeper_reads_pay_only_where_counting_is_the_noise():
    pilot = Pilot(1.0, 0.0, 0.0, counting_share=0.5)
    assert variance(pilot, 1, 10, 1, depth=2.0) == pytest.approx(0.075)
    assert variance(pilot, 1, 10, 1) == pytest.approx(0.1)
    assert variance(Pilot(1.0, 0.0, 0.0), 1, 10, 1, depth=4.0) == pytest.approx(0.1)
    plans = plan_table(Pilot(1.0, 0.1, 0.05, counting_share=0.9), 1.0, 500, Prices(cell=5.0))
    assert plans["depth"][0] > 1
    assert set(plan_table(Pilot(1.0, 0.1, 0.05), 1.0, 500, Prices())["depth"]) == {1.0}
