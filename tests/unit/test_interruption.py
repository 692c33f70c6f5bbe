"""A signal becomes a flag once; a second one acts as it would have, and afterwards everything is as before."""

import os
import signal
import threading

import pytest

from genir.interruption import SIGNALS, interrupted_between_steps


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_a_flag(number: signal.Signals) -> None:
    before = {one: signal.getsignal(one) for one in SIGNALS}
    with interrupted_between_steps() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert interrupted()
    assert {one: signal.getsignal(one) for one in SIGNALS} == before


def test_the_second_ctrl_c_does_not_wait() -> None:
    with interrupted_between_steps() as interrupted:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()


def test_the_second_sigterm_would_end_the_process() -> None:
    with interrupted_between_steps():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_thread_is_left_alone() -> None:
    flags: list[bool] = []

    def loop() -> None:
        with interrupted_between_steps() as interrupted:
            flags.append(interrupted())

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    assert flags == [False]
