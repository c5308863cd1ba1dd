#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Three parsers, one answer: bpf/parse.h on the host, the program in the kernel, the reference.

The reference (reference.py) was written from the RFCs; the frames are random and half of them
mutated (generator.py). The program runs with and without multi-buffer support; of each frame its
verdict and every counter that moved are compared.

PACKETS=N of them (20,000); SEED=N repeats a run. What they disagree on is made small and printed as
a line for disagreements.txt, whose frames are compared each time.
"""
import collections
import fcntl
import ipaddress
import os
import pathlib
import random
import re
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/bpf")]
# pylint: disable=wrong-import-position
import reference  # noqa: E402
import tap  # noqa: E402
from generator import Generator  # noqa: E402

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
PACKETS = int(os.environ.get("PACKETS", "20000"))
BATCH = 2000
LINEAR_MAX = 3000               # longer frames are given to the multi-buffer program only
SHOWN, ROUNDS = 5, 100          # disagreements that are made small and printed; the effort for each
XDP = {"drop": 1, "pass": 2}
VERDICTS, FAMILIES = ("pass", "drop", "would_drop"), ("none", "ip4", "ip6")
REASONS = dict(re.findall(r"X\((\w+), (PASS|JUDGE|UNCLEAR), \"",
                          (ROOT / "include/smtpgate_abi.h").read_text()))
NAMES = list(REASONS)
NUMBERS = {name: number for number, name in enumerate([*NAMES, "tcp"])}

SLOTS = {25: 0, 465: 1, 587: 2, 2525: 9}
# Prefixes, and whether their time is over. A source of an ended one inside one that has not ended
# is listed.
ENTRIES = [(ipaddress.ip_network(text), ended) for text, ended in (
    ("198.51.100.0/24", False), ("198.51.100.128/26", True), ("203.0.113.64/26", True),
    ("203.0.113.66/32", False), ("10.0.0.0/9", False), ("192.0.2.77/32", False),
    ("2001:db8:a::/48", False), ("2001:db8:a:8000::/49", True), ("2001:db8:c::/64", True),
    ("2001:db8:c::5/128", False), ("2001:db8:d::40/122", False), ("fe80::/64", False))]


def sources(version):
    """The edges of each prefix, what lies beyond them, and forms of IPv4 addresses in IPv6."""
    found = set()
    for network, _ in ENTRIES:
        if network.version == version:
            for value in (int(network[0]) - 1, int(network[0]), int(network[-1]),
                          int(network[-1]) + 1):
                found.add(value.to_bytes(4 if version == 4 else 16, "big"))
        elif version == 6:
            raw = network[0].packed
            found |= {bytes(10) + b"\xff\xff" + raw, bytes(12) + raw, b"\x20\x02" + raw + bytes(10)}
    return sorted(found)


class Frames:
    """Frames to compare, and what the reference says of them."""

    def __init__(self, frames, gate):
        self.frames = frames
        self.packets = [reference.classify(f) for f in frames]
        self.answers = [gate.answer(p) for p in self.packets]


class Peer:
    """A process that takes many frames and answers with a fixed number of bytes for each."""

    def __init__(self, name, argv, size):
        self.name, self.size = name, size
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        fcntl.fcntl(self.process.stdin, fcntl.F_SETPIPE_SZ, 1 << 20)

    def send(self, data):
        """All of it."""
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def receive(self, count):
        """The answers to so many frames."""
        data = self.process.stdout.read(count * self.size)
        assert len(data) == count * self.size, f"{self.name} ended"
        return data

    def close(self):
        """Must end well: the sanitizers have their say then."""
        self.process.stdin.close()
        self.process.stdout.close()
        code = self.process.wait(20)
        assert code == 0, f"{self.name} ended with {code}"


def packed(frames):
    """Each with its length in front."""
    pack = struct.Struct("=I").pack
    return b"".join([part for frame in frames for part in (pack(len(frame)), frame)])


class Host(Peer):
    """bpf/parse.h on the host."""

    FORM = struct.Struct("=BBBBHH16s")      # struct answer of parse_host.c

    def __init__(self):
        super().__init__("parse.h", [str(ROOT / "build/parse_host")], self.FORM.size)

    @staticmethod
    def takes(_):
        """Any frame."""
        return True

    def ask(self, frames):
        """Hands them over."""
        self.send(struct.pack("=I", len(frames)) + packed(frames))

    def wanted(self, packet, _):
        """The reference's word in this form."""
        return self.FORM.pack(NUMBERS[packet.reason], FAMILIES.index(packet.family),
                              packet.source is not None, packet.syn, packet.port or 0, 0,
                              packet.source or b"")

    def words(self, record):
        """For people."""
        reason, family, has_source, syn, port, _, source = self.FORM.unpack(record)
        name = [*NAMES, "tcp"][reason]
        return f"{name} {FAMILIES[family]} source {source.hex() if has_source else 'none'}" \
            + (f" port {port} syn {syn}" if name == "tcp" else "")


class Kernel(Peer):
    """The program in the kernel."""

    FORM = struct.Struct("8B")              # struct batch_answer of progrun.c

    def __init__(self, frags):
        self.frags = frags
        super().__init__("kernel, frags" if frags else "kernel, linear",
                         [str(ROOT / "build/progrun")] + ["frags"] * frags, self.FORM.size)
        for port, slot in SLOTS.items():
            self.tell(f"port {port} {slot}")
        for network, ended in ENTRIES:
            self.tell(f"allow {network} {'-1' if ended else '0'}")
        self.known = {}

    def tell(self, line):
        """A command that must be obeyed."""
        self.send(line.encode() + b"\n")
        answer = self.process.stdout.readline()
        assert answer == b"ok\n", f"{line}: {answer}"

    def takes(self, frame):
        """What this kernel runs."""
        return len(frame) >= 14 and (self.frags or len(frame) <= LINEAR_MAX)

    def ask(self, frames):
        """Hands them over."""
        self.send(b"batch %d\n" % len(frames) + packed(frames))

    def wanted(self, _, answer):
        """The reference's word in this form."""
        if answer not in self.known:
            verdict, reason, family, slot, syn = answer
            self.known[answer] = self.FORM.pack(
                XDP[verdict], 1, NUMBERS[reason], VERDICTS.index(verdict), FAMILIES.index(family),
                slot is not None, slot or 0, slot is not None and syn)
        return self.known[answer]

    def words(self, record):
        """For people."""
        retval, reasons, reason, verdict, family, slots, slot, attempts = self.FORM.unpack(record)
        text = f"returned {retval}, {NAMES[reason]}/{VERDICTS[verdict]}/{FAMILIES[family]}"
        if slots:
            text += f", slot {slot}, {attempts} attempts"
        return text + (f", cells moved wrongly (bytes, or more than one): {reasons} {slots}"
                       if reasons != 1 or slots > 1 else "")


class Three:
    """All of them."""

    def __init__(self):
        self.gate = reference.Gate(SLOTS, ENTRIES)
        self.peers = [Host(), Kernel(False), Kernel(True)]

    def begin(self, frames):
        """Hands frames to the peers that take them."""
        for peer in self.peers:
            peer.ask([f for f in frames if peer.takes(f)])

    def finish(self, batch):
        """The frames of the batch that somebody sees otherwise: [(frame, what each says)]."""
        wrong = {}
        for peer in self.peers:
            mine = [i for i, frame in enumerate(batch.frames) if peer.takes(frame)]
            wanted = [peer.wanted(batch.packets[i], batch.answers[i]) for i in mine]
            got = peer.receive(len(mine))
            if got == b"".join(wanted):
                continue
            for place, i in enumerate(mine):
                record = got[place * peer.size:(place + 1) * peer.size]
                if record != wanted[place]:
                    wrong.setdefault(i, []).append(
                        f"{peer.name}: {peer.words(record)}; reference: "
                        f"{peer.words(wanted[place])}")
        return [(batch.frames[i], said) for i, said in sorted(wrong.items())]

    def compare(self, frames):
        """begin() and finish()."""
        self.begin(frames)
        return self.finish(Frames(frames, self.gate))

    def smaller(self, frame):
        """A frame that they disagree on as well, with less in it; as far as is cheap."""
        sizes = [2048, 256, 64, 16, 8, 4, 2, 1]
        for _ in range(ROUNDS):
            size = sizes[0]
            candidates = [frame[:at] + frame[at + size:]
                          for at in range(len(frame) - size, 13, -size)]
            candidates += [frame[:at] + bytes(size) + frame[at + size:]
                           for at in range(len(frame) - size, 11, -size)
                           if any(frame[at:at + size])]
            if still := self.compare(candidates[:1000]):
                frame = min((f for f, _ in still), key=lambda f: (len(f), len(f) - f.count(0)))
            elif sizes.pop(0) == 1:
                break
        return frame

    def report(self, wrong):
        """Fails, and says what to put down."""
        lines = [f"SEED={SEED}: {len(wrong)} frames are seen in different ways"]
        for frame, _ in sorted(wrong, key=lambda one: len(one[0]))[:SHOWN]:
            small = self.smaller(frame)
            (_, said), = self.compare([small])
            lines += said + [f"  for tests/bpf/disagreements.txt: {written(small, self.gate)}",
                             f"  was {shortened(frame)}"]
        raise AssertionError("\n".join(lines))

    def close(self):
        """Ends all."""
        for peer in self.peers:
            peer.close()


def shortened(frame):
    """HEX, or HEX+N: with so many zero bytes behind."""
    head = frame.rstrip(b"\0")
    zeros = len(frame) - len(head)
    return f"{head.hex()}+{zeros}" if zeros > 100 else frame.hex()


def restored(text):
    """The frame that was shortened()."""
    head, _, zeros = text.partition("+")
    return bytes.fromhex(head) + bytes(int(zeros or 0))


def written(frame, gate):
    """A line of disagreements.txt."""
    answer = gate.answer(reference.classify(frame))
    return f"{answer.reason} {answer.verdict} {shortened(frame)}"


TOGETHER = []


def together():
    """The three, started once."""
    if not TOGETHER:
        TOGETHER.append(Three())
    return TOGETHER[0]


@tap.test
def reasons():
    """the reference and the ABI agree on which reasons are unclear, and on the constants' names"""
    assert {n for n, of in REASONS.items() if of == "UNCLEAR"} == reference.UNCLEAR
    assert {n for n, of in REASONS.items() if of == "JUDGE"} == {"listed", "unlisted", "expired"}


@tap.test
def found_before():
    """what they once disagreed on, and what told broken parsers apart: as written down"""
    three, frames, wrong = together(), [], []
    lines = (ROOT / "tests/bpf/disagreements.txt").read_text(encoding="ascii").splitlines()
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        reason, verdict, frame = words[0], words[1], restored(words[2])
        frames.append(frame)
        answer = three.gate.answer(reference.classify(frame))
        if (answer.reason, answer.verdict) != (reason, verdict):
            wrong.append(f"line {number}: {reason} {verdict}, the reference says {answer}")
    assert frames and not wrong, "\n".join(wrong)
    if disagreed := three.compare(frames):
        raise AssertionError("\n".join(f"{shortened(f)}: {'; '.join(said)}"
                                       for f, said in disagreed))


@tap.test
def random_frames():
    """random and mutated frames: host, kernel (linear and multi-buffer) and reference agree"""
    print(f"# SEED={SEED} PACKETS={PACKETS}", flush=True)
    three, seen, wrong = together(), collections.Counter(), []
    made = Generator(random.Random(SEED), sources(4), sources(6), SLOTS)
    frames = [made.frame() for _ in range(min(BATCH, PACKETS))]
    left = PACKETS - len(frames)
    while frames and len(wrong) < 1000:
        three.begin(frames)
        batch = Frames(frames, three.gate)
        seen.update(batch.answers)
        frames = [made.frame() for _ in range(min(BATCH, left))]
        left -= len(frames)
        wrong += three.finish(batch)
    if wrong:
        three.report(wrong)
    assert sum(seen.values()) == PACKETS
    rare(seen)


def rare(seen):
    """The generator gets everywhere: no outcome is left to chance."""
    found = collections.Counter()
    for answer, count in seen.items():
        found[answer.reason, answer.family, answer.verdict] += count
    wanted = [(r, "none", "pass") for r in ("not_ip", "l2_cut")] + [("vlan_depth", "none", "drop")]
    for family in ("ip4", "ip6"):
        wanted += [(r, family, "pass") for r in ("other_protocol", "other_port", "later_fragment",
                                                 "listed")]
        wanted += [(r, family, "drop") for r in ("unlisted", "expired")]
        wanted += [(r, family, v) for r in ("chain_long", "chain_cut", "first_fragment", "tcp_cut")
                   for v in ("pass", "drop")]
        wanted.append(("ip_header", family, "drop"))
    wanted.append(("ip_header", "ip4", "pass"))
    for one in sorted(found):
        print("#", *one, found[one], flush=True)
    least = PACKETS / 2500 if PACKETS >= 200000 else 1 # of some there are a dozen in 20,000
    few = [one for one in wanted if found[one] < least]
    assert not few or PACKETS < 10000, f"hardly any: {few}"
    assert set(found) <= set(wanted), set(found) - set(wanted)


@tap.test
def ended_well():
    """nobody read beyond a frame, and nobody died"""
    together().close()


if __name__ == "__main__":
    tap.main()
