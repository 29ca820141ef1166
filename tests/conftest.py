"""What the tests of several floors share; the network itself is in ``tiny_task.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_limits

THREADS = 1
"""Of torch and of every BLAS: two workers with two threads each on two cores wait for one another most of the time."""

torch.set_num_threads(THREADS)
_limits = threadpool_limits(THREADS)


@pytest.fixture(scope="module")
def single_thread() -> Iterator[None]:
    """Whatever a test before has set, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(threads)
