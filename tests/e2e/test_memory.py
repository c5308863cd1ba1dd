#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every command under valgrind, on a real kernel: no invalid access, no leak, also on errors.

The unit tests run under ASan and UBSan; what talks to SQLite, libbpf and the kernel runs here."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import lab
import tap

WRONG = 99
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


@tap.test
def every_command():
    """no command reads or leaks what it must not"""
    wrong = []
    with lab.Lab() as where:
        other = where.host("other")
        where.link(where.mail, "eth0", other, "p0")
        for code, words in COMMANDS:
            done = lab.execute(where.mail.argv(*VALGRIND, lab.PROGRAM, *words.split()), None,
                               env=where.env)
            if done.code != code:
                wrong.append(f"expected exit {code}\n{done}")
    assert not wrong, "\n".join(wrong)


@tap.test
def damaged():
    """nor with a store that is damaged or missing under a gate"""
    wrong = []
    with lab.Lab() as where:
        other = where.host("other")
        where.link(where.mail, "eth0", other, "p0")
        where.gate("attach", "eth0")
        where.gate("add", "192.0.2.1")
        store = where.mail.path(lab.STATE) / "smtpgate.db"
        whole = store.read_bytes()
        for broken in (whole[:5000], b"text" * 3000, whole[:4096] + bytes(len(whole) - 4096), b""):
            store.write_bytes(broken)
            for words in ("list", "-j list", "status", "add 192.0.2.2", "sync", "check 192.0.2.1"):
                done = lab.execute(where.mail.argv(*VALGRIND, lab.PROGRAM, *words.split()), None,
                                   env=where.env)
                if done.code == WRONG:
                    wrong.append(str(done))
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    tap.main()
