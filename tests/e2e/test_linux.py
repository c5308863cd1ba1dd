#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Linux itself as the judge: what opens a connection without the gate must not open one with it.

Two hosts that differ in the gate alone are sent the same crafted frames. A host whose kernel sees
a SYN for a listening port answers it, with a SYN cookie for each, so nothing is remembered and no
answer is missed. From an unlisted source, nothing may ever be answered by the host with the gate,
however its frames are cut, chained, tagged or mutated; from a listed one, all that the other host
answers, except behind more tags than a parser walks.

CASES=N of them (1500); SEED=N repeats a run.
"""
import collections
import contextlib
import ipaddress
import os
import pathlib
import random
import select
import socket
import struct
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name)
                for name in (".", "bpf", "e2e")]
# pylint: disable=wrong-import-position
import tap
from crafted import Case, Crafter, with_sum, head_sum
from frames import ACK, SYN, TCP
from generator import HOST4, HOST6, MACS, Generator
from lab import GUARDED, Lab

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
CASES = int(os.environ.get("CASES", "1500"))
SO_RCVBUFFORCE, SOL_PACKET, PACKET_IGNORE_OUTGOING, PACKET_STATISTICS = 33, 263, 23, 6
MTU = 9000

LISTED4, LISTED6 = "198.51.100.10", "2001:db8:a::10"
MARKER = "198.51.100.99"        # listed; its SYN after each case says that all has been seen
UNLISTED4 = ("198.51.100.11", "203.0.113.7", "1.1.1.1", "192.0.2.200", "100.64.0.1")
UNLISTED6 = ("2001:db8:a::11", "2001:db8:b::7", "fe80::7", "2002:c633:640a::1", "fd00::1")


def raw(*addresses):
    """In network order."""
    return [ipaddress.ip_address(a).packed for a in addresses]


LISTED = set(raw(LISTED4, LISTED6))
PERMISSIVE = {                  # takes all that a Linux host may be told to take
    "ipv4/tcp_syncookies": 2, "ipv4/tcp_fastopen": 3, "ipv4/ipfrag_time": 10,
    "ipv6/ip6frag_time": 10, "ipv4/ipfrag_high_thresh": 1 << 26,
    "ipv6/ip6frag_high_thresh": 1 << 26, "ipv4/tcp_ecn": 1, "ipv6/max_dst_opts_number": 2147483647,
    "ipv6/max_hbh_opts_number": 2147483647, "ipv4/icmp_ratelimit": 0}
PERMISSIVE.update({f"ipv{v}/conf/{where}/{name}": value for where in ("all", "eth0")
                   for v, name, value in (
                       (4, "rp_filter", 0), (4, "accept_local", 1), (4, "accept_source_route", 1),
                       (4, "route_localnet", 1), (6, "accept_source_route", 1),
                       (6, "seg6_enabled", 1), (6, "rpl_seg_enabled", 1),
                       (6, "accept_untracked_na", 0))})


class Target:
    """A host that listens, seen from the far end of its cable."""

    def __init__(self, host, client, cable):
        self.host = host
        Lab.link(host, "eth0", client, cable, MTU)
        # Without ARP: it can answer any address at once.
        host.ip("link set eth0 arp off", f"link set eth0 address {MACS[:6].hex(':')}",
                f"addr add {ipaddress.ip_address(HOST4)}/32 dev eth0",
                f"addr add {ipaddress.ip_address(HOST6)}/128 dev eth0 nodad",
                "route add default dev eth0", "route add ::/0 dev eth0")
        for name, value in PERMISSIVE.items():
            with_sysctl(host, name, value)
        self.listeners = host.listen(*GUARDED)
        self.sock = client.packets(cable)
        self.sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.sock.setblocking(False)
        self.marks = self.answered = 0
        self.before = self.cookies()

    def send(self, frames):
        """The frames, and a mark behind them."""
        for frame in frames:
            self.sock.send(frame)
        self.marks += 1
        self.sock.send(marker(self.marks))

    def answers(self):
        """To which sources the host answered what was sent, up to the mark."""
        found, end = [], time.monotonic() + 20
        while True:
            try:
                frame = self.sock.recv(2048)
            except BlockingIOError:
                left = end - time.monotonic()
                assert left > 0, "the mark is not answered: is the listed source let in?"
                select.select([self.sock], [], [], left)
                continue
            answer = syn_ack(frame)
            if answer is None:
                continue
            self.answered += 1
            to, number = answer
            if to == raw(MARKER)[0]:
                if number == self.marks:
                    return found
            else:
                found.append(to)

    def cookies(self):
        """How many SYNs this host ever answered, by its own count."""
        with open(f"/proc/{self.host.pid}/net/netstat", encoding="ascii") as file:
            rows = [line.split() for line in file]
        names = {name: int(value) for head, values in zip(rows[::2], rows[1::2])
                 for name, value in zip(head, values) if name != head[0]}
        return names["SyncookiesSent"]

    def nothing_missed(self):
        """All answers that the kernel gave were seen here."""
        _, drops = struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        count = self.cookies() - self.before
        assert not drops and count == self.answered, \
            f"{count} SYNs answered, {self.answered} seen, {drops} lost by the test"


def with_sysctl(host, name, value):
    """Sets a setting, where this kernel has it."""
    with contextlib.suppress(FileNotFoundError):
        host.sysctl(name, value)


def marker(number):
    """A SYN from the listed source that is used for this alone."""
    source = raw(MARKER)[0]
    segment = with_sum(source, HOST4, struct.pack("!HHIIBBHHH", 1, 25, number, 0, 5 << 4, SYN,
                                                  64240, 0, 0))
    return MACS + b"\x08\0" + head_sum(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, TCP, 0,
                                                   source, HOST4)) + segment


def syn_ack(frame):
    """(to whom, the sequence number that is answered) of a SYN-ACK, else None."""
    if frame[12:14] == b"\x08\0" and frame[23] == TCP:
        size = (frame[14] & 15) * 4
        to, head = frame[30:34], frame[14 + size:]
        if size > 20 and frame[34] in (0x83, 0x89):     # a source route: the last one is meant
            to = frame[34 + frame[35] - 4:34 + frame[35]]
    elif frame[12:14] == b"\x86\xdd" and frame[20] == TCP:
        to, head = frame[38:54], frame[54:]
    else:
        return None
    if head[13] & (SYN | ACK) != SYN | ACK:
        return None
    return to, struct.unpack_from("!I", head, 8)[0] - 1 & 0xFFFFFFFF


class Pair:
    """The two hosts."""

    def __init__(self, lab, mode):
        client = lab.host("client")
        self.open = Target(lab.host("open"), client, "open")
        self.gated = Target(lab.mail, client, "gated")
        lab.gate("attach", "eth0", "--mode", mode)
        lab.gate("add", LISTED4, LISTED6, MARKER)
        assert lab.json("status")["interfaces"][0]["xdp_mode"] == mode

    def ask(self, case):
        """(whom the open host answered, whom the gated one)"""
        for target in (self.open, self.gated):
            target.send(case.frames)
        return self.open.answers(), self.gated.answers()


def wrong(case, without, with_gate):
    """What is wrong about the answers, or None."""
    for source in with_gate:
        if source not in LISTED:
            return f"{source.hex()} is not listed and was answered through the gate"
    lost = collections.Counter(s for s in without if s in LISTED) - collections.Counter(with_gate)
    if lost and not case.deep():
        return f"{lost} is listed and was answered only without the gate"
    return None


@contextlib.contextmanager
def one_cpu():
    """What is sent by one CPU comes and is answered in this order."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(all_of_them)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


def judged(mode, count):
    """So many cases."""
    print(f"# SEED={SEED} CASES={count}", flush=True)
    make = Generator(random.Random(f"{SEED} {mode}"), raw(*UNLISTED4), raw(*UNLISTED6), GUARDED)
    crafter = Crafter(make, HOST4, HOST6, raw(LISTED6, UNLISTED6[0]))
    opened, tried = collections.Counter(), collections.Counter()
    with Lab() as lab:
        pair = Pair(lab, mode)
        with one_cpu():
            believable(pair)
            for _ in range(count):
                one_case(pair, crafter, mode, tried, opened)
        pair.open.nothing_missed()
        pair.gated.nothing_missed()
    report(tried, opened)


def one_case(pair, crafter, mode, tried, opened):
    """Makes a case and compares the answers."""
    make = crafter.make
    listed = make.random() < 0.25
    source = make.pick(raw(LISTED4, LISTED6) if listed else raw(*UNLISTED4, *UNLISTED6))
    case = crafter.case(source, make.pick(GUARDED))
    without, with_gate = pair.ask(case)
    said = wrong(case, without, with_gate)
    assert not said, f"SEED={SEED}, {mode}: {said}\n{case}"
    if not listed:
        words = {"all", f"ipv{4 if len(source) == 4 else 6}"} | case.words
        tried.update(words)
        opened.update(words if any(s not in LISTED for s in without) else ())


def report(tried, opened):
    """Of each kind, some must have been dangerous."""
    for word in sorted(tried):
        print(f"# {word}: {opened[word]} of {tried[word]} opened without a gate", flush=True)
    dull = [w for w, n in tried.items() if n > 100 and opened[w] < n / 40]
    assert not dull and opened["all"] > tried["all"] / 4, f"hardly any was dangerous: {dull}"


def believable(pair):
    """This test would see a connection that is opened through the gate, and one that is not."""
    make = Generator(random.Random(1), raw(LISTED4), raw(LISTED6), GUARDED)
    for source, answered in ((LISTED4, True), (LISTED6, True), (UNLISTED4[0], False),
                             (UNLISTED6[0], False)):
        source, crafter = raw(source)[0], Crafter(make, HOST4, HOST6, raw(LISTED6))
        case = crafter.case(source, 25)
        while case.words:
            case = crafter.case(source, 25)
        without, with_gate = pair.ask(case)
        assert without == [source] and with_gate == ([source] if answered else []), case
    case = Case(source, [], set())
    assert wrong(case, [], [source]) and wrong(case, [next(iter(LISTED))], [])


@tap.test
def native():
    """native: what Linux takes for a SYN of an unlisted source does not get past the gate"""
    judged("native", CASES)


@tap.test
def generic():
    """generic: the same"""
    judged("generic", CASES // 2)


if __name__ == "__main__":
    tap.main()
