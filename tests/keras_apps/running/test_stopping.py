"""Ctrl-C stops at the next safe place, twice stops at once."""

import signal

import pytest
from rich.console import Console

from keras_apps.running.progress import Display
from keras_apps.running.stopping import Interruption


def test_the_first_ctrl_c_asks_and_the_second_stops():
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_terminal_there_is_a_line_for_each_run(capsys):
    with Display(Console(force_terminal=False), 2) as display:
        for name in ("first", "second"):
            display.start_run(name, 0, 5)
            display.show_step(5)
            display.finish_run(name, "loss 0.5")
    assert capsys.readouterr().out == "[1/2] first: loss 0.5\n[2/2] second: loss 0.5\n"
