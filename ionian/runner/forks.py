"""Children that user code forks: signals end them as any process, for they must not act for the container.

Signals that have handlers of ours wait while a fork is under way, so that none comes to a child that still has them.
"""

from __future__ import annotations

import os
import signal
import threading

_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_masks = threading.local()  # of the thread that forks, from before


def register() -> None:
    """For all forks from now on."""
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)


def _hold() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _forget() -> None:
    package = __name__.partition(".")[0]
    for number in _OURS:
        owner = getattr(signal.getsignal(number), "__module__", None) or ""
        if owner.partition(".")[0] == package:  # and not one of the user's
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _release()
