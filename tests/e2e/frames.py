# SPDX-License-Identifier: GPL-2.0-only
"""Whole frames by hand, for what no socket would send, and the question whether Linux took them.

The oracle is the kernel's own TCP: Wire.accepted() is true when a listening socket of the mail host
handed out a connection that began with the frames given.
"""
import ipaddress
import select
import struct
import time

TCP, FRAGMENT, OPTIONS, HOP_BY_HOP = 6, 44, 60, 0
SYN, ACK = 0x02, 0x10


def checksum(data):
    """The Internet checksum."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def tcp(source, target, sport, dport, flags, seq, ack=0):
    """A TCP header of 20 bytes."""
    src, dst = ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 64240, 0, 0)
    pseudo = src + dst + (struct.pack("!BBH", 0, TCP, 20) if len(src) == 4 else
                          struct.pack("!IHBB", 20, 0, 0, TCP))
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


def ip4(source, target, payload, offset=0, more=False, ident=1):
    """An IPv4 packet or fragment; `offset` in bytes."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident,
                       (0x2000 if more else 0) | offset // 8, 64, TCP, 0)
    head += ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(source, target, upper, payload):
    """An IPv6 packet."""
    return struct.pack("!IHBB", 6 << 28, len(payload), upper, 64) \
        + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + payload


def options(upper, size=8):
    """A destination options or hop-by-hop header of `size` bytes.

    One experimental option that is to be skipped: Linux takes no more than 7 bytes of padding."""
    assert size % 8 == 0 and size - 4 < 256
    return bytes([upper, size // 8 - 1, 0x1e, size - 4]) + bytes(size - 4)


def fragment(upper, offset, more, ident):
    """An IPv6 fragment header; `offset` in bytes."""
    return struct.pack("!BBHI", upper, 0, offset | more, ident)


class Wire:
    """Stands at the far end of the mail host's cable and speaks for any address.

    The addresses are not the client's own: its kernel would answer with resets."""

    def __init__(self, client, device, mail, mail_device):
        self.client, self.mail, self.mail_device = client, mail, mail_device
        self.sock = client.packets(device)
        self.here, self.there = client.mac(device), mail.mac(mail_device)
        self.sport = 20000

    def speak_for(self, *addresses):
        """The mail host finds these addresses here without asking."""
        here = self.here.hex(":")
        self.mail.ip(*(f"neigh replace {a} lladdr {here} dev {self.mail_device} nud permanent"
                       for a in addresses))

    def send(self, packet, tags=b""):
        """Sends one packet."""
        kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
        self.sock.send(self.there + self.here + tags + kind + packet)

    def answer(self, source, target, sport, dport, seq, patience):
        """Waits for the SYN-ACK; returns its sequence number, else None."""
        size = len(ipaddress.ip_address(source).packed)
        wanted = ipaddress.ip_address(target).packed + ipaddress.ip_address(source).packed \
            + struct.pack("!HH", dport, sport)
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.sock], [], [], left)[0]:
                break
            frame, where = self.sock.recvfrom(65536)
            if where[2] == 4:       # PACKET_OUTGOING: our own
                continue
            start = 14 + (12 if size == 4 else 8)
            if frame[start:start + 2 * size + 4] == wanted:
                head = frame[start + 2 * size:]
                if head[13] & 0x3f == SYN | ACK and head[8:12] == struct.pack("!I", seq + 1):
                    return struct.unpack("!I", head[4:8])[0]
        return None

    def accepted(self, listener, source, target, shape, tags=b"", patience=3.0):
        """Does Linux complete a handshake whose SYN comes in this shape?

        True or False; "answered" if it answered, and then the plain ACK was lost.
        `shape` turns (source, target, TCP header, ident) into the packets to send."""
        self.sport += 1
        sport, dport, seq = self.sport, listener.getsockname()[1], 1000
        for packet in shape(source, target, tcp(source, target, sport, dport, SYN, seq), sport):
            self.send(packet, tags)
        theirs = self.answer(source, target, sport, dport, seq, patience)
        if theirs is None:
            return False
        head = tcp(source, target, sport, dport, ACK, seq + 1, theirs + 1)
        self.send(ip6(source, target, TCP, head) if ":" in source else ip4(source, target, head))
        if not select.select([listener], [], [], 1)[0]:
            return "answered"
        connection, peer = listener.accept()
        connection.close()
        assert (peer[0].removeprefix("::ffff:"), peer[1]) == (source, sport), peer
        return True


# Shapes of a SYN.

def plain4(source, target, head, _):
    """As anyone sends it."""
    return [ip4(source, target, head)]


def plain6(source, target, head, _):
    """As anyone sends it."""
    return [ip6(source, target, TCP, head)]


def cut4(source, target, head, ident):
    """Two fragments, 8 bytes (the ports, no flags) and 12."""
    return [ip4(source, target, head[:8], 0, True, ident),
            ip4(source, target, head[8:], 8, False, ident)]


def cut4_reversed(*args):
    """The same, the later one first."""
    return cut4(*args)[::-1]


def options6(source, target, head, _):
    """Behind destination options."""
    return [ip6(source, target, OPTIONS, options(TCP, 16) + head)]


def hop_by_hop6(source, target, head, _):
    """Behind hop-by-hop options."""
    return [ip6(source, target, HOP_BY_HOP, options(TCP) + head)]


def long_options6(source, target, head, _):
    """Behind eight destination options headers of 160 bytes each."""
    chain = options(OPTIONS, 160) * 7 + options(TCP, 160)
    return [ip6(source, target, OPTIONS, chain + head)]


def atomic6(source, target, head, ident):
    """A fragment header on what is a whole packet."""
    return [ip6(source, target, FRAGMENT, fragment(TCP, 0, False, ident) + head)]


def split_chain6(source, target, head, ident):
    """The first fragment ends before the second options header, which says that TCP follows."""
    chain = options(OPTIONS) + options(TCP)
    return [ip6(source, target, FRAGMENT, fragment(OPTIONS, 0, True, ident) + chain[:8]),
            ip6(source, target, FRAGMENT, fragment(OPTIONS, 8, False, ident) + chain[8:] + head)]


def split_chain6_reversed(*args):
    """The same, the later one first."""
    return split_chain6(*args)[::-1]
