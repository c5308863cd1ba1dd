# SPDX-License-Identifier: GPL-2.0-only
"""Runs commands on a lab host from a process that lives there, so that each costs one exec.

Started on the host as a program it takes one JSON request a line and answers likewise; a Runner is
the other end. A command can be killed (SIGKILL): after some time, or at a system call from its first
write to a file or its first fdatasync(2) on, which is where it matters.
"""
import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import time

TRACEME, SYSCALL, SETOPTIONS, SYSCALL_INFO = 0, 24, 0x4200, 0x420e
SYSGOOD, EXITKILL = 1, 0x100000
NUMBERS = {"x86_64": (18, 75), "aarch64": (68, 83), "riscv64": (68, 83)}.get(
    platform.machine(), (None, None))
CALLS = dict(zip(("pwrite", "fdatasync"), NUMBERS))     # None: not known, any call is the first
SYSCALL_STOP = signal.SIGTRAP | 0x80
LIBC = ctypes.CDLL(None, use_errno=True)


def ptrace(request, pid, address, data):
    """ptrace(2)"""
    if LIBC.ptrace(ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(address),
                   ctypes.c_void_p(data)) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def called(pid):
    """The number of the system call at whose beginning a command is stopped; -1 at its end."""
    info = ctypes.create_string_buffer(88)
    ptrace(SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    return int.from_bytes(info.raw[24:32], sys.byteorder) if info.raw[0] == 1 else -1


def traced(pid, first, limit):
    """Runs a command that asked to be traced up to the `limit`th stop from such a first call on.

    Each system call has two stops. Returns the exit code, and how many stops there were."""
    os.waitpid(pid, 0)
    ptrace(SETOPTIONS, pid, 0, SYSGOOD | EXITKILL)
    stops, number = 0, 0
    while True:
        if stops == limit:
            os.kill(pid, signal.SIGKILL)
        else:
            ptrace(SYSCALL, pid, 0, number)
        status = os.waitpid(pid, 0)[1]
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status), stops
        number = os.WSTOPSIG(status)
        if number == SYSCALL_STOP:
            number = 0
            stops += bool(stops) or CALLS[first] in (None, called(pid))


def run(asked):
    """Runs one command as asked."""
    given, out, err = (os.memfd_create(name) for name in ("stdin", "stdout", "stderr"))
    os.write(given, (asked["stdin"] or "").encode())
    os.lseek(given, 0, os.SEEK_SET)
    start, stops = time.monotonic(), None
    with subprocess.Popen(asked["argv"], stdin=given, stdout=out, stderr=err, env=asked["env"],
                          preexec_fn=(lambda: ptrace(TRACEME, 0, 0, 0)) if asked["call"] else None,
                          ) as process:
        if asked["call"]:
            process.returncode, stops = traced(process.pid, *asked["call"])
        elif asked["after"]:
            time.sleep(max(0.0, asked["after"] - (time.monotonic() - start)))
            os.kill(process.pid, signal.SIGKILL)            # no later: it is not waited for yet
    answer = {"code": process.returncode, "seconds": time.monotonic() - start, "stops": stops}
    for name, fd in (("out", out), ("err", err)):
        answer[name] = os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace")
    for fd in (given, out, err):
        os.close(fd)
    return answer


def serve():
    """The end on the host."""
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


class Answer:
    """What a command said."""

    def __init__(self, argv, answer):
        self.argv, self.code, self.out, self.err = \
            argv, answer["code"], answer["out"], answer["err"]
        self.seconds, self.stops = answer["seconds"], answer["stops"]

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

    def __call__(self, *args, stdin=None, after=None, call=None):
        """Kills it `after` so many seconds, or at a system `call`: (the first call that counts, stops
        from there on; a call has two)."""
        args = [str(a) for a in args]
        self.process.stdin.write(json.dumps({"argv": [self.program, *args], "env": self.env,
                                             "stdin": stdin, "after": after, "call": call}) + "\n")
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
