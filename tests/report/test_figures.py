import xml.etree.ElementTree as ET

import pytest

from perturbkit.report import figures


def parsed(svg):
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return root, " ".join(root.itertext())


def metric(names):
    rows = [{"model": n, "role": "baseline", "value": 0.1 * i, "low": 0.0, "high": 0.5}
            for i, n in enumerate(names)]  # fmt: skip
    rows[0]["role"] = "ceiling"
    rows[1]["role"] = "model"
    rows[2] |= {"value": None}
    return {"name": "rmse", "unit": "", "better": "lower", "rows": rows}


HARD = ["<b>&amp;", "$\\frac{1$", "基因 🧬", "a" * 300, "new\nline", "a$b$c"]


def test_hard_names_are_drawn_as_they_are():
    _, text = parsed(figures.score_bars(metric(["ceiling", "lpm", "refuses", *HARD])))
    assert "<b>&amp;" in text
    assert "$\\frac{1$" in text
    assert "基因" in text
    assert "a$b$c" in text
    assert "a" * 40 not in text
    assert "refuses" not in text


def test_pictures_have_no_size_of_their_own_and_no_unused_names():
    svg = figures.score_bars(metric(["ceiling", "lpm", "none"]))
    root, _ = parsed(svg)
    assert root.get("width") == "100%"
    assert root.get("height") is None
    assert root.get("viewBox")
    used = {i.get("id") for i in root.iter() if i.get("id")}
    assert all(f"#{i}" in svg for i in used)


@pytest.mark.parametrize("losses", [[1.0, 0.5], [1.0, None], [-1.0, -2.0], [0.0, 0.0], [3.0]])
def test_learning_curves_of_any_loss(losses):
    member = {"member": 0, "steps": list(range(len(losses))), "train": losses,
              "val": [None] * len(losses), "best_val": None, "best_step": None}  # fmt: skip
    _, text = parsed(figures.learning_curve({"members": [member], "seconds": 1.0}))
    assert "loss" in text


def test_a_long_fall_is_drawn_on_a_log_axis_with_plain_labels():
    member = {"member": 0, "steps": [0, 1, 2], "train": [100.0, 1.0, 0.05], "val": [None] * 3,
              "best_val": None, "best_step": None}  # fmt: skip
    _, text = parsed(figures.learning_curve({"members": [member], "seconds": 1.0}))
    assert "0.1" in text
    assert "mathdefault" not in text


@pytest.mark.parametrize("n", [1, 2, 50])
def test_scatters_of_few_and_many_points(n):
    panel = {"measured": [float(i) for i in range(n)], "predicted": [0.0] * n,
             "names": [f"gene{i}" for i in range(n)]}  # fmt: skip
    _, text = parsed(figures.scatter(panel))
    assert f"gene{n - 1}" in text
    compared = {"other": [0.5] * n, "model": [0.5] * n, "baseline": "b", "metric": "m"}
    parsed(figures.against(compared, "lpm"))
