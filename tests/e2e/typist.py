"""A person at a terminal: a command on a pseudo-terminal, what it shows, what is typed."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.machine import Client, Machine, until

CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\r"
ROWS, COLUMNS = 33, 101


class Typist:
    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._shown = ""
        self._seen = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has the other end open
                return
            self._shown += data.decode("utf-8", "replace")

    def sees(self, *texts: str) -> str:
        """Wait for these texts, one after the other, behind what was seen before."""
        began = self._seen
        for text in texts:
            until(lambda text=text: text in self._shown[self._seen :] or self._over(), f"{text!r} on the terminal")  # type: ignore[misc]
            assert text in self._shown[self._seen :], self._shown
            self._seen = self._shown.index(text, self._seen) + len(text)
        return self._shown[began : self._seen]

    def _over(self) -> bool:
        return self.process.poll() is not None and not self._reader.is_alive()

    def types(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def ends(self) -> tuple[int, str]:
        """Wait for the end of the command: its exit code, and what it showed behind what was seen."""
        until(lambda: self.process.poll() is not None, f"the end of the command; it showed:\n{self._shown}")
        self._reader.join(10)
        return self.process.returncode, self._shown[self._seen :]

    def is_raw(self) -> bool:
        """Whether keys go through unchanged, Ctrl-C among them."""
        return not termios.tcgetattr(self._master)[3] & termios.ISIG

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(10)
        os.close(self._master)


@contextmanager
def modal_on_terminal(machine: Machine, client: Client, *arguments: str, cwd: str) -> Iterator[Typist]:
    """Plain ``modal ...`` on a terminal of its own; killed at the end if it still runs."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [client.modal, *arguments],
        cwd=cwd,
        env={**machine.environ, **machine.variables(), "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    typist = Typist(process, master)
    try:
        yield typist
    finally:
        typist.close()
