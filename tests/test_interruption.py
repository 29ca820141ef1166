"""SIGTERM is an interruption of its own exit code, heard once; what was there before is there again."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rank_search.interruption import Terminated, exit_code, terminable

DEADLINE = 60.0


def test_the_codes_are_those_of_a_shell() -> None:
    assert exit_code(KeyboardInterrupt()) == 130
    assert exit_code(Terminated()) == 143


def test_sigterm_is_a_keyboard_interrupt_inside_and_as_before_outside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as caught, terminable():
        signal.raise_signal(signal.SIGTERM)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGTERM) is before
    with terminable():
        pass
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_one_is_not_heard_while_the_first_clears_up() -> None:
    cleared = []

    def interrupted() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleared.append(True)

    with pytest.raises(Terminated), terminable():
        interrupted()
    assert cleared


def test_the_next_use_hears_again() -> None:
    for _ in range(2):
        with pytest.raises(Terminated), terminable():
            signal.raise_signal(signal.SIGTERM)


def test_one_inside_another_raises_it_once_and_puts_both_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminable(), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_process_that_sleeps_ends_with_its_code_and_clears_up(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    program = f"""
        import sys, time
        from pathlib import Path
        from rank_search.interruption import exit_code, terminable
        try:
            with terminable():
                try:
                    print("here", flush=True)
                    time.sleep({DEADLINE})
                finally:
                    Path({str(tmp_path / "cleared")!r}).touch()
        except KeyboardInterrupt as interruption:
            sys.exit(exit_code(interruption))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        assert process.wait(DEADLINE) == code
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "cleared").exists()
