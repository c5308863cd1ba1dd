# SPDX-License-Identifier: GPL-2.0-only
"""Random frames: built as the standards say, then spoiled in one place or another, then mutated.

Most frames are nearly right, since only those get deep into a parser. All comes from one random
number generator, so a seed repeats it. Knows nothing of verdicts.
"""
import struct

MACS = b"\x02\0\0\0\0\1\x02\0\0\0\0\2"
HOST4, HOST6 = bytes((192, 0, 2, 1)), bytes.fromhex("20010db8000000000000000000000001")
HOPOPTS, TCP, UDP, ROUTING, FRAGMENT, ESP, AH, ICMP6, NONE, DSTOPTS = \
    0, 6, 17, 43, 44, 50, 51, 58, 59, 60
EXTENSIONS = (HOPOPTS, DSTOPTS, DSTOPTS, ROUTING, FRAGMENT, FRAGMENT, AH)
NEARLY = (135, 139, 140, 253, 254, 50, 59)      # like extension headers, and walked by nobody
TPIDS = (0x8100, 0x88A8)
KINDS = (0x0806, 0x88CC, 0x9100, 0x8847, 0x8863, 0x0028, 0x05DC, 0x0801, 0x86DC, 0x0008)
FRAME_MAX = 60000               # bytes; the kernel's test runs take little more
FLAGS = (2, 2, 2, 2, 0x10, 0x12, 0x18, 4, 1, 0, 0xC2, 0x3F, 0xFF)
# What makes a parser turn elsewhere.
BYTES = bytes((0, 1, 2, 4, 5, 6, 8, 17, 20, 25, 43, 44, 50, 51, 60, 0x20, 0x40, 0x45, 0x46, 0x4F,
               0x60, 0x80, 0x81, 0xFE, 0xFF))


class Generator:
    """Frames from sources (packed addresses, by family) to ports."""

    def __init__(self, rng, sources4, sources6, ports):
        self.rng, self.random = rng, rng.random
        self.sources4, self.sources6 = tuple(sources4), tuple(sources6)
        self.ports = tuple(ports)
        near = [(p + step) % 65536 for p in ports for step in (-256, -1, 1, 256)]
        self.others = tuple(near) + tuple(p << 8 & 0xFFFF | p >> 8 for p in ports) + (22, 80, 0)
        self.last, self.far = MACS + b"\x08\x00", False

    def pick(self, some):
        """One of them; much faster than choice()."""
        return some[int(self.random() * len(some))]

    def below(self, limit):
        """0 .. limit-1"""
        return int(self.random() * limit)

    # From the inside out.

    def ports_of(self):
        """A destination port."""
        dice = self.random()
        if dice < 0.65:
            return self.pick(self.ports)
        return self.pick(self.others) if dice < 0.9 else self.below(65536)

    def tcp(self):
        """A TCP segment, perhaps cut."""
        offset = 5 if self.random() < 0.9 else self.below(16)
        segment = struct.pack("!HHIIBBHI", self.below(65536), self.ports_of(), self.below(1 << 32),
                              0, offset << 4, self.pick(FLAGS), 64240, 0)
        dice = self.random()
        if dice < 0.15:
            return segment[:self.below(20)]
        return segment + bytes(self.below(60)) if dice < 0.3 else segment

    def upper(self, family):
        """(number, payload) of an upper layer."""
        dice = self.random()
        if dice < 0.8:
            return TCP, self.tcp()
        if dice < 0.9:
            return self.pick((UDP, 1, ICMP6, ESP, NONE, 47, 132)), self.tcp()
        if dice < 0.95:
            return 4 if family == 4 else 41, self.ip4() if self.random() < 0.5 else self.ip6()
        return self.below(256), self.tcp()

    def extension(self, kind, following, first=False):
        """One extension header; first: no later fragment, and no last one."""
        dice = self.random()
        if kind == FRAGMENT and first:
            return struct.pack("!BBHI", following, 0, 1, 7)
        if kind == FRAGMENT:
            place = 0 if dice < 0.75 else self.pick((1, 2, 0x100, 0x1FFF))
            return struct.pack("!BBHI", following, 0 if dice < 0.9 else self.below(256),
                               place << 3 | (self.random() < 0.1) << self.below(2) + 1
                               | (self.random() < 0.4), 7)
        size = 2048 - 8 * self.below(3) if self.far else 8 if dice < 0.7 else \
            8 * (1 + self.below(8)) if dice < 0.96 else self.pick((256, 264, 1024, 2040, 2048))
        if kind == AH:
            size = min(size + 4 * self.below(3), 1028)
            units = size // 4 - 2
        else:
            units = size // 8 - 1
        if self.random() < 0.02:
            units = self.below(256)
        body = (1, size - 4) if kind != ROUTING and size < 260 else (self.below(7), self.below(2))
        return bytes((following, units, *body)) + bytes(size - 4)

    def chain(self, kinds, upper, first=False):
        """(first number, bytes, where each header begins)"""
        following, data = upper
        parts = [data]
        for kind in reversed(kinds):
            parts.append(self.extension(kind, following, first))
            following = kind
        parts.reverse()
        places, at = [], 0
        for part in parts:
            places.append(at)
            at += len(part)
        return following, b"".join(parts), places + [at]

    def near(self, places):
        """A length close to where something begins or ends."""
        return max(self.pick(places) + self.pick((-8, -1, 0, 0, 1, 2, 3, 4, 5, 7, 8, 12, 14)), 0)

    def spoiled(self, data, places):
        """Cut, or with something behind."""
        dice = self.random()
        if dice < 0.1:
            return data[:self.near(places)]
        if dice < 0.2:
            return data + self.pick((b"\0" * 18, self.tcp(), data, self.tcp() * 3))
        if dice < 0.21:                 # more than a frame's first buffer holds
            return data + bytes(3000 + self.below(3000))
        return data

    def ip4(self):
        """An IPv4 packet."""
        dice = self.random()
        kinds = () if dice < 0.75 else (AH,) * (1 + self.below(3)) if dice < 0.9 else \
            (AH,) * self.pick((15, 16, 17, 18)) if dice < 0.93 else \
            tuple(self.pick((AH, DSTOPTS, FRAGMENT)) for _ in range(2))
        number, data, places = self.chain(kinds, self.upper(4))
        words = 0 if self.random() < 0.75 else self.below(11)
        ihl = 5 + words if self.random() < 0.95 else self.below(16)
        size = 20 + 4 * words
        dice = self.random()
        total = size + len(data)
        if dice < 0.25:
            total = self.pick((0, 19, 20, 65535, size + self.near(places), size + self.near(places),
                               self.below(65536)))
        dice = self.random()
        field = 0 if dice < 0.5 else 0x2000 if dice < 0.8 else \
            self.pick((0x4000, 0x8000, 0xC000, 0xE000)) if dice < 0.88 else \
            self.pick((1, 2, 0x1FFF, 0x1000, 0x100)) | self.pick((0, 0x2000, 0x8000))
        version = 4 if self.random() < 0.98 else self.below(16)
        head = struct.pack("!BBHHHBBH4s4s", version << 4 | ihl, 0, total & 0xFFFF,
                           self.below(65536), field, 64, number, 0, self.pick(self.sources4), HOST4)
        body = self.pick((b"\1", b"\0", b"\x19", b"\x83", b"\x06")) * (4 * words)
        return self.spoiled(head + body + data, [0, 20, size] + [size + p for p in places])

    def ip6(self):
        """An IPv6 packet."""
        dice = self.random()
        many = 0 if dice < 0.25 else 1 + self.below(3) if dice < 0.8 else \
            4 + self.below(5) if dice < 0.92 else 14 + self.below(5) if dice < 0.99 else 40
        kinds = [self.pick(EXTENSIONS) for _ in range(many)]
        if many > 8 and self.random() < 0.7:        # else hardly one would get that far
            kinds = [DSTOPTS if k == FRAGMENT else k for k in kinds]
        if many and self.random() < 0.04:
            kinds[self.below(many)] = self.pick(NEARLY)
        first = self.random() < 0.08
        if first:                                   # a first fragment, that ends anywhere
            kinds.insert(self.below(min(len(kinds), 3) + 1), FRAGMENT)
        self.far = not first and self.random() < 0.015      # beyond the first buffer of a frame
        number, data, places = self.chain(kinds, self.upper(6), first)
        self.far = False
        length = len(data)
        if first or self.random() < 0.35:
            length = self.pick((0, self.near(places), self.near(places), self.near(places), 65535,
                                self.below(65536)))
        version = 6 if self.random() < 0.98 else self.below(16)
        head = struct.pack("!IHBB", version << 28, length & 0xFFFF, number, 64) \
            + self.pick(self.sources6) + HOST6
        return self.spoiled(head + data, [0, 40] + [40 + p for p in places])

    def tags(self):
        """802.1Q tags."""
        dice = self.random()
        many = 0 if dice < 0.8 else 1 + self.below(3) if dice < 0.93 else 4 + self.below(7) \
            if dice < 0.99 else 20
        return b"".join(struct.pack("!HH", self.pick(TPIDS), self.pick((0, 0, 5, 0xFFFF)))
                        for _ in range(many))

    def fresh(self):
        """A frame as built."""
        dice = self.random()
        if dice < 0.44:
            kind, data = 0x0800, self.ip4()
        elif dice < 0.97:
            kind, data = 0x86DD, self.ip6()
        else:
            kind, data = self.pick(KINDS), self.ip4()
        if self.random() < 0.005:
            kind ^= 0x0800 ^ 0x86DD         # one that says it were the other
        tags = self.tags()
        frame = MACS + tags + struct.pack("!H", kind) + data
        if self.random() < 0.01:
            return frame[:14 + self.below(len(tags) + 8)]
        return frame

    def frame(self):
        """A frame; every other one mutated. No shorter than an Ethernet header."""
        frame, mutate = self.fresh(), self.random()
        if mutate < 0.5:
            frame = self.mutated(frame)
        return frame[:FRAME_MAX].ljust(14, b"\0")

    # Changes without any plan. The first bytes matter most: half of the hits go there.

    def mutated(self, frame, start=12):
        """One to four changes behind `start`."""
        for _ in range(self.pick((1, 1, 1, 2, 3, 4))):
            span = len(frame) - start
            if span < 3:
                break
            at = start + self.below(min(span, 80) if self.random() < 0.5 else span)
            frame = self.pick(self.CHANGES)(self, frame, at)
        self.last = frame
        return frame

    def _flip(self, frame, at):
        return frame[:at] + bytes((frame[at] ^ 1 << self.below(8),)) + frame[at + 1:]

    def _set(self, frame, at):
        return frame[:at] + bytes((self.pick(BYTES),)) + frame[at + 1:]

    def _any(self, frame, at):
        return frame[:at] + bytes((self.below(256),)) + frame[at + 1:]

    def _word(self, frame, at):
        at &= ~1
        word = self.pick((0, 1, 20, 23, 24, 40, 0x2000, 0xFFFF, 8, len(frame) - at, len(frame) - 14,
                          25, 587))
        return frame[:at] + struct.pack("!H", word & 0xFFFF) + frame[at + 2:]

    def _insert(self, frame, at):
        return frame[:at] + bytes((self.pick(BYTES),)) * self.pick((1, 2, 4, 8)) + frame[at:]

    def _delete(self, frame, at):
        return frame[:at] + frame[at + self.pick((1, 2, 4, 8)):]

    def _repeat(self, frame, at):
        return frame[:at] + frame[max(at - self.pick((4, 8, 20)), 12):]

    def _cut(self, frame, at):
        return frame[:at]

    def _splice(self, frame, at):
        return frame[:at] + self.last[at:]

    CHANGES = (_flip, _flip, _set, _set, _any, _word, _word, _insert, _delete, _repeat, _cut,
               _splice)
