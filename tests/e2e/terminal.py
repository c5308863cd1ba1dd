# SPDX-License-Identifier: GPL-2.0-only
"""A person at a terminal of a lab host: a command whose stdin, stdout and stderr are one pty."""
import fcntl
import os
import pty
import select
import subprocess
import termios
import time

PATIENCE = 20.0     # for what has to come; a test that waits as long has failed
QUESTION = "[y/N] "


def take_terminal():
    """In the child: a session of its own, whose terminal stdin is, so that ^C reaches it."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """One command at a terminal; `argv` as of Host.argv() or Lab.command()."""

    def __init__(self, argv, env):
        self.keys, inside = pty.openpty()
        try:
            # pylint: disable=subprocess-popen-preexec-fn
            self.process = subprocess.Popen(argv, stdin=inside, stdout=inside, stderr=inside,
                                            env=env, preexec_fn=take_terminal)
        finally:
            os.close(inside)
        self.screen = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        if self.keys >= 0:
            os.close(self.keys)

    def _read(self, patience):
        """Takes what is printed next; False when nothing comes any more."""
        if not select.select([self.keys], [], [], patience)[0]:
            return False
        try:
            part = os.read(self.keys, 65536)
        except OSError:             # its last user has ended
            return False
        self.screen += part.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(part)

    def wait_question(self, number=1):
        """Until the question number `number` stands there."""
        end = time.monotonic() + PATIENCE
        while self.screen.count(QUESTION) < number:
            assert time.monotonic() < end and self._read(PATIENCE), f"no question:\n{self.screen}"
        return self

    def type(self, keys):
        """Types keys, as they are."""
        os.write(self.keys, keys)
        return self

    def hang_up(self):
        """The line breaks: SIGHUP to all at it."""
        os.close(self.keys)
        self.keys = -1
        self.process.wait(PATIENCE)

    def signal_inside(self, number):
        """A signal to the command itself, the process that nsenter began."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            os.kill(int(file.read().split()[0]), number)

    def end(self):
        """Its exit code, when it has ended by itself; all it said is in `screen`."""
        while self._read(PATIENCE):
            pass
        return self.process.wait(PATIENCE)
