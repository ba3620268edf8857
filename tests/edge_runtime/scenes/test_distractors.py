from __future__ import annotations

import numpy as np
import pytest

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.scenes.distractors import DISTRACTORS, add_distractors

GREY = np.full((160, 220, 3), 140, np.uint8)


@pytest.mark.parametrize("kind", sorted(DISTRACTORS))
def test_every_kind_leaves_something_on_a_copy(kind: str) -> None:
    before = GREY.copy()
    changed = [
        float(np.mean(add_distractors(before, np.random.default_rng(seed), [kind], count=1) != before))
        for seed in range(12)
    ]
    assert np.array_equal(before, GREY)
    assert sum(share > 0 for share in changed) >= 6  # a line may fall outside, but not as a rule


def test_same_seed_same_picture() -> None:
    one, again, other = (add_distractors(GREY, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_no_kinds_or_none_of_them_change_nothing() -> None:
    assert np.array_equal(add_distractors(GREY, np.random.default_rng(0), []), GREY)
    assert np.array_equal(add_distractors(GREY, np.random.default_rng(0), count=0), GREY)


def test_an_unknown_kind_names_the_known() -> None:
    with pytest.raises(OptionError, match=r"distractor 'dragon'.*joint.*shadow"):
        add_distractors(GREY, np.random.default_rng(0), ["joint", "dragon"])
