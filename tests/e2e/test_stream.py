#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Steady streams of packets while the list is changed at random, a thousand times.

A source that is listed before and after each change loses not one packet, however it is listed: by
an entry that nobody touches, or by entries that take turns. Of a source that is not listed, not one
packet gets through, though entries come and go right beside it. A packet that is missing, or is
there, is reported with the commands that ran when it was sent.

SEED=N repeats the changes.
"""
import contextlib
import ipaddress
import os
import pathlib
import random
import select
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import frames
import tap
from lab import PROGRAM, Lab
from runner import Runner

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
CHANGES = int(os.environ.get("CHANGES", "1000"))
PORT = 587
IN_FLIGHT = 60                  # of one source; the cable's queue holds 256
PAUSE = 0.0005                  # between two rounds: a steady stream, not a flood
TARGET = {4: "192.0.2.25", 6: "2001:db8:f::25"}         # no address of the host: nothing answers
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6

KEPT = ("198.51.100.10", "2001:db8:1::a")               # by an entry that stays
TURNS = ("203.0.113.77", "2001:db8:2::77")              # by entries that take turns
NEVER = ("198.51.100.11", "203.0.113.128", "2001:db8:1::b", "2001:db8:2::80")
COVERS = {                      # each covers one of TURNS, and none of NEVER; no set stands twice
    TURNS[0]: ("203.0.113.77", "203.0.113.64/26", "203.0.113.0/25",
               "203.0.113.70-203.0.113.127", "203.0.113.1-203.0.113.77", "203.0.113.76/31"),
    TURNS[1]: ("2001:db8:2::77", "2001:db8:2::76/127", "2001:db8:2::/121",
               "2001:db8:2::70-2001:db8:2::7f", "2001:db8:2::2-2001:db8:2::7f")}
OTHERS = (                      # the very prefixes of KEPT, beside NEVER, and elsewhere
    "198.51.100.10", "198.51.100.10/32", "2001:db8:1::a/128", "2001:db8:1::a-2001:db8:1::a",
    "198.51.100.12", "198.51.100.12/30", "198.51.100.0-198.51.100.10", "198.51.100.12-198.51.100.99",
    "203.0.113.129", "203.0.113.129-203.0.113.200", "192.0.2.0/24", "10.0.0.0/8",
    "0.0.0.0-198.51.100.10", "203.0.113.129-255.255.255.255", "2001:db8:1::c", "2001:db8:1::/125",
    "2001:db8:1::c-2001:db8:1::ffff", "2001:db8:2::81", "2001:db8:3::/48",
    "2001:db8:2::81-2001:db8:2::1:0", "2000::-2001:db8:1::a")


class Stream:
    """Sends from all sources in turn, and sees what gets past the gate."""

    def __init__(self, lab):
        self.out, self.into = lab.client.packets("eth0"), lab.mail.packets("eth0")
        self.into.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.into.setblocking(False)
        self.head = lab.mail.mac("eth0") + lab.client.mac("eth0")
        self.sources = {ipaddress.ip_address(a).packed: a for a in KEPT + TURNS + NEVER}
        self.sent = {a: [] for a in self.sources.values()}      # when; the index is the number
        self.seen = {a: set() for a in self.sources.values()}

    def round(self):
        """One packet from each."""
        for packed, source in self.sources.items():
            number = len(self.sent[source])
            version = 4 if len(packed) == 4 else 6
            flags = frames.SYN if number % 8 == 0 else frames.ACK
            head = frames.tcp(source, TARGET[version], 40000, PORT, flags, number)
            packet = frames.ip4(source, TARGET[version], head) if version == 4 else \
                frames.ip6(source, TARGET[version], frames.TCP, head)
            self.sent[source].append(time.monotonic())
            self.out.send(self.head + (b"\x08\0" if version == 4 else b"\x86\xdd") + packet)

    def drain(self):
        """Takes what has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, where = self.into.recvfrom(2048)
                start = 26 if frame[12:14] == b"\x08\0" else 22
                size = 4 if start == 26 else 16
                source = self.sources.get(frame[start:start + size])
                if where[2] != 4 and source:
                    self.seen[source].add(struct.unpack_from("!I", frame, start + 2 * size + 4)[0])

    def settle(self, expected, allowed=0, patience=2.0):
        """Waits until of each expected source all but so many packets have come, or long enough."""
        end = time.monotonic() + patience
        while True:
            self.drain()
            left = end - time.monotonic()
            if left < 0 or all(len(self.sent[a]) - len(self.seen[a]) <= allowed for a in expected):
                return
            select.select([self.into], [], [], left)

    def run(self, going, expected):
        """Sends as long as going() says so."""
        while going():
            self.round()
            self.settle(expected, IN_FLIGHT)
            time.sleep(PAUSE)
        self.settle(expected)
        time.sleep(0.05)        # what is on its way from the others
        self.drain()
        _, drops = struct.unpack("II", self.into.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        assert not drops, f"the test itself lost {drops} packets"


class Changes:
    """The commands, one after the other, in a thread of their own."""

    def __init__(self, lab, rng, number):
        self.lab, self.rng, self.number = lab, rng, number
        self.run = Runner(lab, PROGRAM)
        self.covers = {source: [] for source in TURNS}
        self.said = []          # (from, to, words)
        self.can = {word for word in ("undo", "apply") if self.run("help", word).code == 0}
        self.can |= {"--for"} & set(self.run("help", "add").out.split())
        self.failed = None
        self.thread = threading.Thread(target=self.guarded)

    def guarded(self):
        """All of them; what goes wrong is told when the thread is waited for."""
        try:
            for _ in range(self.number):
                self.rng.choices((self.turn, self.swap, self.guest, self.other, self.bulk,
                                  self.ports, self.sync, self.attach),
                                 (30, 10, 10, 30, 10, 4, 3, 3))[0]()
        except Exception as error:  # pylint: disable=broad-except
            self.failed = error

    def gate(self, *args, ok=(0,), stdin=None):
        """Runs a command; some are killed first, and then run again."""
        codes = tuple(ok)
        if self.rng.random() < 0.05 and args[0] != "undo":
            self.asked(args, stdin, call=(self.rng.choice(("pwrite", "fdatasync")),
                                          self.rng.randrange(1, 120)))
            codes += (1,) if {"delete", "disable"} & set(args) else ()
        answer = self.asked(args, stdin)
        assert answer.code in codes, answer
        return answer

    def asked(self, args, stdin, **kill):
        """Runs a command and remembers when."""
        start = time.monotonic()
        answer = self.run("-y", *args, stdin=stdin, **kill)
        self.said.append((start, time.monotonic(), f"{args} <<< {stdin!r}: exit {answer.code}"))
        return answer

    def turn(self):
        """Another entry takes over: what covered the source goes when it is no more alone."""
        source = self.rng.choice(TURNS)
        there = self.covers[source]
        new = self.rng.choice([c for c in COVERS[source] if c not in there])
        if len(there) < 2 or (len(there) < 4 and self.rng.random() < 0.5):
            self.gate("add", new)
            there.append(new)
        else:
            self.gate("delete", there.pop(self.rng.randrange(len(there))))

    def swap(self):
        """One command puts other entries in the place of those that cover a source."""
        if "apply" not in self.can:
            self.turn()
            return
        source = self.rng.choice(TURNS)
        new = self.rng.sample(COVERS[source], self.rng.randrange(1, 4))
        lines = [line for line in self.asked(("export",), None).out.splitlines()
                 if "account=" in line or line.split()[0] not in self.covers[source]]
        self.gate("apply", "-", stdin="\n".join(lines + new) + "\n")
        self.covers[source] = new

    def guest(self):
        """The very same sources, for a second or so; what else covers them holds."""
        if "--for" not in self.can:
            self.turn()
            return
        one = self.rng.choice(COVERS[self.rng.choice(TURNS)] + KEPT)
        if self.rng.random() < 0.3:
            self.gate("delete", "--expired", ok=(0, 1))
        else:
            self.gate("add", one, "--account", "guest", "--for", self.rng.choice(("1s", "2s")))

    def other(self):
        """Somebody else comes or goes, in a list that no entry of TURNS is in."""
        verb = self.rng.choice(("add", "delete"))
        one = self.rng.choice(OTHERS)
        answer = self.gate("-j", verb, one, "--account", "others",
                           ok=(0, 1) if verb == "delete" else (0,))
        if answer.code == 0 and answer.json["changed"] and "undo" in self.can \
           and self.rng.random() < 0.3:
            self.gate("undo")

    def bulk(self):
        """Many at once."""
        lines = [f"{one} account=others" for one in self.rng.sample(OTHERS, 8)]
        lines += [f"10.{self.rng.randrange(256)}.{n}.0/24 account=others" for n in range(20)]
        self.gate("import", "-", stdin="\n".join(lines))
        if self.rng.random() < 0.5:
            self.gate("disable", "--account", "others")

    def ports(self):
        """Other ports; this one stays guarded."""
        self.gate("set", "ports", self.rng.choice(("25,465,587", "587", "587,2525")))

    def sync(self):
        """Nothing is to be done."""
        self.gate("sync")

    def attach(self):
        """The program is replaced."""
        self.gate("attach", "eth0")

    def during(self, moment):
        """What ran then."""
        return [words for start, end, words in self.said if start - 0.01 <= moment <= end + 0.01]


def report(stream, changes, expected):
    """Asserts that all of the expected packets came, and none of the others."""
    for source, sent in stream.sent.items():
        wrong = sorted(set(range(len(sent))) - stream.seen[source] if source in expected
                       else stream.seen[source])
        if wrong:
            raise AssertionError(
                f"SEED={SEED}: of {len(sent)} packets of {source}, {len(wrong)} "
                f"{'were lost' if source in expected else 'got through'}; the first, number "
                f"{wrong[0]}, around {changes.during(sent[wrong[0]])}")


def streams(mode, number):
    """So many changes under way."""
    print(f"# SEED={SEED} CHANGES={number}", flush=True)
    with Lab() as lab:
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        lab.gate("attach", "eth0", "--mode", mode)
        lab.gate("set", "limit", "none")
        lab.gate("add", *KEPT, "--remark", "stays")
        changes = Changes(lab, random.Random(SEED), number)
        for source in TURNS:
            changes.covers[source].append(source)
        lab.gate("add", *TURNS)
        stream, expected = Stream(lab), KEPT + TURNS
        changes.thread.start()
        stream.run(changes.thread.is_alive, expected)
        changes.thread.join()
        if changes.failed:
            raise changes.failed
        report(stream, changes, expected)
        count = sum(map(len, stream.sent.values()))
        print(f"# {count} packets, {len(changes.said)} commands", flush=True)
        assert count > 10 * number, "hardly a stream"
        lab.gate("status", "--check")
        changes.run.close()
        believable(lab, stream)


def believable(lab, stream):
    """This test would see a packet lost, and one let through."""
    def passed(source):
        before = len(stream.seen[source])
        stream.round()
        stream.settle([source], len(stream.sent[source]) - 1 - before, patience=0.2)
        return len(stream.seen[source]) > before

    assert passed(KEPT[0]) and not passed(NEVER[0])
    for account in ("others", "guest"):
        lab.gate("disable", "-y", "--account", account, ok=(0, 1))
    assert passed(KEPT[0]) and not passed(NEVER[0])
    lab.gate("delete", KEPT[0])
    assert not passed(KEPT[0]), "deleted, and still there"
    lab.gate("-y", "disable", "--all")
    assert passed(NEVER[0]) and passed(NEVER[3]), "the gate is off, and they are still dropped"


@tap.test
def native():
    """streams while the list changes a thousand times, in native mode"""
    streams("native", CHANGES)


@tap.test
def generic():
    """the same in generic mode, for a shorter time"""
    streams("generic", CHANGES // 4)


if __name__ == "__main__":
    tap.main()
