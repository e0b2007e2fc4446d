"""Seeds of generators: one stream for each purpose, epoch and instance."""

from __future__ import annotations

import numpy as np


def mixed(*numbers: int) -> int:
    """Return a seed that differs wherever any of the numbers does.

    Examples
    --------
    >>> mixed(0, 1) == mixed(0, 1), mixed(0, 1) == mixed(1, 0)
    (True, False)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
