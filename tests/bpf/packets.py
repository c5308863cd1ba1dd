# SPDX-License-Identifier: GPL-2.0-only
"""Builds frames, right or wrong on purpose. Knows nothing of smtpgate or of verdicts.

Lengths and checksums are right unless told otherwise, so the frames can be sent for real too.
An IPv6 extension header is a pair (its number, function from the next header's number to bytes).
"""
import ipaddress
import struct

IP4, IP6, ARP, VLAN, QINQ = 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8
HOPOPTS, ICMP, TCP, UDP, ROUTING, FRAGMENT, ESP, AH = 0, 1, 6, 17, 43, 44, 50, 51
ICMP6, NONE, DSTOPTS = 58, 59, 60
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MF, DF, RESERVED = 0x2000, 0x4000, 0x8000

HOST4, HOST6 = "192.0.2.1", "2001:db8::1"


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def eth(kind, payload, tags=(), dst=b"\x02\0\0\0\0\1", src=b"\x02\0\0\0\0\2"):
    """tags: pairs of TPID and TCI, the outermost first."""
    return dst + src + b"".join(struct.pack("!HH", *tag) for tag in tags) \
        + struct.pack("!H", kind) + payload


def tcp(dport, sport=40000, flags=SYN, data=b"", offset=5, check=0):
    """A TCP header of 20 bytes and data."""
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 0, offset << 4, flags, 64240, check, 0) + data


def udp(dport, sport=40000, data=b""):
    """A UDP datagram."""
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def with_checksum(src, dst, segment):
    """A TCP segment with its checksum filled in."""
    src, dst = ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed
    total = checksum(src + dst + struct.pack("!II", len(segment), TCP) + segment[:16] + b"\0\0"
                     + segment[18:])
    return segment[:16] + struct.pack("!H", total) + segment[18:]


def ip4(src, payload, proto=TCP, dst=HOST4, options=b"", ihl=None, version=4, total=None, frag=0):
    """An IPv4 packet; frag is the whole 16-bit field: bits and offset in 8 bytes."""
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    total = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH4s4s", version << 4 | ihl, 0, total, 0x1234, frag, 64, proto, 0,
                       ipaddress.IPv4Address(src).packed, ipaddress.IPv4Address(dst).packed)
    head += options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(src, payload, following=TCP, dst=HOST6, version=6, length=None):
    """An IPv6 packet without extension headers."""
    length = len(payload) & 0xFFFF if length is None else length
    return struct.pack("!IHBB16s16s", version << 28, length, following, 64,
                       ipaddress.IPv6Address(src).packed, ipaddress.IPv6Address(dst).packed) \
        + payload


def options(size):
    """The body of an options header: padding up to `size` bytes, header included."""
    body, left = b"", size - 2
    while left > 0:
        part = min(left, 257)
        if left - part == 1:
            part -= 1
        body += bytes([1, part - 2]) + bytes(part - 2)
        left -= part
    return body


def hopopts(size=8):
    """Hop-by-hop options."""
    return HOPOPTS, lambda following: bytes([following, size // 8 - 1]) + options(size)


def dstopts(size=8):
    """Destination options."""
    return DSTOPTS, lambda following: bytes([following, size // 8 - 1]) + options(size)


def router_alert():
    """Hop-by-hop options with a router alert, as MLD has."""
    return HOPOPTS, lambda following: bytes([following, 0, 5, 2, 0, 0, 1, 0])


def routing(kind=0, size=8, left=0):
    """A routing header."""
    return ROUTING, lambda following: bytes([following, size // 8 - 1, kind, left]) \
        + bytes(size - 4)


def ah(size=24):
    """An authentication header; its length counts in 4 bytes."""
    return AH, lambda following: bytes([following, size // 4 - 2]) + bytes(size - 2)


def fragment(offset=0, more=False, reserved=0):
    """A fragment header; the offset in 8 bytes."""
    return FRAGMENT, lambda following: struct.pack("!BBHI", following, reserved,
                                                   offset << 3 | more, 0x12345678)


def chain(headers, proto, upper):
    """The number of the first header, and all of them with the upper layer behind."""
    data, following = upper, proto
    for number, build in reversed(headers):
        data, following = build(following) + data, number
    return following, data


def frame4(src, payload, tags=(), **fields):
    """Ethernet and IPv4."""
    return eth(IP4, ip4(src, payload, **fields), tags)


def frame6(src, headers, payload, proto=TCP, tags=(), cut=None, trailer=b"", **fields):
    """Ethernet, IPv6, extension headers. cut: how much of what follows the fixed header is there;
    the payload length is that of what is there unless told otherwise."""
    following, data = chain(headers, proto, payload)
    return eth(IP6, ip6(src, data[:cut], following, **fields) + trailer, tags)
