#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The program is replaced and the list changed, again and again, under a flood at full speed.

The flood comes from a million unlisted sources, close to listed ones, as frames that the kernel makes
(tests/bench/flood.c). What stands behind the gate sees none of them. On another interface a listed
source, whose entry nobody touches, loses not one attempt, and an unlisted one gets none through. What
the gate counted is what the device took in, over all the replacements.

FLOOD_CHANGES=N so many changes of the list, and a tenth of it replacements. SEED=N repeats them.
"""
import os
import pathlib
import random
import socket
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import steady
import tap
from lab import ROOT, execute, until

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
CHANGES = int(os.environ.get("FLOOD_CHANGES", "40"))
TOOL = str(ROOT / "build" / "bench_flood")
PREFIXES = 1000
LISTED, UNLISTED = "10.99.0.1", "10.99.0.2"     # no source of the flood is in 10/8
LISTED6, UNLISTED6 = "fd00:99::1", "fd00:99::2"


class Flood:
    """Frames at full speed into eth1, and a socket behind the gate that must stay empty."""

    def __init__(self, lab, family):
        self.lab, self.stopping, self.sent = lab, threading.Event(), 0
        source = lab.host("flooder")
        source.sysctl("ipv6/conf/all/disable_ipv6", 1)
        source.sysctl("ipv6/conf/default/disable_ipv6", 1)
        lab.link(source, "eth0", lab.mail, "eth1")
        self.behind = lab.mail.packets("eth1")
        self.mac = ":".join(f"{byte:02x}" for byte in lab.mail.mac("eth1"))
        with source.inside():
            self.device = socket.if_nametoindex("eth0")
        self.process = source.start(TOOL, "send", family, str(PREFIXES), self.mac, "-1",
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ok\n"
        assert self.tell("sources close") == ["ok"]
        self.thread = threading.Thread(target=self.go)

    def tell(self, command):
        """What the sender answers."""
        print(command, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().split()

    def go(self):
        """Until it is stopped."""
        while not self.stopping.is_set():
            self.sent += int(self.tell(f"run {self.device} 200")[0])

    def __enter__(self):
        self.thread.start()
        until(lambda: self.sent)
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)

    def taken(self):
        """Frames that the device took in."""
        return int(self.lab.mail.path("/sys/class/net/eth1/statistics/rx_packets").read_text("ascii"))

    def got_through(self):
        """Flooded frames behind the gate."""
        found = []
        self.behind.setblocking(False)
        while True:
            try:
                frame, where = self.behind.recvfrom(2048)
            except BlockingIOError:
                return found
            if where[2] != socket.PACKET_OUTGOING and frame[6:12] == b"\x02" + bytes(5):
                found.append(frame.hex())


def change(lab, dice, there):
    """One command that changes the list, nowhere near the flood's sources or the steady ones."""
    if there and dice.random() < 0.4:
        lab.gate("-q", "-y", "delete", there.pop(dice.randrange(len(there))))
        return
    if dice.random() < 0.2:
        low = dice.randrange(1 << 14) << 2
        one = f"10.100.{low >> 8}.{low & 255}-10.101.0.{dice.randrange(1, 255)}"
    elif dice.random() < 0.5:
        one = f"10.{dice.randrange(100, 256)}.{dice.randrange(256)}.{dice.randrange(256)}"
    else:
        one = f"fd00:{dice.randrange(256, 65536):x}:{dice.randrange(65536):x}::/48"
    if one not in there:
        lab.gate("-q", "-y", "add", one)
        there.append(one)


def dropped(lab):
    """What the gate counted on eth1."""
    (row,) = [i for i in lab.json("stats")["interfaces"] if i["name"] == "eth1"]
    return sum(r["packets"] for r in row["reasons"])


def upgrade(family):
    """All of it, with the flood in one family."""
    dice, there = random.Random(SEED), []
    sources = (LISTED, UNLISTED, LISTED6, UNLISTED6)
    with steady.make(*sources, attach=False) as lab:
        flood = Flood(lab, family)
        lab.gate("-q", "set", "limit", "none")
        lab.gate("-q", "attach", "eth0", "eth1", "--mode", "native")
        # The list is empty yet, and nothing dropped: the socket does see what gets through.
        flood.tell(f"count {flood.device} 20")
        seen = []
        until(lambda: seen.extend(flood.got_through()) or len(seen) == 20)
        entries = execute([TOOL, "list", family, str(PREFIXES)]).out
        lab.gate("-q", "-y", "import", "-", stdin=entries)
        lab.gate("-q", "-y", "add", LISTED, LISTED6)
        counted, taken = dropped(lab), flood.taken()
        with steady.Steady(lab, *sources) as stream, flood:
            for number in range(CHANGES):
                change(lab, dice, there)
                if number % 10 == 0:
                    lab.gate("-q", "attach", "eth0", "eth1")
        for source in (LISTED, LISTED6):
            stream.always(source)
        for source in (UNLISTED, UNLISTED6):
            stream.never(source)
        through = flood.got_through()
        assert not through, f"{len(through)} of {flood.sent} got through, the first: {through[0]}"
        taken = flood.taken() - taken
        assert taken > 50000, f"{taken} of {flood.sent} frames are no flood"
        assert dropped(lab) - counted == taken, (dropped(lab) - counted, taken)
        print(f"# {taken} frames, {CHANGES} changes, {CHANGES // 10} replacements, SEED={SEED}")


@tap.test
def ip4():
    """replacements and changes under a flood: not one wrong verdict (IPv4)"""
    upgrade("4")


@tap.test
def ip6():
    """replacements and changes under a flood: not one wrong verdict (IPv6)"""
    upgrade("6")


if __name__ == "__main__":
    tap.main()
