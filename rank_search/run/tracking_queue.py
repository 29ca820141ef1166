"""Work for a server that may be away: a queue, one thread that empties it, and what is done with what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum

Job = Callable[[], object]

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two tries while nothing is answered
HANGING = 60.0  # seconds for one job that has not been refused: an upload may be long


class Refusal(Enum):
    """What an error says."""

    OUTAGE = "nobody answers, or who answers is not well: try again"
    OWN = "of this job alone: try once more at the end"
    LOST = "nothing will work before the end"


class JobQueue:
    """Jobs in the order of their first ``put``, done by one daemon thread; nobody who puts one in ever waits.

    It holds one job a key, a newer one in the place of an older one, so it is bounded by the number of keys. A job must
    be repeatable. One that meets an outage goes to the end of the queue, so that a single upload that is always cut off
    holds up no other, and the next try is after a pause: 0.5 s, doubled up to 5 s, until one succeeds.

    Args:
        judge: says what an error means; called by the thread, as the jobs are.
        refused: hears of every error, with that meaning.
        answered: hears of the first success after an outage.
        clock: in seconds.
    """

    def __init__(
        self,
        judge: Callable[[Exception], Refusal],
        refused: Callable[[Exception, Refusal], None] = lambda error, refusal: None,
        answered: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._judge, self._refused, self._answered, self._clock = judge, refused, answered, clock
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._aside: dict[str, Job] = {}
        self._in_hand: str | None = None
        self._lost = self._closed = False
        self._pause, self._next, self._last_success = 0.0, 0.0, 0.0
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """Jobs that wait."""
        return len(self._jobs) + len(self._aside)

    def start(self) -> None:
        """Starts the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work_on, name="rank-search tracking", daemon=True)
            self._thread.start()

    def put(self, key: str, job: Job, first: bool = False) -> None:
        """Adds a job, or replaces the one of that key that waits.

        Args:
            key: of what the job is about.
            job: may be done more than once.
            first: before all others.
        """
        with self._changed:
            self._aside.pop(key, None)
            if first:
                self._jobs.pop(key, None)
                self._jobs = {key: job, **self._jobs}
            else:
                self._jobs[key] = job
            self._changed.notify_all()

    def wait_for(self, key: str, seconds: float) -> None:
        """Waits until a job has been tried, whatever came of it, but not longer than that."""
        until = self._clock() + seconds
        with self._changed:
            while self._is_open(key) and not (self._pause or self._lost) and (left := until - self._clock()) > 0:
                self._changed.wait(left)

    def drain(self, grace: float, most: float = float("inf")) -> bool:
        """Tries all that is left, what was set aside once more, until nothing is left or nothing helps.

        Args:
            grace: seconds without a success after which an outage is given up.
            most: seconds in all.

        Returns:
            Whether nothing was left over.
        """
        with self._changed:
            began = self._clock()
            self._jobs, self._aside = {**self._aside, **self._jobs}, {}
            self._lost, self._next = False, began
            self._changed.notify_all()
            while (self._jobs or self._in_hand is not None) and not self._lost:
                since = max(began, self._last_success)
                until = min(since + (grace if self._pause else max(grace, HANGING)), began + most)
                if (left := until - self._clock()) <= 0:
                    break
                self._changed.wait(left)
            return not (self._jobs or self._aside or self._in_hand is not None)

    def close(self) -> None:
        """Ends the thread after the job in hand."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def seconds_to_next(self) -> float | None:
        """Until the next try; None if there is nothing to try."""
        if self._lost or not self._jobs:
            return None
        return max(0.0, self._next - self._clock())

    def work(self) -> None:
        """Tries the first job."""
        with self._changed:
            key = self._in_hand = next(iter(self._jobs))
            job = self._jobs.pop(key)
        try:
            job()
        except Exception as error:
            refusal = self._judge(error)
            self._put_back(key, job, refusal)
            self._refused(error, refusal)
        else:
            self._succeeded()
        finally:
            with self._changed:
                self._in_hand = None
                self._changed.notify_all()

    def _succeeded(self) -> None:
        with self._changed:
            was_away, self._pause, self._next = bool(self._pause), 0.0, 0.0
            self._last_success = self._clock()
        if was_away:
            self._answered()

    def _put_back(self, key: str, job: Job, refusal: Refusal) -> None:
        with self._changed:
            if refusal is Refusal.OWN:
                if key not in self._jobs:
                    self._aside[key] = job
                return
            self._jobs.setdefault(key, job)  # a newer one stays where it is
            if refusal is Refusal.LOST:
                self._lost = True
                return
            self._pause = min(2 * self._pause, LONGEST_PAUSE) or FIRST_PAUSE
            self._next = self._clock() + self._pause

    def _is_open(self, key: str) -> bool:
        return key in self._jobs or self._in_hand == key

    def _work_on(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (pause := self.seconds_to_next()) != 0:
                    self._changed.wait(pause)
                if self._closed:
                    return
            self.work()
