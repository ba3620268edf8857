"""Signals, real ones, sent to real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from crackedge.edge_runtime.stop import StopFlag, stop_on_signals

LOOP = """
    import signal, sys, time
    from crackedge.edge_runtime.stop import stop_on_signals
    with stop_on_signals() as stop:
        print("ready", flush=True)
        while not stop():
            time.sleep(0.01)
        if "stubborn" in sys.argv:
            print("asked", flush=True)
            time.sleep(30)
    print(stop.signal, flush=True)
"""


def start(*arguments: str, before: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", before + textwrap.dedent(LOOP), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_raise_the_flag(number: signal.Signals) -> None:
    process = start()
    process.send_signal(number)
    output, _ = process.communicate(timeout=5)
    assert output == f"{int(number)}\n"
    assert process.returncode == 0


def test_the_second_signal_forces() -> None:
    process = start("stubborn")
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT


def test_an_ignored_hang_up_stays_ignored() -> None:
    process = start(before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=5)
    assert output == f"{int(signal.SIGTERM)}\n"


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_it_is_a_flag_only() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stop_on_signals() as stop:
            seen.append(stop())
            stop.ask()
            seen.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, True]


def test_the_first_signal_counts() -> None:
    stop = StopFlag()
    stop.ask()
    assert (stop(), stop.signal) == (True, None)
    stop.ask(15)
    stop.ask(2)
    assert stop.signal == 15
