from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.benchmarks.plots import Series, distribution, plot

values = st.floats(1e-4, 1e6)


@given(st.lists(st.tuples(values, values), min_size=1, max_size=20), st.booleans(), st.booleans())
def test_every_point_lies_inside_the_axes(points: list[tuple[float, float]], log_x: bool, from_zero: bool) -> None:
    drawn = plot([Series("a", points, dots=True)], x_label="ms", y_label="%", log_x=log_x, from_zero=from_zero)
    circles = [one for one in ET.fromstring(drawn).iter() if one.tag == "circle"]
    assert len(circles) == len(points)
    for circle in circles:
        assert 61.9 <= float(circle.attrib["cx"]) <= 624.1
        assert 19.9 <= float(circle.attrib["cy"]) <= 314.1


def test_more_is_further_right_and_higher_up() -> None:
    drawn = plot([Series("a", [(1, 5), (2, 9)], dots=True)], x_label="x", y_label="y")
    xs, ys = ([float(one) for one in re.findall(rf'<circle.*?{key}="([\d.]+)"', drawn)] for key in ("cx", "cy"))
    assert xs[0] < xs[1]
    assert ys[0] > ys[1]


def test_names_cannot_break_the_page() -> None:
    drawn = plot([Series("<b>&", [(1, 1)]), Series("\udcff", [(2, 2)], ["<i>"])], x_label="<x>", y_label="y")
    assert "<b>" not in drawn
    assert "<i>" not in drawn
    ET.fromstring(drawn)


def test_a_distribution_ends_at_all_samples_and_stays_small() -> None:
    points = distribution([float(ms) for ms in range(10_000, 0, -1)])
    assert points[-1] == (10_000.0, 100.0)
    assert points[0][0] == 1
    assert points[0][1] == pytest.approx(0.01)
    assert len(points) < 600
    assert distribution([3.0, 1.0]) == [(1.0, 50.0), (3.0, 100.0)]
