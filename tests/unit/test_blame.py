"""Halving finds the first place that fails, in few questions, whatever else fails too."""

import math

from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.steps.blame import _halved


@given(st.integers(1, 5_000), st.data())
def test_halving_finds_the_first_place_that_fails(count, data):
    failing = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=5))
    asked = []

    def survives(low, high):
        asked.append((low, high))
        return not any(low <= place < high for place in failing)

    assert _halved(count, survives) == min(failing)
    assert len(asked) <= math.ceil(math.log2(count)) if count > 1 else not asked
