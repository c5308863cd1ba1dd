#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A selection of tests/faults, which `make check-faults` makes all of: see docs/FAULTS.md."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "faults"))
# pylint: disable=wrong-import-position
import calls
import disk
import kernel
from scene import TESTS

sys.path.insert(0, str(TESTS))
import tap


def fine(rows, least):
    """None of them shows what must not be."""
    rows = list(rows)
    assert len(rows) >= least, f"only {len(rows)} faults"
    wrong = [row for row in rows if row["wrong"] or not row.get("hit", True)]
    assert not wrong, "\n".join(map(str, wrong))


def some(name, share):
    """Faults of a command, spread over its calls."""
    command = next(c for c in calls.COMMANDS if c.name == name)
    return calls.rows(command, 0.4, share)


def named(module, *names):
    """Those faults of a list."""
    faults = getattr(module, "FAULTS", []) + (module.all_faults() if module is disk else [])
    wanted = {f.name: f for f in faults if f.name in names}
    assert len(wanted) == len(names), f"{set(names) - set(wanted)} are not there"
    return module.rows(list(wanted.values()))


@tap.test
def system_calls():
    """system calls of add and of disable fail, or the command is killed there"""
    for name in ("add", "disable"):
        fine(some(name, 0.12), 6)


@tap.test
def stores():
    """a store that is full, damaged, cut off or no file: refused, closed, healed"""
    fine(named(disk, "store replaced by a directory", "page 1 of the store: noise",
               "page 5 of the store: zeros", "store cut off after page 3",
               "hot journal, a page of it noise"), 5)


@tap.test
def behind_its_back():
    """links, maps and interfaces taken apart: told by status and doctor, mended by one command"""
    fine(named(kernel, "another program on the link", "0.0.0.0/0 put into the trie",
               "interface renamed, its name given to another"), 3)


if __name__ == "__main__":
    tap.main()
