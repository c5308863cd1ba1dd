# SPDX-License-Identifier: GPL-2.0-only
"""Runs commands on a lab host from a process that lives there, so that each costs one exec.

Started on the host as a program it takes one JSON request a line and answers likewise; a Runner is
the other end. A command can be killed (SIGKILL) after some time, wherever it then is.
"""
import json
import os
import signal
import subprocess
import sys
import time


def serve():
    """The end on the host."""
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.monotonic()
        with subprocess.Popen(asked["argv"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=asked["env"]) as process:
            if asked["kill"] is not None:
                time.sleep(max(0.0, asked["kill"] - (time.monotonic() - start)))
                os.kill(process.pid, signal.SIGKILL)        # no later: it is not waited for yet
            out, err = process.communicate((asked["stdin"] or "").encode())
        print(json.dumps({"code": process.returncode, "out": out.decode("utf-8", "replace"),
                          "err": err.decode("utf-8", "replace"),
                          "seconds": time.monotonic() - start}), flush=True)


class Answer:
    """What a command said."""

    def __init__(self, argv, answer):
        self.argv, self.code, self.out, self.err = \
            argv, answer["code"], answer["out"], answer["err"]
        self.seconds = answer["seconds"]

    @property
    def killed(self):
        """It did not end by itself."""
        return self.code == -signal.SIGKILL

    @property
    def json(self):
        """The one JSON object that -j promises."""
        value = json.loads(self.out)
        assert value.get("schema") == 1, f"no schema 1: {self.out!r}"
        return value

    def __str__(self):
        return (f"$ smtpgate {' '.join(self.argv)}\nexit {self.code}\n"
                f"stdout: {self.out.strip()}\nstderr: {self.err.strip()}")


class Runner:
    """Runs smtpgate on the lab's mail host."""

    def __init__(self, lab, program):
        self.program, self.env = program, lab.env
        self.process = lab.mail.start(sys.executable, "-B", "-I", os.path.abspath(__file__),
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *args, stdin=None, kill=None):
        """`kill`: after so many seconds."""
        args = [str(a) for a in args]
        self.process.stdin.write(json.dumps({"argv": [self.program, *args], "env": self.env,
                                             "stdin": stdin, "kill": kill}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the runner has ended"
        return Answer(args, json.loads(line))

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


if __name__ == "__main__":
    serve()
