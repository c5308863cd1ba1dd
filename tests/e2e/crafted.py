# SPDX-License-Identifier: GPL-2.0-only
"""Crafted ways to open a TCP connection: sets of frames that Linux may or may not take for a SYN.

Each begins as something that Linux accepts (options, extension headers, fragments in any order,
priority tags, trailers, data), half of them are then changed at random, and most of those get right
checksums again, since Linux takes nothing else. Knows nothing of lists and verdicts.
"""
import struct

from frames import SYN, checksum
from generator import DSTOPTS, FRAGMENT, HOPOPTS, MACS, ROUTING, TCP, UDP

FRAME_MAX = 9000                # with any tags, on the tests' cables
HARMLESS = 22                   # a port that nobody guards
# None, segment size, padding, fast open (asking, and with a cookie), multipath, what Linux sends.
TCP_OPTIONS = (b"", b"", b"\2\4\5\xb4", b"\1\1\1\0", b"\x22\2\1\1", b"\x22\x0a" + bytes(10),
               b"\x1e\x0c\0\1" + bytes(8),
               b"\2\4\5\xb4\4\2\x08\x0a\0\0\0\1\0\0\0\0\1\3\3\7")
IP4, IP6, TPIDS = 0x0800, 0x86DD, (b"\x81\0", b"\x88\xa8")


def with_sum(source, target, segment):
    """A TCP segment with the checksum that it must have."""
    pseudo = source + target + struct.pack("!II", len(segment), TCP)
    return segment[:16] + struct.pack("!H", checksum(pseudo + segment[:16] + b"\0\0"
                                                     + segment[18:])) + segment[18:]


def head_sum(head):
    """An IPv4 header with its checksum."""
    return head[:10] + struct.pack("!H", checksum(head[:10] + b"\0\0" + head[12:])) + head[12:]


def repaired(frame):
    """The frame with right checksums, where it is still something that has them."""
    at = 12
    while frame[at:at + 2] in TPIDS:
        at += 4
    front, data = frame[:at + 2], frame[at + 2:]
    if front[-2:] == b"\x08\0":
        size = (data[0] & 15) * 4 if data else 0
        if not 20 <= size <= len(data):
            return frame
        total = struct.unpack_from("!H", data, 2)[0]
        whole = not struct.unpack_from("!H", data, 6)[0] & 0x3FFF and data[9] == TCP
        segment, tail = data[size:total], data[max(total, size):]
        if whole and len(segment) >= 20:
            segment = with_sum(data[12:16], data[16:20], segment)
        return front + head_sum(data[:size]) + segment + tail
    if front[-2:] == b"\x86\xdd" and len(data) >= 40:
        end = min(len(data), 40 + (struct.unpack_from("!H", data, 4)[0] or len(data)))
        at = walk6(data, end)
        if at and end - at >= 20:
            return front + data[:at] + with_sum(data[8:24], data[24:40], data[at:end]) + data[end:]
    return frame


def walk6(data, end):
    """Where TCP begins in an IPv6 packet, None where it does not or not in this frame alone."""
    kind, at = data[6], 40
    while kind != TCP:
        if kind not in (HOPOPTS, DSTOPTS, ROUTING, FRAGMENT) or at + 8 > end:
            return None
        if kind == FRAGMENT and data[at + 2:at + 4] != b"\0\0":
            return None
        kind, at = data[at], at + (8 if kind == FRAGMENT else 8 * (data[at + 1] + 1))
    return at


class Case:
    """Frames to be sent one after the other, and words that say what is special about them."""

    def __init__(self, source, frames, words):
        self.source, self.frames, self.words = source, frames, words

    def deep(self):
        """More tags than any parser walks?"""
        return any(all(f[at:at + 2] in TPIDS for at in range(12, 12 + 4 * 9, 4))
                   for f in self.frames)

    def __str__(self):
        return f"source {self.source.hex()}, {' '.join(sorted(self.words))}:" \
            + "".join(f"\n  {f.hex()}" for f in self.frames)


class Crafter:
    """Makes cases. `make` is a Generator, for its dice and its mutations."""

    def __init__(self, make, host4, host6, others6):
        self.make, self.pick, self.below = make, make.pick, make.below
        self.host4, self.host6, self.others6 = host4, host6, others6
        self.number = 0

    def chance(self, share):
        """True so often."""
        return self.make.random() < share

    def case(self, source, port):
        """One more, of frames that can be sent."""
        while True:
            case = self.any_case(source, port)
            if max(map(len, case.frames)) <= FRAME_MAX:
                return case

    def any_case(self, source, port):
        """One more."""
        self.number += 1
        words = set()
        packets = (self.packets4 if len(source) == 4 else self.packets6)(source, port, words)
        kind = struct.pack("!H", IP4 if len(source) == 4 else IP6)
        frames = []
        for packet in packets:
            if self.chance(0.15):
                packet += self.pick((bytes(6), b"\1" * 46, packet, packet[-20:], packet[-12:]))
                words.add("trailer")
            frames.append(MACS + self.tags(words) + kind + packet)
        if self.chance(0.5):
            words.add("mutated")
            at = self.below(len(frames))
            frames[at] = self.make.mutated(frames[at]).ljust(14, b"\0")
            if self.chance(0.85):
                frames = [repaired(f) for f in frames]
        return Case(source, frames, words)

    def tags(self, words):
        """Priority tags (VID 0): Linux takes them off."""
        many = 0 if self.chance(0.75) else self.pick((1, 1, 2, 3, 7, 8, 8, 9, 10, 16))
        if many:
            words.add("tags" if many <= 8 else "deep")
        return b"".join(self.pick(TPIDS) + self.pick((b"\0\0", b"\xe0\0", b"\x10\0"))
                        for _ in range(many))

    def segment(self, source, target, port, words):
        """A SYN, with or without options and data."""
        opts = self.pick(TCP_OPTIONS)
        flags = self.pick((SYN,) * 6 + (SYN | 0xC0, SYN | 8, SYN | 0x20, 0xEA))
        data = bytes(self.below(40)) if self.chance(0.2) else b""
        head = struct.pack("!HHIIBBHHH", 1024 + self.below(60000), port, self.number, 0,
                           5 + len(opts) // 4 << 4, flags, 64240, 0, 0)
        if opts:
            words.add("tcp-options")
        return with_sum(source, target, head + opts + data)

    def cuts(self, size):
        """Where to cut so many bytes, in multiples of 8; with the ends."""
        places = sorted({8 * (1 + self.below((size - 1) // 8))
                         for _ in range(self.pick((1, 1, 2)))})
        return list(zip([0] + places, places + [size]))

    def shuffled(self, parts, words):
        """Fragments in some order; rarely one twice."""
        words.add(f"fragments-{len(parts)}")
        if self.chance(0.4):
            parts = parts[::-1]
        if self.chance(0.05):
            parts.insert(0, self.pick(parts))
        return parts

    def packets4(self, source, port, words):
        """IPv4 packets."""
        segment = self.segment(source, self.host4, port, words)
        opts = b"" if self.chance(0.6) else self.pick((
            b"\1" * 4, b"\0" * 8, b"\x94\4\0\0", b"\7\7\4\0\0\0\0\0", b"\x44\x0c\5\0" + bytes(8),
            b"\1" * 40, b"\x19\4\0\0", b"\x83\7\x08" + source + b"\0", b"\x89\3\4\0"))
        if opts:
            words.add("ip-options")

        def packet(field, payload):
            return head_sum(struct.pack("!BBHHHBBH4s4s", 0x45 + len(opts) // 4, 0,
                                        20 + len(opts) + len(payload), self.number & 0xFFFF, field,
                                        64, TCP, 0, source, self.host4) + opts) + payload
        if self.chance(0.6):
            return [packet(self.pick((0, 0x4000, 0x8000)), segment)]
        return self.shuffled([packet(low // 8 | (0x2000 if high < len(segment) else 0),
                                     segment[low:high])
                              for low, high in self.cuts(len(segment))], words)

    def options(self, size):
        """Bytes of options that are to be skipped: padding (Linux takes no more than 7 bytes of it
        at a stretch), experiments, rarely a home address."""
        body, padded = b"", False
        while (left := size - len(body)) > 0:
            if left < 4 or (not padded and self.chance(0.3)):
                body += b"\0" if left == 1 or self.chance(0.3) else \
                    b"\1\0" if left < 4 else b"\1\2\0\0"
                padded = True
            elif left >= 18 and self.chance(0.05):
                body, padded = body + b"\xc9\x10" + self.pick(self.others6), False
            else:
                many = min(left - 2, 250)
                body, padded = body + bytes((0x1E, many)) + bytes(many), False
        return body

    def header(self, kind, following):
        """An extension header that Linux steps over."""
        if kind == FRAGMENT:
            return struct.pack("!BBHI", following, 0, 0, self.number)
        size = 8 * (1 + self.below(4)) if self.chance(0.9) else 8 * (1 + self.below(256))
        if kind == ROUTING:
            kinds = bytes((self.pick((0, 0, 1, 2, 4, 5, 253, 254)), 0))
            return bytes((following, size // 8 - 1)) + kinds + bytes(size - 4)
        return bytes((following, size // 8 - 1)) + self.options(size - 2)

    def chain(self, kinds, upper):
        """(number of the first, all bytes)"""
        following, data = upper
        for kind in reversed(kinds):
            data, following = self.header(kind, following) + data, kind
        return following, data

    def kinds(self, share, fragment):
        """Extension headers, as many as one likes. Of fragment headers Linux takes one."""
        many = 0 if self.chance(share) else self.pick((1, 1, 1, 2, 2, 3, 5, 8, 15, 16, 17, 20))
        kinds = [self.pick((DSTOPTS, DSTOPTS, DSTOPTS, ROUTING)) for _ in range(many)]
        if many and self.chance(fragment):
            kinds[self.below(many)] = FRAGMENT
        return kinds

    def twice(self, make):
        """What make() builds, and once more with the same dice."""
        state = self.make.rng.getstate()
        first = make(False)
        self.make.rng.setstate(state)
        return first, make(True)

    def packets6(self, source, port, words):
        """IPv6 packets."""
        cut = self.chance(0.4)
        inner, outer = self.kinds(*((0.2, 0.02) if cut else (0.4, 0.3))), self.kinds(0.8, 0.02)[:3]
        segment = self.segment(source, self.host6, port, words)
        harmless = self.pick(((UDP, segment),
                              (TCP, segment[:2] + struct.pack("!H", HARMLESS) + segment[4:])))
        (following, data), (_, twin) = self.twice(
            lambda other: self.chain(inner, harmless if other else (TCP, segment)))
        if inner:
            words.add("chain" if len(inner) < 15 else "long-chain")
        if FRAGMENT in inner + outer:
            words.add("atomic")
        parts, forged = [(following, data)], b""
        if cut:
            # Most of them early: then the chain ends in the second fragment, or the ports are
            # there, and some say behind the end of the first that something harmless followed.
            cuts = self.cuts(len(data)) if self.chance(0.4) else \
                self.early(len(data), len(data) - len(segment))
            parts = [(FRAGMENT, struct.pack("!BBHI", following, 0, low | (high < len(data)),
                                            self.number) + data[low:high]) for low, high in cuts]
            if self.chance(0.5):
                words.add("forged")
                forged = twin[cuts[0][1]:]
        packets = self.wrapped(source, outer, parts)
        packets[0] += forged
        return self.shuffled(packets, words) if cut else packets

    def wrapped(self, source, outer, parts):
        """Each with the same headers in front."""
        hop = [HOPOPTS] if self.chance(0.2) else []
        rng = self.make.rng.getstate()
        packets = []
        for upper in parts:
            self.make.rng.setstate(rng)         # the same headers in front of each fragment
            first, payload = self.chain(hop + outer, upper)
            length = 0 if hop and len(parts) == 1 and self.chance(0.1) else len(payload)
            packets.append(struct.pack("!IHBB16s16s", 6 << 28, length & 0xFFFF, first, 64, source,
                                       self.host6) + payload)
        return packets

    def early(self, size, chain):
        """cuts(): two, the first of which is short, or ends where the chain does."""
        at = chain if chain and self.chance(0.15) else 8 * (1 + self.below(min(size - 1, 64) // 8))
        return [(0, at), (at, size)]
