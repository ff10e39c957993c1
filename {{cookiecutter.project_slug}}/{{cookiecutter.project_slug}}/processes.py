"""Several processes that serve one port: how they are started, started again, and stopped.

`__main__` calls `fork`, and each process that serves awaits `told_to_stop`. SIGTERM, SIGINT (Ctrl-C)
and SIGHUP (a terminal that closes) shut the app down cleanly; a second one kills it immediately.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

# A process that ends by itself is started again: soon, but not over and over.
first_delay_s = 0.1
longest_delay_s = 30.0
healthy_after_s = 60.0  # the delay begins anew for one that has lived so long

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Child:
    """What `fork` returns, in a child."""

    number: int
    """0 for the first of several."""
    is_first_start: bool
    lifeline: int
    """A file descriptor that becomes readable when the parent was told to stop, or is gone."""


_number = 0


def is_first() -> bool:
    """Whether this process is the only one, or the first of several: the one for jobs that must run
    once on a machine.
    """
    return _number == 0


def fork(count: int, patience_s: float) -> Child:
    """Fork `count` children, and return in each of them.

    The parent stays here. It starts a child again that ends, and exits once it was told to stop and
    the last child has ended; what has not ended after `patience_s` seconds is killed.
    """
    global _number
    lifeline, parents_end = os.pipe()
    place = _supervise([_Place(number) for number in range(count)], parents_end, patience_s)
    os.close(parents_end)  # only the parent's own copy may keep the pipe open
    for number in (signal.SIGINT, signal.SIGHUP):
        # A terminal sends Ctrl-C and its own end to all processes. The parent tells its children.
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
    _number = place.number
    return Child(place.number, place.starts == 1, lifeline)


async def told_to_stop(child: Child | None) -> None:
    """Wait until this process shall stop. From then on a signal ends it at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    alone = (number for number in _STOP if not _is_ignored(number))
    numbers = list(alone) if child is None else [signal.SIGTERM]
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    if child is not None:
        loop.add_reader(child.lifeline, stop.set)
    await stop.wait()
    for number in numbers:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    if child is not None:
        loop.remove_reader(child.lifeline)


def _supervise(places: list[_Place], parents_end: int, patience_s: float) -> _Place:
    """Keep a process in each of the places. Returns in the children alone."""
    with _Signals((*_STOP, signal.SIGCHLD)) as signals:
        while True:
            for place in places:
                if place.is_due() and place.start() == 0:
                    return place
            if _is_told(signals.wait(min(place.wait_s() for place in places))):
                break
            for place, status in _ended(places):
                place.note_end(status)
        os.close(parents_end)  # it tells the children
        _wait_for_all(places, signals, patience_s)
    sys.exit(0)


def _is_ignored(number: signal.Signals) -> bool:
    """nohup has a program ignore SIGHUP, and means it."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


@dataclass
class _Place:
    """One of the processes, whichever it is at the moment."""

    number: int
    pid: int = 0
    """0 while there is none."""
    starts: int = 0
    crashes: int = 0
    """How many have ended in a row, each soon after its start."""
    started: float = 0.0
    due: float = 0.0

    def is_due(self) -> bool:
        return not self.pid and self.due <= time.monotonic()

    def wait_s(self) -> float:
        return longest_delay_s if self.pid else max(0.0, self.due - time.monotonic())

    def start(self) -> int:
        """Fork; returns 0 in the child, where signals are still blocked: it has the parent's way of
        hearing them.
        """
        self.started = time.monotonic()
        self.starts += 1
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        self.pid = os.fork()
        if self.pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        return self.pid

    def note_end(self, status: int) -> None:
        """Decide when to start the next one."""
        now = time.monotonic()
        if now - self.started >= healthy_after_s:
            self.crashes = 0
        delay_s = min(longest_delay_s, first_delay_s * 2 ** min(self.crashes, 16))
        self.crashes += 1
        log.warning(
            "process %d (pid %d) %s; starting it again in %.1f s",
            self.number,
            self.pid,
            _how(status),
            delay_s,
        )
        self.pid = 0
        self.due = now + delay_s


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _ended(places: Iterable[_Place]) -> Iterable[tuple[_Place, int]]:
    """The places whose process has ended, each with its status."""
    by_pid = {place.pid: place for place in places if place.pid}
    while by_pid:
        # Any child: as the first process of a container this one inherits those of others.
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        if pid in by_pid:
            yield by_pid.pop(pid), status


def _wait_for_all(places: list[_Place], signals: _Signals, patience_s: float) -> None:
    """Wait for the children, which know that they shall end. Kill them when time is up, or at the
    second signal.
    """
    deadline = time.monotonic() + patience_s
    while living := [place for place in places if place.pid]:
        left_s = deadline - time.monotonic()
        told = _is_told(signals.wait(max(0.0, left_s)))
        if told or left_s <= 0:
            log.warning("ending %d processes at once", len(living))
            for place in living:
                os.kill(place.pid, signal.SIGKILL)
            sys.exit(1)
        for place, _ in _ended(places):
            place.pid = 0


def _is_told(numbers: Iterable[int]) -> bool:
    return any(number in _STOP for number in numbers)


class _Signals:
    """Signals as a queue to wait at: no handler interrupts what the parent is doing."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = [number for number in numbers if not _is_ignored(number)]
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)
        signal.set_wakeup_fd(self._in, warn_on_full_buffer=False)
        for number in self._numbers:
            self._before[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._out)
        os.close(self._in)

    def wait(self, timeout_s: float) -> bytes:
        """Return the numbers of the signals that have arrived, or nothing after `timeout_s`."""
        readable, _, _ = select.select([self._out], [], [], timeout_s)
        return os.read(self._out, 4096) if readable else b""
