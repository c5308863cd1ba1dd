#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The table of unlisted sources, as the program fills it: who is written down, with what, and that
written down and untracked together are every packet that counted.

How the limits behave in time is tests/unit/test_sources.c, where the clock is the test's.
SMTPGATE_TRANSCRIPT=PREFIX records in PREFIX.frags and PREFIX.linear what does not depend on time,
to be replayed on another kernel.
"""
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/bpf")]
import packets as p  # noqa: E402 pylint: disable=wrong-import-position
from tap import main, test  # noqa: E402 pylint: disable=wrong-import-position

MODES = {"drop": 0, "pass": 1, "would_drop": 2}
PAUSED = 3
LISTED4, UNLISTED4 = "198.51.100.10", "203.0.113.7"
LISTED6, UNLISTED6 = "2001:db8:a::10", "2001:db8:b::7"
SOURCE4_AT = 26                 # in an Ethernet frame
ROWS = 65536
FREE, RETURN_STEP, STAY, PER_SECOND = 16384, 256, 60, 1e9 / (1 << 22)


class Gate:
    """A running progrun, enforcing on 25 and 587."""

    def __init__(self, frags):
        program = os.environ.get("SMTPGATE_PROGRUN", str(ROOT / "build/progrun"))
        record = os.environ.get("SMTPGATE_TRANSCRIPT")
        self.frags, self.record = frags, None
        if record:
            self.record = open(  # pylint: disable=consider-using-with
                record + (".frags" if frags else ".linear"), "w", encoding="ascii", buffering=1)
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [program] + ["frags"] * frags, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1)

    def ask(self, line, record=True):
        """One command, one answer. record: both are the same whenever it is asked."""
        self.process.stdin.write(line + "\n")
        answer = self.process.stdout.readline().rstrip("\n")
        assert answer and not answer.startswith("error"), f"{line[:80]}: {answer}"
        if self.record and record:
            self.record.write(f"> {line}\n< {answer}\n")
        return answer

    def run(self, frame):
        """"PASS" or "DROP"."""
        return self.ask("run " + frame.hex()).split()[0]

    def reset(self):
        """One address of each family listed, nobody written down."""
        for line in ("mode 0", "abi 1", "port 25 0", "port 587 2", "clear",
                     f"allow {LISTED4}/32", f"allow {LISTED6}/128", "forget"):
            self.ask(line)

    def mode(self, verdict):
        """The mode in which an unlisted source's packets get this verdict."""
        self.ask(f"mode {MODES[verdict]}")

    def source(self, address, port=25):
        """What is written down of it: (packets, attempts, verdict), or None."""
        answer = self.ask(f"source {address} {port}", record=False)
        found = re.match(r"packets=(\d+) attempts=(\d+) verdict=(\w+) ", answer)
        if self.record:         # for the replay, without the times
            self.record.write(f"> source {address} {port}\n< "
                              + re.sub(r"(first|last)=\d+", r"\1=some", answer) + "\n")
        return (int(found[1]), int(found[2]), found[3]) if found else None

    def has(self, address, port=25):
        """Is it written down?"""
        return self.ask(f"source {address} {port}", record=False) != "none"

    def times(self, address, port=25):
        """First and last seen."""
        answer = self.ask(f"source {address} {port}", record=False)
        return tuple(int(n) for n in re.search(r"first=(\d+) last=(\d+)", answer).groups())

    def table(self, record=False):
        """(rows, packets in them)."""
        return tuple(map(int, re.findall(r"\d+", self.ask("sources", record=record))))

    def untracked(self, record=False):
        """Packets by verdict."""
        return {k: int(v) for k, v in
                (w.split("=") for w in self.ask("untracked", record=record).split())}

    def flood(self, number, frame, length=4):
        """Forged sources."""
        self.ask(f"flood {number} {SOURCE4_AT} {length} {frame.hex()}", record=False)


GATES = []


def setup():
    """Before each test."""
    if not GATES:
        GATES.extend([Gate(False), Gate(True)])
    for gate in GATES:
        gate.reset()


def smtp4(src=UNLISTED4, port=25, flags=p.SYN, **fields):
    """A segment to a guarded port."""
    return p.frame4(src, p.tcp(port, flags=flags), **fields)


def smtp6(src=UNLISTED6, headers=(), port=25, flags=p.SYN, **fields):
    """The same over IPv6."""
    return p.frame6(src, list(headers), p.tcp(port, flags=flags), **fields)


@test
def every_mode():
    """an unlisted source is written down in every mode, with the verdict of its last packet"""
    for gate in GATES:
        number = 0
        for verdict in ("drop", "would_drop", "pass", "drop"):
            gate.mode(verdict)
            for frame in (smtp4(), smtp6()):
                assert gate.run(frame) == ("DROP" if verdict == "drop" else "PASS")
            number += 1
            for address in (UNLISTED4, UNLISTED6):
                assert gate.source(address) == (number, number, verdict), address
        gate.ask(f"mode {PAUSED}")
        gate.run(smtp4())
        assert gate.source(UNLISTED4) == (number + 1, number + 1, "pass")
        assert gate.table(record=True) == (2, 2 * number + 1)
        assert gate.untracked(record=True) == {"drop": 0, "would_drop": 0, "pass": 0}


@test
def attempts():
    """a connection attempt is a SYN without ACK"""
    for gate in GATES:
        for number, flags in enumerate((p.ACK, p.SYN | p.ACK, p.RST, 0, p.FIN | p.ACK), 1):
            gate.run(smtp4(flags=flags))
            assert gate.source(UNLISTED4) == (number, 0, "drop")
        for number, flags in enumerate((p.SYN, p.SYN | p.PSH, 0xC2), 1):
            gate.run(smtp4(flags=flags))
            assert gate.source(UNLISTED4) == (5 + number, number, "drop")
        gate.run(smtp6(flags=p.ACK))
        gate.run(smtp6())
        assert gate.source(UNLISTED6) == (2, 1, "drop")


@test
def times():
    """first seen stays, last seen grows"""
    for gate in GATES:
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        gate.run(smtp4())
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        first, last = gate.times(UNLISTED4)
        # To a jiffy, of which the longest are 10 ms.
        assert first == last and before - 10_000_000 <= first <= after, (before, first, after)
        for _ in range(200):
            gate.ask("run " + smtp4().hex(), record=False)
            if gate.times(UNLISTED4)[1] > last:
                break
            time.sleep(0.001)
        assert gate.times(UNLISTED4)[0] == first and gate.times(UNLISTED4)[1] > last


@test
def not_written_down():
    """listed sources, other ports, other protocols, later fragments: never"""
    for gate in GATES:
        for verdict in MODES:
            gate.mode(verdict)
            for frame in (smtp4(LISTED4), smtp6(LISTED6), smtp6(LISTED6, [p.dstopts()]),
                          smtp4(LISTED4, ihl=4), smtp4(port=22), smtp6(port=26), smtp4(frag=7),
                          p.frame4(UNLISTED4, p.udp(25), proto=p.UDP), p.eth(p.ARP, bytes(28)),
                          smtp6(headers=[p.fragment(offset=1)]), p.eth(p.VLAN, b"\0")):
                gate.run(frame)
        assert gate.table(record=True) == (0, 0)
        assert not any(gate.untracked(record=True).values())


@test
def unclear():
    """what cannot be classified is written down without a port, if its source can be read"""
    for gate in GATES:
        for number, frame in enumerate((
                smtp4(ihl=4), p.frame4(UNLISTED4, p.tcp(25)[:3]),
                p.frame4(UNLISTED4, p.tcp(25)[:3], frag=p.MF)), 1):
            assert gate.run(frame) == "DROP"
            assert gate.source(UNLISTED4, 0) == (number, 0, "drop")
        for number, frame in enumerate((
                smtp6(headers=[p.dstopts()] * 17), smtp6(headers=[p.dstopts(16)], cut=9),
                smtp6(headers=[p.fragment(more=True)], cut=8), smtp6(cut=2)), 1):
            assert gate.run(frame) == "DROP"
            assert gate.source(UNLISTED6, 0) == (number, 0, "drop")
        assert gate.table(record=True) == (2, 7)


@test
def no_source():
    """what has no source to believe in is neither written down nor untracked"""
    for gate in GATES:
        for frame in (smtp4(tags=[(p.VLAN, 0)] * 9), smtp4(version=5), smtp4()[:30],
                      smtp6(version=4), smtp6()[:50]):
            assert gate.run(frame) == "DROP"
        assert gate.table(record=True) == (0, 0)
        assert not any(gate.untracked(record=True).values())


@test
def addresses_and_ports():
    """rows are by address, family and port, whatever lies around the addresses"""
    for gate in GATES:
        gate.ask("port 0 3")
        gate.ask("port 65535 4")
        addresses = ["0.0.0.0", "0.0.0.1", "255.255.255.255", "203.0.113.7", "203.0.113.8", "::",
                     "::1", "cb00:7107::", "::203.0.113.7", "::ffff:203.0.113.7",
                     "2001:db8::", "2001:db8::1:0:0:0", "2001:db8:0:1::",
                     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        for number, port in enumerate((25, 587, 65535), 1):
            for address in addresses:
                make = smtp6 if ":" in address else smtp4
                for _ in range(number):
                    gate.run(make(address, port=port))
        for number, port in enumerate((25, 587, 65535), 1):
            for address in addresses:
                assert gate.source(address, port) == (number, number, "drop"), (address, port)
        gate.run(smtp4(port=0))
        assert gate.source(UNLISTED4, 0) == (1, 1, "drop")
        assert gate.table(record=True) == (3 * len(addresses) + 1, 6 * len(addresses) + 1)
        for port in ("0", "65535"):
            gate.ask(f"port {port} off")


@test
def behind_tags_and_headers():
    """the source is the one that the list is asked for: behind tags and extension headers"""
    for gate in GATES:
        gate.run(smtp4(tags=[(p.VLAN, 0), (p.QINQ, 5)], options=b"\1" * 40))
        gate.run(smtp6(headers=[p.hopopts(), p.dstopts(), p.fragment()], tags=[(p.VLAN, 7)]))
        assert gate.source(UNLISTED4) == (1, 1, "drop")
        assert gate.source(UNLISTED6) == (1, 1, "drop")


@test
def settings_lost():
    """without settings too"""
    for gate in GATES:
        gate.ask("abi 0")
        assert gate.run(smtp4(port=465)) == "DROP"
        assert gate.source(UNLISTED4, 465) == (1, 1, "drop")


@test
def ended():
    """a source whose entry has ended is unlisted, and written down"""
    for gate in GATES:
        gate.ask(f"allow {UNLISTED4}/32 -1000")
        assert gate.run(smtp4()) == "DROP"
        assert gate.source(UNLISTED4) == (1, 1, "drop")


def in_flood(gate, number, ordinary, rounds):
    """A flood with ordinary senders in between; returns how long it took."""
    start = time.monotonic()
    for _ in range(rounds):
        gate.flood(number // rounds, smtp4("0.0.0.0"))
        for address in ordinary:
            gate.ask("run " + smtp4(address).hex(), record=False)
    return time.monotonic() - start


@test
def flood():
    """a million forged sources: who was there before stays; nothing is lost from the count"""
    ordinary = [f"198.18.0.{i}" for i in range(100)]
    for gate in GATES[1:]:
        for address in ordinary:
            gate.ask("run " + smtp4(address).hex(), record=False)
        assert gate.table() == (len(ordinary), len(ordinary))
        seconds = in_flood(gate, 1_000_000, ordinary, 40)
        rows, packets = gate.table()
        untracked = gate.untracked()
        assert packets + untracked["drop"] == 1_000_000 + 41 * len(ordinary), (packets, untracked)
        assert untracked["pass"] == untracked["would_drop"] == 0
        bound = len(ordinary) + FREE + RETURN_STEP * (STAY + 1) + PER_SECOND * (seconds + 1)
        assert FREE <= rows <= bound < ROWS, (rows, bound)
        for address in ordinary:
            assert gate.has(address), address


@test
def flood_verdicts():
    """untracked packets are counted by their verdict"""
    for gate in GATES:
        total = {}
        for verdict in MODES:
            gate.mode(verdict)
            before = gate.table()[1]
            gate.flood(60_000, smtp4("0.0.0.0"))
            total[verdict] = 60_000 - (gate.table()[1] - before)
        assert gate.untracked() == total and total["would_drop"] > 0, total


@test
def flood6():
    """IPv6 sources in a flood: the same"""
    for gate in GATES:
        gate.ask("run " + smtp6().hex(), record=False)
        gate.ask(f"flood 200000 22 16 {smtp6('::').hex()}", record=False)
        gate.ask("run " + smtp6().hex(), record=False)
        rows, packets = gate.table()
        assert packets + gate.untracked()["drop"] == 200_002
        assert rows >= FREE and gate.has(UNLISTED6)


@test
def full():
    """a full table takes newcomers, and forgets those who were there by hand only"""
    for gate in GATES:
        gate.ask(f"fill {ROWS + 5000}", record=False)
        before = gate.table()[0]
        assert before > ROWS * 0.98
        for i in range(200):
            gate.ask("run " + smtp4(f"198.18.1.{i}").hex(), record=False)
        found = sum(gate.has(f"198.18.1.{i}") for i in range(200))
        assert found == 200 and gate.table()[0] <= ROWS, found


main(setup)
