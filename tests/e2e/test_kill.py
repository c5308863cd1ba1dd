#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Commands killed (SIGKILL) at their system calls, between store and kernel.

After every kill: nobody gets in who was never listed, `status --check` tells the truth, and one
`sync` makes the kernel equal to the store.

LONG=1 kills every command at every system call instead of at the telling ones (takes long: give
tests/run a TEST_TIMEOUT).
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import tap
from healing import (LISTED, MAPS, NEW, RANGE, SEGMENT6, calls, closed, equal, in_step, make,
                     moments, traced, unlisted_gets_in)
from lab import BPFFS


def killed(args, undo, attached=True, list_it=True, may_open=None, watch=587):
    """Kills a command at many points; each time looks, heals, looks again, and starts over.

    `undo`: the commands (or functions) that bring back the state before. `may_open(lab)`: says
    whether the gate may be open for everyone after this command was killed (by what is stored)."""
    def start_over():
        for command in undo:
            if callable(command):
                command(lab)
            else:
                lab.gate(*command, ok=(0, 1))

    with make(attach=attached, list_it=list_it) as lab:
        for _ in range(2):      # the first time makes what all later ones find
            found = calls(lab, *args)
            start_over()
        kills = 0
        points = moments(found)
        for name, number, text in points:
            done = traced(lab, *args, inject=f"{name}:signal=KILL:when={number}", ok=(0, -9))
            kills += done.code == -9
            try:
                after_kill(lab, may_open, watch, attached)
                assert lab.json("status")["interfaces"] or "tach" in args[0], "not attached"
            except Exception as error:
                raise AssertionError(f"{args} killed at {name} number {number} ({text[:100]}):"
                                     f" {error}") from error
            start_over()
        assert kills * 4 >= len(points) * 3, f"only {kills} kills at {len(points)} points"


def after_kill(lab, may_open, watch, attached):
    """What has to hold right after a kill, and after sync."""
    status = lab.json("status")
    good = lab.gate("status", "--check", ok=(0, 1)).code == 0
    whole = all(lab.mail.path(f"{MAPS}/{name}").exists() for name in ("allow4", "allow6"))
    same = whole and lab.kernel_prefixes() == lab.stored_prefixes()
    nowhere = not lab.link_pins() and not status["interfaces"]     # nor is it meant to be
    assert same or nowhere or not status["in_sync"], "status says in sync, and it is not"
    assert same or not good, "status --check says all is well, and it is not"
    if attached and unlisted_gets_in(lab, watch):
        assert may_open and may_open(lab), "an unlisted source gets in"
    lab.gate("sync")
    if attached or lab.mail.path(MAPS).exists():
        equal(lab)
    status = lab.json("status")
    if status["interfaces"]:
        assert status["in_sync"], "not in sync after sync"
        lab.gate("status", "--check")
        assert unlisted_gets_in(lab, watch) == (status["mode"] == "off"
                                                or watch not in status["ports"])


@tap.test
def kill_add():
    """add killed anywhere"""
    killed(("add", NEW), [("delete", NEW)])


@tap.test
def kill_add_range():
    """add of a range of many prefixes killed anywhere"""
    killed(("add", "203.0.113.1-203.0.113.254"), [("delete", "203.0.113.1-203.0.113.254")])


@tap.test
def kill_delete():
    """delete killed anywhere"""
    killed(("delete", RANGE), [("add", RANGE)])


@tap.test
def kill_disable():
    """disable killed anywhere: open only if the list is empty by then"""
    killed(("disable", "-y"), [("add", LISTED), ("add", RANGE), ("add", SEGMENT6)],
           may_open=lambda lab: not lab.json("list")["entries"])


@tap.test
def kill_first_add():
    """the first add killed anywhere: closed once it is stored and synced"""
    killed(("add", NEW), [("disable", "-y")], list_it=False, may_open=lambda lab: True)


@tap.test
def kill_attach():
    """attach killed anywhere"""
    killed(("attach", "eth0"), [("detach", "--all")], attached=False)


@tap.test
def kill_first_attach():
    """attach killed anywhere while nothing is pinned yet"""
    killed(("attach", "eth0"),
           [("detach", "--all"), lambda lab: lab.mail.run("rm", "-rf", BPFFS)], attached=False)


@tap.test
def kill_reattach():
    """a second attach killed anywhere: closed all along"""
    killed(("attach", "eth0"), [])


@tap.test
def kill_detach():
    """detach killed anywhere: open only if the link is gone"""
    killed(("detach", "eth0"), [("attach", "eth0")], may_open=lambda lab: not lab.link_pins())


@tap.test
def kill_set_ports():
    """set ports killed anywhere"""
    killed(("set", "ports", "465,587"), [("set", "ports", "25,465,587")])


@tap.test
def interrupted():
    """^C, a closed terminal, a SIGTERM: the list is the one before or the one after, and in force"""
    with make() as lab:
        for args, undo in ((("delete", RANGE), ("add", RANGE)), (("add", NEW), ("delete", NEW)),
                           (("disable", "-y"), ("undo",))):
            found = calls(lab, *args)
            after = lab.stored_prefixes()
            lab.gate(*undo)
            before = lab.stored_prefixes()
            ends = set()
            for i, (name, number, text) in enumerate(moments(found)):
                signal, code = (("INT", -2), ("HUP", -1), ("TERM", -15))[i % 3]
                done = traced(lab, *args, inject=f"{name}:signal={signal}:when={number}",
                              ok=(0, code))
                where = f"{args} interrupted at {name} number {number} ({text[:100]})"
                assert lab.kernel_prefixes() == lab.stored_prefixes(), f"{where}: out of step"
                assert lab.json("status")["in_sync"], f"{where}: not in sync"
                assert lab.stored_prefixes() == before or lab.stored_prefixes() == after, where
                assert done.code or lab.stored_prefixes() == after, f"{where}: 0, and not done"
                ends.add(done.code == 0)
                if lab.stored_prefixes() != before:
                    lab.gate(*undo)
            assert True in ends, f"{args}: ended by every signal"
        in_step(lab)
        closed(lab)


@tap.test
def kill_sync():
    """sync killed anywhere, then sync"""
    with make() as lab:
        def break_it():
            lab.mail.run("rm", MAPS + "/allow4", MAPS + "/config")
        break_it()
        found = calls(lab, "sync")
        in_step(lab)
        for name, number, text in moments(found):
            break_it()
            traced(lab, "sync", inject=f"{name}:signal=KILL:when={number}", ok=(0, -9))
            try:
                after_kill(lab, None, 587, True)
            except Exception as error:
                raise AssertionError(f"killed at {name} number {number} ({text[:100]}):"
                                     f" {error}") from error
        in_step(lab)
        closed(lab)


if __name__ == "__main__":
    tap.main()
