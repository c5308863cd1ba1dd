#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Changes as events in the system's log: a real journald on the lab's mail host, and syslog without.

What the fields must be is said here and in docs/LOG.md; the identifiers of the events are for good.
"""
import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import lab as labs
import tap
from healing import traced
from lab import BPFFS, BPFTOOL, PROGRAM, Lab
from steady import OFF, set_mode_word

PATIENCE = 10
JOURNALD = "/lib/systemd/systemd-journald"
IDS = {
    "list": "54d3f7fde5aa4e55a656410591279ff4",
    "mode": "0b9773d0e8b54ebeb0ccc9add367f119",
    "settings": "221d2b6f06c749518a40ad7380db7200",
    "attach": "d1446d8feecb471cbd7b7b61ffe46c9e",
    "detach": "216866ace4c243a5999065ec82aa1952",
    "attach_failed": "58a12dc800504d1398f6b9ede7e44c82",
    "heal": "91f559b2cd30406e89c62079693f1d5b",
}
SSH = {"SSH_CONNECTION": "198.51.100.9 50000 198.51.100.1 22", "SUDO_UID": "0", "SUDO_USER": "root"}


class Journal:
    """journald on the mail host, its files on a /run of its own."""

    def __init__(self, lab):
        self.mail = lab.mail
        lab.mail.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        lab.mail.run("mkdir", "-p", "/run/systemd/journal", "/run/log/journal")
        lab.mail.run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")  # it asks who sends
        self.process = lab.mail.start(JOURNALD, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
        until(lambda: lab.mail.path("/run/systemd/journal/socket").exists(), "journald")
        self.known = 0

    def events(self, count):
        """The next `count` events that smtpgate sent; no more must have come."""
        def found():
            out = self.mail.run("journalctl", "-D", "/run/log/journal", "-o", "json",
                                "SYSLOG_IDENTIFIER=smtpgate", ok=(0, 1)).out
            return [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        until(lambda: len(found()) >= self.known + count, f"{count} events")
        all_events = found()
        new = all_events[self.known:]
        assert len(new) == count, [event["MESSAGE"] for event in new]
        self.known = len(all_events)
        for event in new:
            assert event["MESSAGE_ID"] == IDS[event["SMTPGATE_EVENT"]], event
            assert event["SYSLOG_FACILITY"] == "2" and event["_TRANSPORT"] == "journal", event
        return [{k.removeprefix("SMTPGATE_"): v for k, v in event.items()
                 if k.startswith("SMTPGATE_") or k in ("MESSAGE", "PRIORITY")} for event in new]


def until(condition, what):
    """Waits until it holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"no {what} within {PATIENCE} s"
        time.sleep(0.05)


def made():
    """A lab with a network card."""
    lab = Lab()
    try:
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "p0")
    except BaseException:
        lab.__exit__()
        raise
    return lab


def is_event(event, **fields):
    """It has these fields with these values."""
    for name, value in fields.items():
        assert event.get(name) == str(value), (name, value, event)


def known_author(event, command):
    """Who it was, and from where."""
    is_event(event, USER="root", UID=0, FROM="198.51.100.9", COMMAND=command)


@tap.test
def journal():
    """the journal has each change with its fields: list, mode, settings, attach, detach, heal"""
    with made() as lab:
        log = Journal(lab)

        def gate(*args, ok=0):
            return lab.gate(*args, ok=ok, env=SSH)

        gate("attach", "eth0")
        (event,) = log.events(1)
        is_event(event, EVENT="attach", INTERFACE="eth0", XDP_MODE="native", REPLACED=0, PRIORITY=5)
        known_author(event, "attach eth0")
        gate("add", "192.0.2.1", "192.0.2.2", "--remark", "a b")
        listed, mode = log.events(2)
        is_event(listed, EVENT="list", ADDED=2, DELETED=0, EDITED=0, PRIORITY=5,
                 MESSAGE="root from 198.51.100.9: list changed: 2 added, 0 deleted, 0 edited: add"
                         " 192.0.2.1 192.0.2.2 --remark 'a b'")
        known_author(listed, "add 192.0.2.1 192.0.2.2 --remark 'a b'")
        is_event(listed, CHANGE=lab.json("history")["changes"][0]["id"])
        is_event(mode, EVENT="mode", MODE="enforce", MODE_BEFORE="off", PRIORITY=5)
        assert "MODE_UNTIL" not in mode
        # What changes nothing is no event: a repeat, -n, what is refused, what only reads.
        gate("add", "192.0.2.1")
        gate("-n", "delete", "192.0.2.1")
        gate("add", "192.0.2.300", ok=2)
        gate("delete", "192.0.2.9", ok=1)
        gate("list")
        gate("check", "192.0.2.1")
        gate("edit", "192.0.2.1", "--remark", "x")
        (event,) = log.events(1)
        is_event(event, EVENT="list", ADDED=0, DELETED=0, EDITED=1)
        gate("pause", "15m")
        (event,) = log.events(1)
        is_event(event, EVENT="mode", MODE="paused", MODE_BEFORE="enforce", MODE_THEN="enforce",
                 PRIORITY=4)
        assert event["MODE_UNTIL"] == lab.json("status")["mode_until"]
        gate("observe")
        (event,) = log.events(1)
        is_event(event, EVENT="mode", MODE="observe", MODE_BEFORE="paused", PRIORITY=4)
        gate("enforce")
        log.events(1)
        gate("set", "ports", "465,587")
        (event,) = log.events(1)
        is_event(event, EVENT="settings", PORTS="465,587", PORTS_BEFORE="25,465,587", LIMIT=10,
                 OTHERS="anywhere")
        gate("undo")
        (event,) = log.events(1)
        is_event(event, EVENT="settings", PORTS="25,465,587", PORTS_BEFORE="465,587")
        gate("set", "realm", "mail.example")
        (event,) = log.events(1)
        is_event(event, EVENT="settings", PORTS_BEFORE="25,465,587")
        # A change that was not made is none.
        traced(lab, "edit", "192.0.2.1", "--remark", "y", inject="fdatasync:error=EIO", ok=5)
        gate("attach", "eth0")
        (event,) = log.events(1)
        is_event(event, EVENT="attach", REPLACED=1)
        # Somebody took a prefix out of the kernel.
        lab.bpftool("map", "delete", "pinned", f"{BPFFS}/abi1/allow4", "key", "hex",
                    *"20 00 00 00 c0 00 02 01 00 00 00 00".split())
        gate("sync")
        (event,) = log.events(1)
        is_event(event, EVENT="heal", CORRECTED=1, PRIORITY=4)
        # Or switched it off.
        set_mode_word(lab, OFF)
        gate("sync")
        (event,) = log.events(1)
        is_event(event, EVENT="heal", CORRECTED=0, PRIORITY=4)
        gate("sync")    # which finds nothing, and is no event
        # Or cut the link.
        pin, = lab.link_pins()
        lab.mail.run(BPFTOOL, "link", "detach", "pinned", f"{BPFFS}/{pin}")
        gate("sync")
        (event,) = log.events(1)
        is_event(event, EVENT="attach", INTERFACE="eth0", REPLACED=0)
        gate("-y", "delete", "192.0.2.1", "192.0.2.2")
        listed, mode = log.events(2)
        is_event(listed, EVENT="list", ADDED=0, DELETED=2, EDITED=0)
        is_event(mode, MODE="off", MODE_BEFORE="enforce", PRIORITY=4)
        gate("detach", "eth0")
        (event,) = log.events(1)
        is_event(event, EVENT="detach", INTERFACE="eth0", PRIORITY=4)


@tap.test
def boot():
    """at boot nobody is named: what was put in force, and the card that is not there"""
    with made() as lab:
        log = Journal(lab)
        lab.gate("attach", "eth0")
        lab.gate("add", "192.0.2.1")
        log.events(3)
        lab.mail.run("sh", "-c", f"rm -r {BPFFS}")  # as a boot leaves it
        lab.mail.ip("link del eth0")
        lab.gate("sync", ok=5)
        events = {event["EVENT"]: event for event in log.events(2)}
        is_event(events["attach_failed"], INTERFACE="eth0", PRIORITY=3)
        assert "no interface eth0" in events["attach_failed"]["PROBLEM"], events
        is_event(events["heal"], CORRECTED=1)
        assert "USER" not in events["heal"] and "USER" not in events["attach_failed"]
        lab.link(lab.mail, "eth0", lab.client, "p1")
        lab.gate("sync")
        (event,) = log.events(1)
        is_event(event, EVENT="attach", INTERFACE="eth0", REPLACED=0)
        assert "USER" not in event
        # Its card goes on without the gate, and udev's call has nobody who reads what it says.
        lab.mail.ip("link del eth0")
        lab.link(lab.mail, "eth0", lab.client, "p1")
        held = ("flock", labs.STATE + "/lock", "env", *(f"{k}={v}" for k, v in lab.env.items()),
                PROGRAM, "-q", "sync", "eth0")
        lab.mail.run(*held, ok=6)
        (event,) = log.events(1)
        is_event(event, EVENT="attach_failed", INTERFACE="eth0", PRIORITY=3)
        lab.gate("sync")
        is_event(log.events(1)[0], EVENT="attach", INTERFACE="eth0")
        lab.mail.run(*held, ok=6)
        assert not log.events(0), "it has the gate"


@tap.test
def without_journal():
    """without a journal it is one line of syslog; a value cannot look like a field"""
    with made() as lab:
        (lab.mail.path(labs.MNT) / "dev").mkdir()
        lab.mail.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        lab.mail.run("mount", "-t", "tmpfs", "tmpfs", "/dev")
        lab.mail.run("mknod", "/dev/null", "c", "1", "3")
        log = lab.mail.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        log.bind(str(lab.mail.path("/dev/log")))
        log.settimeout(PATIENCE)
        full = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        lab.gate("add", "192.0.2.1", "--remark", 'x" deleted="9', env=SSH)
        listed, mode = log.recv(4096).decode(), log.recv(4096).decode()
        assert listed.startswith("<21>"), listed  # mail.notice
        assert listed.endswith(
            'smtpgate: root from 198.51.100.9: list changed: 1 added, 0 deleted, 0 edited: add'
            ' 192.0.2.1 --remark \'x" deleted="9\' [event=list'
            ' user=root uid=0 from=198.51.100.9 command="add 192.0.2.1 --remark \'x\' deleted=\'9\'"'
            ' change=1 added=1 deleted=0 edited=0]'), listed
        assert mode.endswith("mode=enforce mode_before=off]"), mode
        # One whose reader sleeps holds nobody up for long, and no lock.
        while True:
            try:
                full.sendto(b"x", socket.MSG_DONTWAIT, str(lab.mail.path("/dev/log")))
            except BlockingIOError:
                break
        lab.gate("add", "192.0.2.3")
        full.close()
        lab.mail.path("/dev/log").unlink()
        # Nobody listens at all: the change is made all the same.
        lab.gate("add", "192.0.2.2")
        assert len(lab.json("list")["entries"]) == 3


@tap.test
def links_first():
    """sync tells the log when all links are in force: one that has stopped reading delays none"""
    with made() as lab:
        lab.link(lab.mail, "eth1", lab.client, "p1")
        lab.gate("attach", "eth0", "eth1")
        lab.gate("add", "192.0.2.1")
        for pin in lab.link_pins():
            lab.mail.run(BPFTOOL, "link", "detach", "pinned", f"{BPFFS}/{pin}")
        (lab.mail.path(labs.MNT) / "dev").mkdir()
        lab.mail.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        lab.mail.run("mount", "-t", "tmpfs", "tmpfs", "/dev")
        lab.mail.run("mknod", "/dev/null", "c", "1", "3")
        log = lab.mail.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        log.bind(str(lab.mail.path("/dev/log")))
        full = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(BlockingIOError):
            while True:
                full.sendto(b"x", socket.MSG_DONTWAIT, str(lab.mail.path("/dev/log")))
        trace = lab.mail.path("/run/trace")
        lab.mail.run("strace", "-f", "-qq", "-o", "/run/trace", "-e", "trace=bpf,connect", PROGRAM,
                     "sync", env=lab.env)
        calls = trace.read_text(encoding="utf-8").splitlines()
        links = [i for i, call in enumerate(calls) if "BPF_LINK_CREATE" in call]
        told = [i for i, call in enumerate(calls) if '"/dev/log"' in call]
        assert len(links) == 2 and told and max(links) < min(told), "\n".join(calls)
        assert lab.json("status")["in_sync"]
        full.close()
        log.close()


@tap.test
def documented():
    """docs/LOG.md has every event with its identifier, and every field"""
    text = (labs.ROOT / "docs" / "LOG.md").read_text(encoding="utf-8")
    source = (labs.ROOT / "user" / "events.c").read_text(encoding="utf-8")
    for name, identifier in IDS.items():
        assert re.search(rf"`{name}`.*{identifier}", text), name
        assert identifier in source, name
    fields = set(re.findall(r'"(SMTPGATE_[A-Z_]+)"', source))
    assert len(fields) > 15
    missing = [field for field in fields if f"`{field}`" not in text]
    assert not missing, missing


if __name__ == "__main__":
    tap.main()
