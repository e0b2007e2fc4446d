from hypothesis import given
from hypothesis import strategies as st

from kppstat.engine import Plan


@given(st.integers(1, 64), st.integers(1, 10**6), st.floats(1e-5, 1), st.floats(1e-6, 1))
def test_time_adds_up(workers: int, inputs: int, setup: float, each: float) -> None:
    plan = Plan(workers, 1, 32, inputs, setup, each)
    assert plan.seconds == plan.seconds_for(inputs)
    assert plan.seconds_for(0) == setup
    assert abs(plan.rate * plan.seconds - workers) < 1e-6 * workers
