#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every command with sanitizers in it, some under valgrind, on a real kernel: no invalid access, no
leak, also on errors. The golden tests use the sanitized program too."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import lab
import tap

WRONG = 99
SANITIZED = str(lab.ROOT / "build" / "asan" / "smtpgate")
VALGRIND = ["valgrind", "-q", f"--error-exitcode={WRONG}", "--leak-check=full",
            "--errors-for-leak-kinds=definite,indirect,possible", "--track-fds=no",
            f"--suppressions={lab.ROOT}/tests/valgrind.supp"]

# (exit code, words); in this order on one host
COMMANDS = [
    (0, "status"), (0, "attach eth0"), (0, "attach eth0"), (0, "add 192.0.2.1 --remark one"),
    (0, "add 192.0.2.1 --remark two"), (0, "add 192.0.2.0-192.0.2.77"), (0, "add 2001:db8::/33"),
    (0, "-j list"), (0, "list 192.0.2.1"), (1, "list nothing"), (1, "check 192.0.2.1 192.0.2.100"),
    (0, "-j check 192.0.2.1"), (0, "-j status --check"), (0, "stats"), (0, "-j stats"),
    (0, "set ports 25,40000"), (0, "set ports 25,465,587"), (0, "set"), (0, "-j set limit none"),
    (0, "sync"), (0, "-j sync"), (0, "edit 192.0.2.1 --remark x"), (0, "-n delete 192.0.2.1"),
    (0, "delete 192.0.2.1"), (1, "delete 192.0.2.9"), (1, "delete #99"), (2, "add bogus"),
    (2, "add 192.0.2.1 192.0.2.0/24"), (2, "attach nope"), (2, "attch"), (2, "add --nope"),
    (3, "disable"), (0, "-y -j disable"), (1, "detach p9"), (0, "detach --all"), (0, "help"),
    (0, "help add"), (0, "-j help"), (0, "--version"),
]


UNDER_VALGRIND = ("attach eth0", "add 192.0.2.0-192.0.2.77", "-j list", "-j status --check", "sync",
                  "delete 192.0.2.1", "add bogus", "detach --all")


def site(where):
    """A NIC to attach to."""
    other = where.host("other")
    where.link(where.mail, "eth0", other, "p0")
    where.env["ASAN_OPTIONS"] = f"exitcode={WRONG}:detect_leaks=1"
    where.env["UBSAN_OPTIONS"] = "print_stacktrace=1"


def run_all(where, prefix, commands):
    """Runs them in order; returns what was wrong."""
    wrong = []
    for code, words in commands:
        done = lab.execute(where.mail.argv(*prefix, *words.split()), None, env=where.env)
        if done.code != code or "runtime error" in done.err or "Sanitizer" in done.err:
            wrong.append(f"expected exit {code}\n{done}")
    return wrong


@tap.test
def sanitized():
    """no command reads, overruns or leaks what it must not (ASan, UBSan, LeakSanitizer)"""
    with lab.Lab() as where:
        site(where)
        wrong = run_all(where, [SANITIZED], COMMANDS)
    assert not wrong, "\n".join(wrong)


@tap.test
def valgrind():
    """nor uses what was never set (valgrind)"""
    with lab.Lab() as where:
        site(where)
        wrong = []
        for code, words in COMMANDS:
            prefix = VALGRIND if words in UNDER_VALGRIND else []
            wrong += run_all(where, [*prefix, lab.PROGRAM], [(code, words)])
    assert not wrong, "\n".join(wrong)


@tap.test
def damaged():
    """nor with a store that is damaged or missing under a gate"""
    wrong = []
    with lab.Lab() as where:
        site(where)
        where.gate("attach", "eth0")
        where.gate("add", "192.0.2.1")
        store = where.mail.path(lab.STATE) / "smtpgate.db"
        whole = store.read_bytes()
        broken = [whole[:5000], b"text" * 3000, b""]
        broken += [whole[:at] + b"\xff" * 64 + whole[at + 64:] for at in range(0, len(whole), 4096)]
        for content in broken:
            store.write_bytes(content)
            for words in ("-j list", "status", "add 192.0.2.2", "sync", "check 192.0.2.1"):
                done = lab.execute(where.mail.argv(SANITIZED, *words.split()), None, env=where.env)
                if done.code not in (0, 1, 3, 5) or "Sanitizer" in done.err + done.out:
                    wrong.append(str(done))
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    tap.main()
