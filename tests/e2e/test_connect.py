#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Who can connect to what: real TCP over a veth, both families, native and generic, any MTU.

This is the promise itself: a listed source reaches the guarded ports, nobody else does, and
everything that is not TCP to a guarded port is left alone. Where a packet's shape matters, the
same frames are first sent without a gate: what Linux would refuse anyway proves nothing.
"""
import pathlib
import select
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import frames
import tap
from lab import GUARDED, Lab, can_make, connect, expect, needs

MAIL4, MAIL6 = "192.0.2.25", "2001:db8::25"
LISTED4, LISTED6 = "192.0.2.10", "2001:db8::10"
UNLISTED4, UNLISTED6 = "192.0.2.66", "2001:db8::66"
OTHER_PORTS = (22, 143)
NOBODY_LISTENS = 2525


def make(mtu=1500, mode=None):
    """A mail host with open ports and a client that has all four addresses."""
    lab = Lab()
    try:
        client = lab.host("client")
        lab.link(lab.mail, "eth0", client, "eth0", mtu)
        lab.mail.address("eth0", MAIL4 + "/24", MAIL6 + "/64")
        client.address("eth0", *(a + "/24" for a in (LISTED4, UNLISTED4)),
                       *(a + "/64" for a in (LISTED6, UNLISTED6)))
        lab.client = client
        lab.listeners = dict(zip(GUARDED + OTHER_PORTS,
                                 lab.mail.listen(*GUARDED, *OTHER_PORTS)))
        if mode:
            lab.gate("attach", "eth0", "--mode", mode)
    except BaseException:
        lab.__exit__()
        raise
    return lab


def target(source):
    """The mail host's address of the same family."""
    return MAIL6 if ":" in source else MAIL4


def rows(source, state, ports=GUARDED):
    """Expected outcomes of one source: guarded ports as given, all others as without a gate."""
    for port in ports:
        yield source, target(source), port, state
    for port in OTHER_PORTS:
        yield source, target(source), port, "open"
    yield source, target(source), NOBODY_LISTENS, "refused"


def gate_is(lab, *open_to, closed=(LISTED4, LISTED6, UNLISTED4, UNLISTED6)):
    """Exactly these sources reach the guarded ports."""
    expect(lab.client, [row for source in sorted({*open_to, *closed})
                        for row in rows(source, "open" if source in open_to else "timeout")])


EVERYONE = (LISTED4, LISTED6, UNLISTED4, UNLISTED6)


def story(mode, mtu):
    """A gate's life: attached, first entries, deletes, the last delete."""
    with make(mtu) as lab:
        gate_is(lab, *EVERYONE)
        lab.gate("attach", "eth0", "--mode", mode)
        assert lab.json("status")["interfaces"][0]["xdp_mode"] == mode
        gate_is(lab, *EVERYONE)                     # attached, the list is empty: off
        lab.gate("add", LISTED4)
        gate_is(lab, LISTED4)                       # an IPv4-only list closes IPv6
        lab.gate("add", LISTED6)
        gate_is(lab, LISTED4, LISTED6)
        large_transfer(lab, LISTED4)
        large_transfer(lab, LISTED6)
        lab.gate("delete", LISTED4)
        gate_is(lab, LISTED6)                       # and the other way round
        lab.gate("delete", LISTED6, ok=3)           # the last one asks, and nobody answers
        gate_is(lab, LISTED6)
        lab.gate("delete", LISTED6, "-y")
        gate_is(lab, *EVERYONE)                     # off


def large_transfer(lab, source):
    """A megabyte each way arrives as it was sent."""
    sock = lab.client.socket(socket.AF_INET6 if ":" in source else socket.AF_INET,
                             socket.SOCK_STREAM)
    listener = lab.listeners[587]
    while select.select([listener], [], [], 0)[0]:
        listener.accept()[0].close()
    sock.bind((source, 0))
    sock.settimeout(5)
    sock.connect((target(source), 587))
    assert select.select([listener], [], [], 5)[0]
    peer = listener.accept()[0]
    data = bytes(range(256)) * 4096
    for one, two in ((sock, peer), (peer, sock)):
        one.setblocking(False)
        two.setblocking(False)
        sent, got = 0, b""
        while len(got) < len(data):
            readable, writable, _ = select.select([two], [one] if sent < len(data) else [], [], 5)
            assert readable or writable, f"{source}: stuck after {sent} sent, {len(got)} received"
            if writable:
                sent += one.send(data[sent:sent + 65536])
            if readable:
                part = two.recv(1 << 20)
                assert part, "connection closed early"
                got += part
        assert got == data
    peer.close()


@tap.test
def native():
    """native: list empty, one family, both, deleted, last deleted; both families"""
    story("native", 1500)


@tap.test
def generic():
    """generic: the same"""
    story("generic", 1500)


@tap.test
def native_jumbo():
    """native with an MTU of 9000 (frames in several buffers): the same"""
    story("native", 9000)


@tap.test
def generic_jumbo():
    """generic with an MTU of 9000: the same"""
    story("generic", 9000)


@tap.test
def segments_and_ranges():
    """a segment and a range let in exactly what they cover"""
    with make(mode="native") as lab:
        lab.client.address("eth0", *(f"192.0.2.{n}/24" for n in (95, 96, 111, 112, 199, 200, 204)),
                           *(f"2001:db8::{n}/64" for n in ("1:0", "1:7", "1:8")))
        lab.gate("add", "192.0.2.96/28")
        lab.gate("add", "192.0.2.200-192.0.2.203", "2001:db8::1:1-2001:db8::1:7")
        wanted = {"192.0.2.95": 0, "192.0.2.96": 1, "192.0.2.111": 1, "192.0.2.112": 0,
                  "192.0.2.199": 0, "192.0.2.200": 1, "192.0.2.204": 0,
                  "2001:db8::1:0": 0, "2001:db8::1:7": 1, "2001:db8::1:8": 0}
        gate_is(lab, *(a for a, inside in wanted.items() if inside), closed=wanted)


@tap.test
def ports():
    """set ports: what is taken off guard opens, what is put on guard closes"""
    with make(mode="native") as lab:
        lab.gate("add", LISTED4)
        lab.gate("set", "ports", "465,587")
        expect(lab.client, [(UNLISTED4, MAIL4, 25, "open"), (UNLISTED4, MAIL4, 465, "timeout"),
                            (UNLISTED6, MAIL6, 25, "open"), (UNLISTED6, MAIL6, 587, "timeout"),
                            (LISTED4, MAIL4, 587, "open")])
        lab.gate("set", "ports", "22,587")
        expect(lab.client, [(UNLISTED4, MAIL4, 22, "timeout"), (UNLISTED4, MAIL4, 465, "open"),
                            (UNLISTED6, MAIL6, 22, "timeout"), (UNLISTED4, MAIL4, 587, "timeout"),
                            (LISTED4, MAIL4, 22, "open"), (LISTED4, MAIL4, 25, "open")])


@tap.test
def disable():
    """disable asks, then lets everyone in; the next add closes again"""
    with make(mode="native") as lab:
        lab.gate("add", LISTED4)
        lab.gate("disable", ok=3)
        gate_is(lab, LISTED4)
        lab.gate("disable", "-y")
        gate_is(lab, *EVERYONE)
        assert lab.json("status")["mode"] == "off" and not lab.json("list")["entries"]
        lab.gate("add", LISTED6)
        gate_is(lab, LISTED6)


@tap.test
def cut_off():
    """an open connection of a deleted entry gets no further; one that is still covered does"""
    with make(mode="native") as lab:
        lab.gate("add", LISTED4, LISTED6, UNLISTED4)
        lab.gate("add", "2001:db8::/112")
        pairs = {}
        for source in (LISTED4, LISTED6):
            sock = lab.client.socket(socket.AF_INET6 if ":" in source else socket.AF_INET,
                                     socket.SOCK_STREAM)
            sock.bind((source, 0))
            sock.settimeout(5)
            sock.connect((target(source), 25))
            assert select.select([lab.listeners[25]], [], [], 5)[0]
            peer = lab.listeners[25].accept()[0]
            sock.send(b"before")
            peer.settimeout(5)
            assert peer.recv(100) == b"before"
            pairs[source] = sock, peer
        lab.gate("delete", LISTED4, LISTED6)
        for source, (sock, _) in pairs.items():
            sock.send(b"after")
        _, covered = pairs[LISTED6]
        assert covered.recv(100) == b"after"        # by the segment
        _, gone = pairs[LISTED4]
        assert not select.select([gone], [], [], 0.6)[0], "data of a deleted source arrived"
        lab.gate("add", LISTED4)
        assert gone.recv(100) == b"after"           # it was the gate, and it opens again


@tap.test
def bystanders():
    """ARP, neighbour discovery, ping and UDP of an unlisted source are left alone"""
    with make(mode="native") as lab:
        lab.gate("add", "198.51.100.1")
        gate_is(lab, closed=EVERYONE)
        before = lab.json("status")["counters"]["dropped"]
        lab.client.ip("neigh flush all")
        lab.mail.ip("neigh flush all")
        for source, family, protocol, request, reply, raw in (
                (UNLISTED4, socket.AF_INET, 1, 8, 0, 20),
                (UNLISTED6, socket.AF_INET6, 58, 128, 129, 0)):
            ping = lab.client.socket(family, socket.SOCK_RAW, protocol)
            ping.bind((source, 0))
            ping.settimeout(5)
            # An echo request that quotes a SYN to port 25, as ICMP errors do.
            body = struct.pack("!HH", 4711, 1) + frames.ip4(
                UNLISTED4, MAIL4, frames.tcp(UNLISTED4, MAIL4, 25, 25, frames.SYN, 1))
            head = struct.pack("!BBH", request, 0, 0)
            head = struct.pack("!BBH", request, 0, frames.checksum(head + body))
            ping.sendto(head + body, (target(source), 0))
            while (got := ping.recv(2000)[raw:])[0] != reply or got[4:] != body:
                pass
            for port in GUARDED:
                there = lab.mail.socket(family, socket.SOCK_DGRAM)
                there.bind((target(source), port))
                there.settimeout(5)
                here = lab.client.socket(family, socket.SOCK_DGRAM)
                here.bind((source, 0))
                here.sendto(b"datagram", (target(source), port))
                assert there.recv(100) == b"datagram"
        assert lab.json("status")["counters"]["dropped"] == before, "something was dropped"


@tap.test
def own_mail():
    """the mail host's own connections to port 25 elsewhere work"""
    with make(mode="native") as lab:
        lab.gate("add", LISTED4)
        listener = lab.client.listen(25)[0]
        for there in (UNLISTED4, UNLISTED6):
            assert connect(lab.mail, there, 25, timeout=5) == "open"
            sock = lab.mail.socket(socket.AF_INET6 if ":" in there else socket.AF_INET,
                                   socket.SOCK_STREAM)
            sock.settimeout(5)
            while select.select([listener], [], [], 0)[0]:
                listener.accept()[0].close()
            sock.connect((there, 25))
            assert select.select([listener], [], [], 5)[0]
            peer = listener.accept()[0]
            peer.send(b"220 elsewhere ESMTP\r\n" * 1000)
            got = b""
            while len(got) < 21000:
                got += sock.recv(65536)


@tap.test
def loopback():
    """local submission over lo and the host's own address is not judged"""
    with make(mode="native") as lab:
        lab.gate("add", LISTED4)
        for there in ("127.0.0.1", "::1", MAIL4, MAIL6):
            assert connect(lab.mail, there, 587, timeout=5) == "open"


def shapes(family, names, tags=(b"",), for_nobody=False):
    """Each shape: accepted by Linux without a gate, then only from the listed source.

    `for_nobody`: the listed one may be dropped too."""
    listed, unlisted = (LISTED6, UNLISTED6) if family == 6 else (LISTED4, UNLISTED4)
    for mode in ("native", "generic"):
        with Lab() as lab:
            client = lab.host("client")
            lab.link(lab.mail, "eth0", client, "eth0")
            lab.mail.address("eth0", MAIL4 + "/24", MAIL6 + "/64")
            listener = lab.mail.listen(25)[0]
            wire = frames.Wire(client, "eth0", lab.mail, "eth0")
            wire.speak_for(LISTED4, LISTED6, UNLISTED4, UNLISTED6)
            cases = [(getattr(frames, name), tag) for name in names for tag in tags]
            for shape, tag in cases:
                assert wire.accepted(listener, unlisted, target(unlisted), shape, tag) is True, \
                    f"{shape.__name__}: Linux does not accept this even without a gate"
            lab.gate("attach", "eth0", "--mode", mode)
            lab.gate("add", listed)
            for shape, tag in cases:
                what = f"{shape.__name__}, {len(tag) // 4} tags, {mode}"
                assert for_nobody \
                    or wire.accepted(listener, listed, target(listed), shape, tag) is True, \
                    f"{what}: a listed source was refused"
                dropped = lab.json("status")["counters"]["dropped"]
                assert not wire.accepted(listener, unlisted, target(unlisted), shape, tag,
                                         patience=0.3), f"{what}: an unlisted source got in"
                assert lab.json("status")["counters"]["dropped"] > dropped, \
                    f"{what}: blocked, but not by the gate"


@tap.test
def fragments():
    """a SYN cut 8 + 12, in either order: only from a listed source"""
    shapes(4, ("plain4", "cut4", "cut4_reversed"))


@tap.test
def extension_headers():
    """IPv6 options, hop-by-hop, long chains, atomic fragments: only from a listed source"""
    shapes(6, ("plain6", "options6", "hop_by_hop6", "long_options6", "atomic6"))


@tap.test
def split_chain():
    """IPv6 first fragment whose chain is not complete: only from a listed source"""
    shapes(6, ("split_chain6", "split_chain6_reversed"))


PRIORITY_TAG = b"\x81\x00\x00\x00"
PROVIDER_TAG = b"\x88\xa8\x00\x00"


@tap.test
def priority_tags():
    """1, 2 and 8 priority tags in front: only from a listed source"""
    tags = (PRIORITY_TAG, PROVIDER_TAG + PRIORITY_TAG, PRIORITY_TAG * 8)
    shapes(4, ("plain4",), tags)
    shapes(6, ("options6",), tags[:1])


@tap.test
def too_many_tags():
    """64 priority tags, which Linux takes and no parser walks: from nobody unlisted"""
    shapes(4, ("plain4",), (PRIORITY_TAG * 64,), for_nobody=True)
    shapes(6, ("plain6",), (PRIORITY_TAG * 64,), for_nobody=True)


@tap.test
@needs(can_make("vlan"), "support for VLAN devices")
def vlan_device():
    """a VLAN device on top of the guarded interface is guarded too"""
    for mode in ("native", "generic"):
        with make(mode=mode) as lab:
            for host in (lab.mail, lab.client):
                host.ip("link add link eth0 name eth0.100 type vlan id 100",
                        "link set eth0.100 up")
            lab.mail.address("eth0.100", "198.51.100.25/24", "2001:db8:1::25/64")
            lab.client.address("eth0.100", "198.51.100.10/24", "198.51.100.66/24",
                               "2001:db8:1::10/64", "2001:db8:1::66/64")
            lab.gate("add", "198.51.100.10", "2001:db8:1::10")
            expect(lab.client, [("198.51.100.10", "198.51.100.25", 587, "open"),
                                ("198.51.100.66", "198.51.100.25", 587, "timeout"),
                                ("198.51.100.66", "198.51.100.25", 22, "open"),
                                ("2001:db8:1::10", "2001:db8:1::25", 25, "open"),
                                ("2001:db8:1::66", "2001:db8:1::25", 25, "timeout"),
                                ("2001:db8:1::66", "2001:db8:1::25", 143, "open")])


if __name__ == "__main__":
    tap.main()
