#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Upgrades by dpkg: the previous release to this one and back under steady traffic, and a state of a
newer version."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import guest
import steady
import tap

LISTED, UNLISTED, OTHER = "192.0.2.10", "192.0.2.66", "2001:db8::10"
STORE = "/var/lib/smtpgate/smtpgate.db"


def make():
    """A host with the previous release, its gate and a list."""
    lab = steady.make(LISTED, UNLISTED, OTHER, attach=False)
    try:
        machine = guest.Guest(lab)
        machine.be_a_host()
        machine.install(guest.previous())
        machine("smtpgate", "attach", "eth0")
        machine("smtpgate", "add", LISTED, "--remark", "the office")
        machine("smtpgate", "add", "2001:db8::/48")
        machine("smtpgate", "add", "198.51.100.7", "--for", "2d")
    except BaseException:
        lab.__exit__()
        raise
    return lab, machine


def counted(machine):
    """What the program counted; held against what was sent."""
    return {(r["reason"], r["verdict"]): r["packets"]
            for r in guest_json(machine, "stats")["reasons"]}


def guest_json(machine, *args):
    """The object of smtpgate -j."""
    return machine("smtpgate", "-j", *args).json


def links(machine):
    """The pinned links and their numbers."""
    pins = sorted(p.name for p in machine.path("/sys/fs/bpf/smtpgate").iterdir()
                  if p.name.startswith("link_"))
    found = {}
    for name in pins:
        shown = machine.lab.bpftool("link", "show", "pinned",
                                    f"{guest.TREE}/sys/fs/bpf/smtpgate/{name}", ok=(0, 255))
        found[name] = shown["id"]
    return found


def program(machine):
    """The number of the program on eth0."""
    return machine.lab.bpftool("net", "show", "dev", "eth0")[0]["xdp"][0]["id"]


def check(stream):
    """Not one wrong verdict."""
    stream.always(LISTED)
    stream.always(OTHER)
    stream.never(UNLISTED)


@tap.test
def upgrade_under_traffic():
    """0.1.0 -> this: no wrong verdict, the link the same, the program new, list and counters kept"""
    lab, machine = make()
    with lab:
        link, old = links(machine), program(machine)
        listed = machine("smtpgate", "export").out
        with steady.Steady(lab, LISTED, UNLISTED, OTHER) as stream:
            stream.go_on(30)
            before = counted(machine)
            said = machine.install(guest.package())
            assert "goes on with the program of before" not in said.err, said
            after = counted(machine)
            stream.go_on(30)
            check(stream)
        assert before[("unlisted", "drop")] > 20
        assert all(after.get(key, 0) >= value for key, value in before.items()), (before, after)
        end = counted(machine)
        sent = {s: len(stream.of(s)) for s in (LISTED, UNLISTED, OTHER)}
        assert end[("unlisted", "drop")] == sent[UNLISTED], (end, sent)
        assert end[("listed", "pass")] == sent[LISTED] + sent[OTHER], (end, sent)
        assert links(machine) == link and program(machine) != old
        assert machine("smtpgate", "--version").out.split()[1] == guest.version()
        assert machine("smtpgate", "export").out == listed
        machine("smtpgate", "status", "--check")


@tap.test
def downgrade_under_traffic():
    """this -> 0.1.0, as documented: dpkg -i, then sync; no wrong verdict, list and counters kept"""
    lab, machine = make()
    with lab:
        machine.install(guest.package())
        machine("smtpgate", "add", "203.0.113.5", "--remark", "by the newer one")
        link, listed = links(machine), machine("smtpgate", "export").out
        with steady.Steady(lab, LISTED, UNLISTED, OTHER) as stream:
            stream.go_on(30)
            before = counted(machine)
            machine.install(guest.previous())
            assert machine("smtpgate", "--version").out.split()[1] == "0.1.0"
            machine("smtpgate", "sync")
            stream.go_on(30)
            check(stream)
        assert all(counted(machine).get(k, 0) >= v for k, v in before.items())
        assert links(machine) == link
        assert machine("smtpgate", "export").out == listed
        machine("smtpgate", "status", "--check")


@tap.test
def newer_state():
    """a state of a newer version: each command refuses it and says why, the gate stays as it is"""
    lab, machine = make()
    with lab:
        machine.install(guest.package())
        data = bytearray(machine.path(STORE).read_bytes())
        number = int.from_bytes(data[60:64], "big")     # the header's user version
        assert 0 < number < 1000, number
        data[60:64] = (number + 1).to_bytes(4, "big")
        machine.path(STORE).write_bytes(data)
        link, now = links(machine), program(machine)
        machine.path("/tmp/list").write_text(LISTED + "\n", "utf-8")
        with steady.Steady(lab, LISTED, UNLISTED, OTHER) as stream:
            for line in ("sync", "sync eth0", "sync --boot", "add 203.0.113.1", f"delete {LISTED}",
                         "list", "status", f"check {LISTED}", "export", "-y import /tmp/list",
                         "-y apply /tmp/list", "attach eth0", "observe", "pause 5m", "enforce",
                         "disable", "set ports 25", "undo", "history", "diff /tmp/list",
                         "edit 198.51.100.7 --for 1h", "-y sync", "-y detach --all"):
                said = machine("smtpgate", *line.split(), ok=5)
                assert "was written by a newer smtpgate" in said.err, said
                assert "install the newer smtpgate again" in said.err, said
            said = machine.dpkg("-i", "/tmp/" + guest.package().name)
            assert "goes on with the program of before" in said.err, said
            stream.go_on(30)
            check(stream)
        assert machine.path(STORE).read_bytes() == data
        assert (links(machine), program(machine)) == (link, now)


if __name__ == "__main__":
    guest.package()             # once, before any host is there
    tap.main()
