"""BLAS has one thread inside, and what it had before afterwards, also when several threads come and go."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from rank_search.space.forms.cp_fit import fit
from rank_search.space.forms.one_thread import one_thread


def blas_threads() -> set[int]:
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def test_inside_there_is_one_thread_and_afterwards_as_many_as_before() -> None:
    with threadpool_limits(2, user_api="blas"):
        with one_thread():
            assert blas_threads() == {1}
            with one_thread():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_an_error_inside_leaves_the_threads_as_they_were() -> None:
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ValueError, match="inside"), one_thread():
            raise ValueError("inside")
        assert blas_threads() == {2}


def test_fits_in_several_threads_leave_the_threads_of_blas_as_they_were_and_agree() -> None:
    tensor = np.random.default_rng(0).normal(size=(16, 16, 9))
    found: list[bytes] = []

    def work() -> None:
        found.extend(fit(tensor, 12, 30)[0][0].tobytes() for _ in range(5))

    with threadpool_limits(2, user_api="blas"):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert blas_threads() == {2}
    assert len(found) == 20
    assert len(set(found)) == 1
