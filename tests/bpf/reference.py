# SPDX-License-Identifier: GPL-2.0-only
"""What a frame is and what the gate owes it: written a second time, from the RFCs.

Ethernet and 802.1Q, IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200), AH (RFC 4302), TCP
(RFC 9293), and the decision table. It shares no line and no idea with bpf/parse.h: each layer takes
the bytes that are left and gives what is left for the next one, so "beyond the end" is a slice that
is too short. Where the gate knowingly differs from what an RFC allows, that is one of the constants
below, with its reason.
"""
import collections

# Bounds of the gate's walk; what lies beyond them is unclear, never let through.
TAGS_WALKED = 8         # Linux strips priority tags without limit; a parser has to end
HEADERS_WALKED = 16     # RFC 8200 sets no limit, and Linux has none

# What the gate says in spite of the standards:
# - Mobility, HIP, Shim6 and experimental headers are upper layers: Linux delivers nothing of them.
# - The length of a datagram bounds first fragments only: a lying length elsewhere is either refused
#   by Linux, or is 0 behind a hop-by-hop header and then means the whole frame.
# - An extension header must be whole before its "next header" is believed.
# - Tunnels are not looked into: what is inside meets the gate on the tunnel's own device.

TPIDS = {0x8100, 0x88A8}
OPTIONS_LIKE = {0, 43, 60}      # hop-by-hop, routing, destination options: length in 8 bytes
FRAGMENT, AH, TCP = 44, 51, 6
SYN, ACK = 2, 16

# Reasons by what is done with them.
UNCLEAR = {"vlan_depth", "ip_header", "chain_long", "chain_cut", "first_fragment", "tcp_cut"}

# reason: as the gate names it, or "tcp": then the port and the source decide. source: bytes, None
# where there is none to believe in.
Packet = collections.namedtuple("Packet", "reason family source port syn",
                                defaults=("none", None, None, False))
# slot: of the port's counter, None where no port is counted.
Answer = collections.namedtuple("Answer", "verdict reason family slot syn")


def number(two):
    """Network byte order."""
    return two[0] << 8 | two[1]


def classify(frame):
    """Frame -> Packet."""
    kind, rest = frame[12:14], frame[14:]
    tags = 0
    while len(kind) == 2 and number(kind) in TPIDS:
        if tags == TAGS_WALKED:
            return Packet("vlan_depth")
        tags += 1
        kind, rest = rest[2:4], rest[4:]
    if len(kind) < 2:
        return Packet("l2_cut")
    kind = number(kind)
    if kind == 0x0800:
        return internet4(rest)
    return internet6(rest) if kind == 0x86DD else Packet("not_ip")


def internet4(datagram):
    """RFC 791, 3.1"""
    if len(datagram) < 20 or datagram[0] // 16 != 4:
        return Packet("ip_header", "ip4")
    source, size, total = datagram[12:16], datagram[0] % 16 * 4, number(datagram[2:4])
    if not 20 <= size <= len(datagram):
        return Packet("ip_header", "ip4", source)
    field = number(datagram[6:8])
    if field % 0x2000:
        return Packet("later_fragment", "ip4", source)
    more = bool(field & 0x2000)
    payload = datagram[size:total] if more else datagram[size:]
    reason, *found = upper(datagram[9], payload, more, {AH})
    return Packet(reason, "ip4", source, *found)


def internet6(datagram):
    """RFC 8200, 3"""
    if len(datagram) < 40 or datagram[0] // 16 != 6:
        return Packet("ip_header", "ip6")
    reason, *found = upper(datagram[6], datagram[40:], False, OPTIONS_LIKE | {FRAGMENT, AH},
                           number(datagram[4:6]))
    return Packet(reason, "ip6", datagram[8:24], *found)


def extent(kind, header):
    """How long an extension header says it is; None where it is too short to say."""
    if kind == FRAGMENT:
        return 8
    if len(header) < 2:
        return None
    # RFC 4302, 2.2: in units of 4 bytes, less 2; RFC 8200, 4.3: in 8 bytes, less the first
    return 4 * (header[1] + 2) if kind == AH else 8 * (header[1] + 1)


def upper(kind, data, first, walked, declared=0):
    """Peels extension headers off: (reason,) or ("tcp", port, syn).

    first: these are the bytes of a first fragment, which end where the fragment does. declared: how
    much is left of the payload length, for the moment that a fragment header makes it one."""
    for _ in range(HEADERS_WALKED):
        if kind not in walked:
            return transport(data, first) if kind == TCP else ("other_protocol",)
        size = extent(kind, data)
        if size is None or size > len(data):
            return ("first_fragment" if first else "chain_cut",)
        if kind == FRAGMENT:
            place = number(data[2:4])
            if place >> 3:
                return ("later_fragment",)
            if place & 1 and not first:         # RFC 8200, 4.5: offset 13 bits, reserved 2, M
                first, data = True, data[:declared]
                if len(data) < size:
                    return ("first_fragment",)
        kind, data, declared = data[0], data[size:], max(declared - size, 0)
    if kind in walked:
        return ("chain_long",)
    return transport(data, first) if kind == TCP else ("other_protocol",)


def transport(segment, first):
    """RFC 9293, 3.1: the ports are the first four bytes, the flags the fourteenth."""
    if len(segment) < 4:
        return ("first_fragment" if first else "tcp_cut",)
    return "tcp", number(segment[2:4]), len(segment) > 13 and segment[13] & (SYN | ACK) == SYN


class Gate:
    """What the gate answers, enforcing."""

    def __init__(self, slots, entries):
        """slots: guarded port -> its counter; entries: (network, has it ended?)."""
        self.slots = slots
        self.entries = [(n.version, int(n[0]), int(n[-1]), ended) for n, ended in entries]
        self.known = {}

    def standing(self, source):
        """listed, expired or unlisted"""
        if source not in self.known:
            version, value = 4 if len(source) == 4 else 6, int.from_bytes(source, "big")
            ends = {ended for of, low, high, ended in self.entries
                    if of == version and low <= value <= high}
            if len(self.known) > 100000:
                self.known.clear()
            self.known[source] = "listed" if False in ends else "expired" if ends else "unlisted"
        return self.known[source]

    def answer(self, packet):
        """Packet -> Answer."""
        reason, family, source, port, syn = packet
        if reason in UNCLEAR:
            passes = source is not None and self.standing(source) == "listed"
            return Answer("pass" if passes else "drop", reason, family, None, False)
        if reason != "tcp":
            return Answer("pass", reason, family, None, False)
        if port not in self.slots:
            return Answer("pass", "other_port", family, None, False)
        standing = self.standing(source)
        return Answer("pass" if standing == "listed" else "drop", standing, family,
                      self.slots[port], syn)
