#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The decision table: packet -> reason, verdict and the one counter that moves, in the kernel.

Every row of PACKETS.md is a test named after it; what must come out is written by hand here.
Each packet is run from a listed and from an unlisted source, in a program loaded with and in one
loaded without multi-buffer support.

SMTPGATE_TRANSCRIPT=PREFIX records in PREFIX.frags and PREFIX.linear what the two were asked and
what they answered, to be replayed on another kernel.
"""
import ipaddress
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/bpf")]
import packets as p  # noqa: E402 pylint: disable=wrong-import-position
from tap import main, test  # noqa: E402 pylint: disable=wrong-import-position

ENFORCE, OFF, OBSERVE, PAUSED = 0, 1, 2, 3
SLOTS = {25: 0, 465: 1, 587: 2}
LISTED4, UNLISTED4 = "198.51.100.10", "203.0.113.7"
LISTED6, UNLISTED6 = "2001:db8:a::10", "2001:db8:b::7"
LISTED, UNLISTED = (LISTED4, LISTED6), (UNLISTED4, UNLISTED6)
PAGE_MAX = 3000  # longer frames are given to the multi-buffer program only
SMTP = p.tcp(25)
FORGED = p.tcp(25) + p.tcp(25)


class Gate:
    """A running progrun."""

    def __init__(self, frags, tries=False):
        program = os.environ.get("SMTPGATE_PROGRUN", str(ROOT / "build/progrun"))
        self.frags, self.runs, self.guarded = frags, 0, set()
        record = os.environ.get("SMTPGATE_TRANSCRIPT")
        self.record = None
        if record and not tries:
            self.record = open(  # pylint: disable=consider-using-with
                record + (".frags" if frags else ".linear"), "w", encoding="ascii", buffering=1)
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [program] + ["frags"] * frags + ["tries"] * tries, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, line):
        """One command, one answer."""
        self.process.stdin.write(line + "\n")
        answer = self.process.stdout.readline().rstrip("\n")
        assert answer, "progrun ended"
        if self.record:
            self.record.write(f"> {line}\n< {answer}\n")
        return answer

    def tell(self, line):
        """A command that must be obeyed."""
        answer = self.ask(line)
        assert answer == "ok", f"{line}: {answer}"

    def run(self, frame):
        """Returns the answer's words."""
        self.runs += 1
        return self.ask("run " + frame.hex())

    def guard(self, port, slot):
        """slot None: no longer."""
        self.tell(f"port {port} {'off' if slot is None else slot}")
        (self.guarded.discard if slot is None else self.guarded.add)(port)

    def reset(self):
        """Enforcing on the usual ports, one address of each family listed."""
        self.tell(f"mode {ENFORCE}")
        self.tell("abi 1")
        for port in self.guarded - set(SLOTS):
            self.guard(port, None)
        for port in set(SLOTS) - self.guarded:
            self.guard(port, SLOTS[port])
        self.tell("clear")
        self.tell(f"allow {LISTED4}/32")
        self.tell(f"allow {LISTED6}/128")


GATES = []


def setup():
    """Before each test."""
    if not GATES:
        GATES.extend([Gate(False), Gate(True), Gate(True, tries=True)])
    for gate in GATES:
        gate.reset()


def expect(frame, want, gates=None):
    """want is the whole answer, with {n} for the frame's length."""
    want = want.replace("{n}", str(len(frame)))
    for gate in gates or GATES:
        if len(frame) > PAGE_MAX and not gate.frags:
            continue
        got = gate.run(frame)
        assert got == want, (f"{'with' if gate.frags else 'without'} frags: want {want}\n"
                             f"got  {got}\nframe {frame[:400].hex()} ({len(frame)} bytes)")


def answer(reason, verdict, family, port=None, syn=True):
    """What progrun prints when one packet was counted so."""
    text = f"{'DROP' if verdict == 'drop' else 'PASS'} {reason}/{verdict}/{family}=1/{{n}}"
    if port is not None:
        text += f" port {SLOTS[port]}/{verdict}/{family}=1/{{n}}/{int(syn)}"
    return text


# The table's words. make(source) builds the frame; `of` is the family, 4 or 6.

def both(of):
    """Listed and unlisted source, and the family's name in counters."""
    return LISTED[of // 6], UNLISTED[of // 6], f"ip{of}"


def by_port(of, make, port=25, syn=True):
    """Seen as TCP to a guarded port: the source decides."""
    listed, unlisted, family = both(of)
    expect(make(listed), answer("listed", "pass", family, port, syn))
    expect(make(unlisted), answer("unlisted", "drop", family, port, syn))


def passes(of, make, reason):
    """Not the gate's business. of 0: not known to be IP."""
    for source in both(of or 4)[:2]:
        expect(make(source), answer(reason, "pass", both(of)[2] if of else "none"))


def unclear(of, make, reason, listed="pass"):
    """Dropped from an unlisted source; listed="drop": the source cannot be read."""
    from_listed, unlisted, family = both(of or 4)
    family = family if of else "none"
    expect(make(from_listed), answer(reason, listed, family))
    expect(make(unlisted), answer(reason, "drop", family))


def smtp4(src, **fields):
    """A SYN to port 25 over IPv4; fields are the IPv4 header's."""
    return p.frame4(src, SMTP, **fields)


def smtp6(headers, **fields):
    """make() for a SYN to port 25 behind these extension headers."""
    return lambda src: p.frame6(src, headers, SMTP, **fields)


# --- Link layer

@test
def not_ip():
    """link: neither IPv4 nor IPv6 passes, whatever follows the type"""
    for kind in (p.ARP, 0x88CC, 0x888E, 0x8863, 0x8864, 0x8847, 0x8848, 0x88E5, 0x9100, 0x22F0,
                 0x0801, 0x07FF, 0x86DC, 0x86DE, 0x0008, 0xDD86, 0x0000, 0x0028, 0x05DC, 0xFFFF):
        passes(0, lambda src, k=kind: p.eth(k, p.ip4(src, SMTP)), "not_ip")
        passes(0, lambda src, k=kind: p.eth(k, b""), "not_ip")
        passes(0, lambda src, k=kind: p.eth(k, p.ip4(src, SMTP), [(p.VLAN, 7)] * 8), "not_ip")


@test
def vlan_tags():
    """link: 1 to 8 tags, any mix, any VID: as inside"""
    tags = [(p.VLAN, 0), (p.QINQ, 100), (p.VLAN, 4095), (p.VLAN, 0xF001), (p.QINQ, 0),
            (p.QINQ, 0xFFFF), (p.VLAN, 1), (p.VLAN, 0x1000)]
    for some in [tags[:n] for n in range(1, 9)] + [[(p.VLAN, 0)] * n for n in range(1, 9)] \
            + [[(p.QINQ, 0)] * 8]:
        by_port(4, lambda src, t=some: smtp4(src, tags=t))
        by_port(6, smtp6([], tags=some))
        by_port(6, smtp6([p.hopopts(), p.dstopts(24)], tags=some))
        passes(4, lambda src, t=some: p.frame4(src, p.tcp(22), tags=t), "other_port")
        passes(4, lambda src, t=some: p.frame4(src, p.udp(25), proto=p.UDP, tags=t),
               "other_protocol")
        passes(0, lambda src, t=some: p.eth(p.ARP, bytes(28), t), "not_ip")


@test
def vlan_depth():
    """link: more tags than are walked: dropped, listed or not"""
    for count in (9, 10, 16, 64, 300):
        for tpid in (p.VLAN, p.QINQ):
            tags = [(tpid, 0)] * count
            for frame in (smtp4(LISTED4, tags=tags), smtp4(UNLISTED4, tags=tags),
                          smtp6([], tags=tags)(LISTED6), smtp6([], tags=tags)(UNLISTED6),
                          p.eth(p.ARP, bytes(28), tags), p.eth(p.VLAN, b"", tags[1:])):
                expect(frame, answer("vlan_depth", "drop", "none"))


@test
def link_cut():
    """link: a tag cut short passes"""
    for count in range(1, 9):
        whole = p.eth(0, b"", [(p.VLAN, 5)] * count)
        for cut in (1, 2, 3, 4):
            if len(whole) - cut >= 14:  # the kernel runs no shorter frame
                passes(0, lambda src, f=whole[:-cut]: f, "l2_cut")


@test
def any_mac():
    """link: any destination and source MAC"""
    for mac in (b"\xff" * 6, b"\1\0\x5e\0\0\1", b"\x33\x33\0\0\0\1", bytes(6), b"\2\4\6\x08\0\x0a"):
        by_port(4, lambda src, m=mac: p.eth(p.IP4, p.ip4(src, SMTP), dst=m, src=m))
        by_port(6, lambda src, m=mac: p.eth(p.IP6, p.ip6(src, SMTP), dst=m, src=m))


# --- IPv4

@test
def tcp4():
    """IPv4: TCP to a guarded port: any flags, data, checksum, data offset"""
    for flags in range(256):
        by_port(4, lambda src, f=flags: p.frame4(src, p.tcp(25, flags=f)),
                syn=flags & 0x12 == 0x02)
    for port in SLOTS:
        by_port(4, lambda src, o=port: p.frame4(src, p.tcp(o)), port)
    for offset in range(16):
        by_port(4, lambda src, o=offset: p.frame4(src, p.tcp(25, offset=o)))
    for check in (0, 1, 0xFFFF):
        by_port(4, lambda src, c=check: p.frame4(src, p.tcp(25, check=c)))
    for size in (1, 6, 100, 1460):
        by_port(4, lambda src, n=size: p.frame4(src, p.tcp(25, data=bytes(n))))
    fast_open = bytes([34, 10]) + bytes(8) + b"\1\1"
    multipath = bytes([30, 12, 0, 1]) + bytes(8)
    for opts in (fast_open, multipath):
        by_port(4, lambda src, o=opts: p.frame4(src, p.tcp(25, offset=8, data=o + b"EHLO x\r\n")))


@test
def other_port4():
    """IPv4: other destination ports pass, also with a guarded source port"""
    for port in (0, 1, 22, 24, 26, 80, 464, 466, 586, 588, 0x1900, 25 + 256, 25 + 32768, 65535):
        passes(4, lambda src, o=port: p.frame4(src, p.tcp(o)), "other_port")
        for source in SLOTS:
            passes(4, lambda src, o=port, s=source:
                   p.frame4(src, p.tcp(o, sport=s, flags=p.SYN | p.ACK)), "other_port")
    by_port(4, lambda src: p.frame4(src, p.tcp(25, sport=25)))


@test
def options4():
    """IPv4: header length 24 to 60: the ports lie behind the options"""
    for words in range(1, 11):
        for body in (b"\1" * 4 * words, p.tcp(22)[:4] * words, p.tcp(25)[:4] * words,
                     b"\x83" + bytes([4 * words]) + bytes(4 * words - 2)):
            by_port(4, lambda src, o=body: smtp4(src, options=o))
            passes(4, lambda src, o=body: p.frame4(src, p.tcp(22), options=o), "other_port")


@test
def bad_header4():
    """IPv4: header length below 20: judged by the source"""
    for ihl in range(5):
        unclear(4, lambda src, i=ihl: smtp4(src, ihl=i), "ip_header")
        unclear(4, lambda src, i=ihl: p.frame4(src, p.udp(53), proto=p.UDP, ihl=i), "ip_header")
        unclear(4, lambda src, i=ihl: smtp4(src, ihl=i, frag=1), "ip_header")


@test
def bad_version4():
    """IPv4: version not 4: dropped, there is no source to believe in"""
    for version in set(range(16)) - {4}:
        unclear(4, lambda src, v=version: smtp4(src, version=v), "ip_header", "drop")
    unclear(4, lambda src: p.eth(p.IP4, p.ip6(LISTED6, SMTP)), "ip_header", "drop")


@test
def cut_header4():
    """IPv4: header cut short: dropped without a source, else judged by it"""
    for size in range(20):
        unclear(4, lambda src, n=size: smtp4(src)[:14 + n], "ip_header", "drop")
    for size in range(20, 60):
        unclear(4, lambda src, n=size: smtp4(src, options=b"\1" * 40)[:14 + n], "ip_header")


@test
def first_fragment4():
    """IPv4: first fragment with 4 or more bytes of TCP: by port"""
    for size in (4, 5, 8, 12, 13):
        by_port(4, lambda src, n=size: p.frame4(src, SMTP[:n], frag=p.MF), syn=False)
        passes(4, lambda src, n=size: p.frame4(src, p.tcp(22)[:n], frag=p.MF), "other_port")
    for size in (14, 16, 20):
        by_port(4, lambda src, n=size: p.frame4(src, SMTP[:n], frag=p.MF))
    for bits in (p.MF | p.DF, p.MF | p.RESERVED, p.MF | p.DF | p.RESERVED):
        by_port(4, lambda src, b=bits: smtp4(src, frag=b))
    by_port(4, lambda src: smtp4(src, frag=p.MF, options=b"\1" * 40))


@test
def not_fragmented4():
    """IPv4: DF and the reserved bit alone make no fragment"""
    for bits in (p.DF, p.RESERVED, p.DF | p.RESERVED):
        by_port(4, lambda src, b=bits: smtp4(src, frag=b))
        passes(4, lambda src, b=bits: p.frame4(src, p.tcp(22), frag=b), "other_port")


@test
def tiny_fragment4():
    """IPv4: first fragment with fewer than 4 bytes of TCP: judged by the source, trailer unread"""
    for size in range(4):
        for bits in (p.MF, p.MF | p.DF | p.RESERVED):
            for tail in (b"", bytes(40), p.tcp(22)[size:], SMTP[size:]):
                for opts in (b"", b"\1" * 40):
                    unclear(4, lambda src, n=size, b=bits, t=tail, o=opts: p.eth(
                        p.IP4, p.ip4(src, p.tcp(22)[:n], frag=b, options=o) + t), "first_fragment")
    for total in (0, 1, 19, 20, 23):
        unclear(4, lambda src, t=total: p.frame4(src, p.tcp(22), frag=p.MF, total=t),
                "first_fragment")
    # the length claims more than the frame has
    unclear(4, lambda src: p.frame4(src, SMTP[:3], frag=p.MF, total=1500), "first_fragment")
    by_port(4, lambda src: p.frame4(src, SMTP[:4], frag=p.MF, total=65535), syn=False)
    # the flags lie in the trailer: not read
    by_port(4, lambda src: p.frame4(src, SMTP, frag=p.MF, total=20 + 13), syn=False)


@test
def cut_tcp4():
    """IPv4: TCP cut before the ports: judged by the source"""
    for size in range(4):
        unclear(4, lambda src, n=size: p.frame4(src, SMTP[:n]), "tcp_cut")
        unclear(4, lambda src, n=size: p.frame4(src, SMTP[:n], total=1500), "tcp_cut")
    for size in range(4, 20):
        by_port(4, lambda src, n=size: p.frame4(src, SMTP[:n]), syn=size > 13)


@test
def later_fragment4():
    """IPv4: a later fragment passes, whatever its bytes look like"""
    for offset in (1, 2, 3, 0x0FFF, 0x1000, 0x1FFF):
        for bits in (0, p.MF, p.DF, p.RESERVED, p.MF | p.RESERVED):
            passes(4, lambda src, f=offset | bits: smtp4(src, frag=f), "later_fragment")
        passes(4, lambda src, f=offset: p.frame4(src, b"", frag=f), "later_fragment")
        passes(4, lambda src, f=offset: p.frame4(src, p.udp(25), proto=p.UDP, frag=f),
               "later_fragment")
        passes(4, lambda src, f=offset: p.frame4(src, SMTP, proto=p.AH, frag=f), "later_fragment")


def through4(headers, payload, proto=p.TCP, frag=0, cut=None, trailer=b""):
    """make() for IPv4 with authentication headers."""
    first, data = p.chain(headers, proto, payload)
    return lambda src: p.eth(p.IP4, p.ip4(src, data[:cut], first, frag=frag) + trailer)


@test
def ah4():
    """IPv4: AH before TCP: by port"""
    for size in (8, 12, 16, 24, 28, 32, 1028):
        by_port(4, through4([p.ah(size)], SMTP))
        passes(4, through4([p.ah(size)], p.tcp(22)), "other_port")
        passes(4, through4([p.ah(size)], p.udp(25), p.UDP), "other_protocol")
        unclear(4, through4([p.ah(size)], SMTP, cut=size - 1), "chain_cut")
        unclear(4, through4([p.ah(size)], SMTP, cut=size), "tcp_cut")
        unclear(4, through4([p.ah(size)], SMTP, cut=size + 3), "tcp_cut")
        by_port(4, through4([p.ah(size)], SMTP, cut=size + 4), syn=False)
        by_port(4, through4([p.ah(size)], SMTP, frag=p.MF))
        for cut in (1, 7, size - 1, size, size + 3):
            unclear(4, through4([p.ah(size)], p.tcp(22), cut=cut, frag=p.MF, trailer=FORGED),
                    "first_fragment")
    for count in (2, 8, 16):
        by_port(4, through4([p.ah()] * count, SMTP))
    for count in (17, 18, 40):
        unclear(4, through4([p.ah()] * count, SMTP), "chain_long")
    for inner in (p.hopopts(), p.dstopts(), p.routing(), p.fragment()):  # IPv6 only
        passes(4, through4([inner], SMTP), "other_protocol")
        passes(4, through4([p.ah(), inner], SMTP), "other_protocol")


@test
def other_protocol4():
    """IPv4: any protocol but TCP passes, also first fragments, also quoting port 25"""
    for proto in set(range(256)) - {p.TCP, p.AH}:
        passes(4, lambda src, o=proto: smtp4(src, proto=o), "other_protocol")
    for inner in (p.ip4(UNLISTED4, SMTP), p.ip6(UNLISTED6, SMTP)):
        for proto in (4, 41, 47, p.ESP):
            passes(4, lambda src, i=inner, o=proto: p.frame4(src, i, proto=o), "other_protocol")
    passes(4, lambda src: p.frame4(src, p.udp(25), proto=p.UDP, frag=p.MF), "other_protocol")
    quote = b"\3\4\0\0\0\0\5\xdc" + p.ip4(p.HOST4, p.tcp(25))[:28]  # "fragmentation needed"
    passes(4, lambda src: p.frame4(src, quote, proto=p.ICMP), "other_protocol")
    passes(4, lambda src: p.frame4("0.0.0.0", p.udp(67, 68), proto=p.UDP, dst="255.255.255.255"),
           "other_protocol")


@test
def lengths4():
    """IPv4: trailing bytes and a lying total length: by the port of the header"""
    for tail in (b"\0", bytes(18), p.tcp(22), FORGED):
        by_port(4, lambda src, t=tail: smtp4(src) + t)
        passes(4, lambda src, t=tail: p.frame4(src, p.tcp(22)) + t, "other_port")
    for total in (0, 1, 19, 20, 21, 23, 24, 39, 41, 1500, 65535):
        by_port(4, lambda src, t=total: smtp4(src, total=t))
        passes(4, lambda src, t=total: p.frame4(src, p.tcp(22), total=t), "other_port")


@test
def sources4():
    """IPv4: no special sources: any is looked up like any"""
    for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", p.HOST4,
                   "169.254.1.1"):
        frame = smtp4(source)
        expect(frame, answer("unlisted", "drop", "ip4", 25))
        for gate in GATES:
            gate.tell(f"allow {source}/32")
        expect(frame, answer("listed", "pass", "ip4", 25))
    for host in ("255.255.255.255", "224.0.0.1", "0.0.0.0"):
        by_port(4, lambda src, d=host: smtp4(src, dst=d))


# --- IPv6

CHAINS = (
    [], [p.hopopts()], [p.dstopts()], [p.ah()], [p.fragment()], [p.router_alert()],
    *[[p.routing(kind)] for kind in (0, 1, 2, 3, 4, 5, 6, 253, 254, 255)],
    [p.routing(0, 24, 1)], [p.routing(4, 40, 1)], [p.routing(2, 24, 1)],
    [p.hopopts(), p.dstopts(), p.routing(), p.fragment(), p.ah(), p.dstopts()],
    [p.ah(), p.fragment(), p.routing(), p.dstopts(), p.hopopts()],
    [p.fragment(), p.fragment()], [p.dstopts(), p.hopopts()], [p.routing()] * 8,
    [p.dstopts()] * 8, [p.hopopts()] + [p.dstopts()] * 7, [p.hopopts()] + [p.dstopts()] * 15,
    [p.ah()] * 16, [p.fragment()] * 16, [p.dstopts(2048)], [p.hopopts(1024)], [p.hopopts(264)],
    [p.routing(0, 2048)], [p.dstopts(256)], [p.dstopts(248)] * 8, [p.ah(1028)] * 2, [p.ah(12)],
    [p.ah(8)], [p.dstopts(2048), p.fragment(reserved=255), p.ah(24)], [p.fragment(reserved=1)],
)


@test
def tcp6():
    """IPv6: TCP without extension headers"""
    for flags in range(256):
        by_port(6, lambda src, f=flags: p.frame6(src, [], p.tcp(25, flags=f)),
                syn=flags & 0x12 == 0x02)
    for port in SLOTS:
        by_port(6, lambda src, o=port: p.frame6(src, [], p.tcp(o)), port)
    for port in (0, 22, 24, 26, 464, 466, 586, 588, 0x1900, 65535):
        passes(6, lambda src, o=port: p.frame6(src, [], p.tcp(o, sport=25, flags=p.ACK)),
               "other_port")


@test
def chains6():
    """IPv6: TCP behind chains of extension headers: by port"""
    for headers in CHAINS:
        by_port(6, smtp6(headers))
        passes(6, lambda src, h=headers: p.frame6(src, h, p.tcp(26)), "other_port")
        passes(6, lambda src, h=headers: p.frame6(src, h, p.udp(25), p.UDP), "other_protocol")
        passes(6, lambda src, h=headers: p.frame6(src, h, SMTP, p.NONE), "other_protocol")


@test
def chain_long6():
    """IPv6: more extension headers than are walked: judged by the source"""
    for count in (17, 18, 30, 100):
        for header in (p.dstopts(), p.hopopts(), p.routing(), p.ah(), p.fragment()):
            unclear(6, smtp6([header] * count), "chain_long")
    unclear(6, lambda src: p.frame6(src, [p.dstopts()] * 17, p.udp(53), p.UDP), "chain_long")
    unclear(6, smtp6([p.fragment(more=True)] + [p.dstopts()] * 16), "chain_long")


@test
def chain_cut6():
    """IPv6: a chain or TCP cut by the end of the frame: judged by the source"""
    for header, size in ((p.dstopts(), 8), (p.hopopts(), 8), (p.dstopts(2048), 2048),
                         (p.routing(), 8), (p.ah(24), 24), (p.ah(28), 28), (p.fragment(), 8)):
        for cut in {c for c in (0, 1, 2, 7, 8, 9, size - 1) if c < size}:
            unclear(6, smtp6([header], cut=cut), "chain_cut")
            unclear(6, smtp6([header], cut=cut, length=1400), "chain_cut")
        for cut in range(size, size + 4):
            unclear(6, smtp6([header], cut=cut), "tcp_cut")
        by_port(6, smtp6([header], cut=size + 4), syn=False)
        by_port(6, smtp6([header], cut=size + 13), syn=False)
        by_port(6, smtp6([header], cut=size + 14))
    for count in (2, 8, 15, 16):
        unclear(6, smtp6([p.dstopts()] * count, cut=8 * count - 1), "chain_cut")
        unclear(6, smtp6([p.dstopts()] * count, cut=8 * count - 8), "chain_cut")
    for cut in range(4):
        unclear(6, smtp6([], cut=cut), "tcp_cut")


@test
def bad_header6():
    """IPv6: fixed header cut or version not 6: dropped, there is no source to believe in"""
    for size in range(40):
        unclear(6, lambda src, n=size: smtp6([])(src)[:14 + n], "ip_header", "drop")
    for version in set(range(16)) - {6}:
        unclear(6, smtp6([], version=version), "ip_header", "drop")
    unclear(6, lambda src: p.eth(p.IP6, p.ip4(LISTED4, SMTP + bytes(40))), "ip_header", "drop")


@test
def other_protocol6():
    """IPv6: any other upper layer passes; a payload that only looks like a header is not walked"""
    walked = {p.HOPOPTS, p.TCP, p.ROUTING, p.FRAGMENT, p.AH, p.DSTOPTS}
    fake = p.chain([p.dstopts()], p.TCP, SMTP)[1]
    for proto in set(range(256)) - walked:
        for payload in (SMTP, fake, b""):
            for headers in ([], [p.hopopts()], [p.dstopts(), p.fragment()]):
                passes(6, lambda src, o=proto, d=payload, h=headers: p.frame6(src, h, d, o),
                       "other_protocol")


@test
def control6():
    """IPv6: neighbour discovery, MLD behind router alert, packet too big: pass"""
    for kind in (133, 134, 135, 136, 137):
        passes(6, lambda src, k=kind: p.frame6(src, [], bytes([k, 0]) + bytes(22), p.ICMP6),
               "other_protocol")
    for kind in (130, 131, 132, 143):
        passes(6, lambda src, k=kind: p.frame6(src, [p.router_alert()],
                                               bytes([k, 0]) + bytes(22), p.ICMP6),
               "other_protocol")
    quote = b"\2\0\0\0\0\0\5\0" + p.ip6(p.HOST6, SMTP)
    passes(6, lambda src: p.frame6(src, [], quote, p.ICMP6), "other_protocol")
    passes(6, lambda src: p.frame6(src, [], p.udp(546, 547), p.UDP), "other_protocol")


BEFORE = ([], [p.hopopts()], [p.dstopts(), p.routing()], [p.ah()], [p.fragment()])
WITHIN = ([], [p.dstopts()], [p.dstopts(64), p.ah()], [p.fragment(), p.dstopts()],
          [p.fragment(more=True)])


@test
def first_fragment6():
    """IPv6: first fragment whose chain ends in TCP with its 4 port bytes: by port"""
    for before in BEFORE:
        for within in WITHIN:
            headers = before + [p.fragment(more=True)] + within
            by_port(6, smtp6(headers))
            passes(6, lambda src, h=headers: p.frame6(src, h, p.tcp(22)), "other_port")
            passes(6, lambda src, h=headers: p.frame6(src, h, p.udp(25), p.UDP), "other_protocol")
            size = len(p.chain(headers, p.TCP, b"")[1])
            by_port(6, smtp6(headers, cut=size + 4), syn=False)
            by_port(6, smtp6(headers, cut=size + 4, trailer=FORGED), syn=False)
            by_port(6, smtp6(headers, cut=size + 4, length=65535), syn=False)
            by_port(6, smtp6(headers, cut=size + 8, trailer=bytes(12)), syn=False)


@test
def tiny_fragment6():
    """IPv6: first fragment not complete up to the ports: judged by the source, trailer unread"""
    other = p.tcp(22) + p.tcp(22)
    for before in BEFORE:
        for within in WITHIN:
            headers = before + [p.fragment(more=True)] + within
            start = len(p.chain(before + [p.fragment(more=True)], p.TCP, b"")[1])
            size = len(p.chain(headers, p.TCP, b"")[1])
            for cut in range(start, size + 4):
                for tail in (b"", other, FORGED):
                    unclear(6, smtp6(headers, cut=cut, trailer=tail), "first_fragment")
                # the trailer completes it, to a packet for another port or of another protocol
                for proto, upper in ((p.TCP, p.tcp(22)), (p.UDP, p.udp(25))):
                    whole = p.chain(headers, proto, upper)[1]
                    if proto == p.UDP and cut >= size:
                        continue
                    unclear(6, lambda src, h=headers, c=cut, d=upper, o=proto, w=whole:
                            p.frame6(src, h, d, o, cut=c, trailer=w[c:]), "first_fragment")
    for length in (0, 1, 7, 8, 11):
        unclear(6, smtp6([p.fragment(more=True)], length=length), "first_fragment")
    for length in (0, 1, 7):  # not even what protocol it is
        unclear(6, lambda src, n=length: p.frame6(src, [p.fragment(more=True)], p.udp(25), p.UDP,
                                                  length=n), "first_fragment")
    # beyond the first fragment's end: a fragment header that would make it a harmless later one
    nested = [p.fragment(more=True), p.fragment(offset=1)]
    unclear(6, smtp6(nested, length=8), "first_fragment")
    unclear(6, smtp6(nested, length=15), "first_fragment")
    unclear(6, smtp6([p.hopopts(), p.fragment(more=True), p.dstopts()], length=0),
            "first_fragment")


@test
def atomic_fragment6():
    """IPv6: an atomic fragment is no fragment; lengths do not end it"""
    for length in (0, 8, 20, 28, 65535):
        by_port(6, smtp6([p.fragment()], length=length))
    for bits in (0, 1, 2, 3):  # the reserved two bits are ignored
        header = (p.FRAGMENT, lambda following, b=bits: bytes([following, 0, 0, b << 1]) + bytes(4))
        by_port(6, smtp6([header]))


@test
def later_fragment6():
    """IPv6: a later fragment passes, whatever its bytes look like"""
    for offset in (1, 2, 0x10, 0x1000, 0x1FFF):
        for more in (False, True):
            for before in BEFORE:
                headers = before + [p.fragment(offset, more)]
                passes(6, smtp6(headers), "later_fragment")
                passes(6, lambda src, h=headers: p.frame6(src, h, b""), "later_fragment")
                passes(6, smtp6(headers + [p.dstopts()] * 20), "later_fragment")
    passes(6, smtp6([p.fragment(more=True), p.fragment(offset=1)]), "later_fragment")


@test
def lengths6():
    """IPv6: payload length 0 with hop-by-hop, lying lengths, trailers: by the port of the header"""
    for headers in ([], [p.hopopts()], [p.hopopts(), p.dstopts()], [p.hopopts(2048)]):
        for length in (0, 1, 8, 20, 65535):
            by_port(6, smtp6(headers, length=length))
            passes(6, lambda src, h=headers, n=length: p.frame6(src, h, p.tcp(22), length=n),
                   "other_port")
        for tail in (b"\0", bytes(40), p.tcp(22), FORGED):
            by_port(6, smtp6(headers, trailer=tail))
            passes(6, lambda src, h=headers, t=tail: p.frame6(src, h, p.tcp(22), trailer=t),
                   "other_port")
    jumbo = (p.HOPOPTS, lambda following: bytes([following, 0, 0xC2, 4, 0, 1, 0, 0]))
    by_port(6, smtp6([jumbo], length=0))


@test
def mobility6():
    """IPv6: Mobility, HIP, Shim6, experimental headers before TCP: not walked, as in Linux"""
    for number in (135, 139, 140, 253, 254):
        header = (number, lambda following: bytes([following, 0, 1, 4, 0, 0]) + b"\0\0")
        for before in ([], [p.hopopts()], [p.dstopts()]):
            passes(6, smtp6(before + [header]), "other_protocol")


@test
def embedded_ip4():
    """IPv6: forms of a listed IPv4 address are IPv6 sources, and unlisted"""
    raw = ipaddress.IPv4Address(LISTED4).packed
    for head, tail in ((bytes(10) + b"\xff\xff", b""), (bytes(12), b""),
                       (b"\x00\x64\xff\x9b" + bytes(8), b""), (b"\x20\x02", bytes(10)),
                       (b"", bytes(12))):
        source = str(ipaddress.IPv6Address(head + raw + tail))
        expect(smtp6([])(source), answer("unlisted", "drop", "ip6", 25))
        expect(smtp6([p.dstopts()])(source), answer("unlisted", "drop", "ip6", 25))


@test
def families_apart():
    """a list of one family says nothing about the other"""
    for gate in GATES:
        gate.tell("clear")
        gate.tell("allow 0.0.0.0/0")
    expect(smtp4(UNLISTED4), answer("listed", "pass", "ip4", 25))
    for source in (LISTED6, "::", "::ffff:198.51.100.10"):
        expect(smtp6([])(source), answer("unlisted", "drop", "ip6", 25))
    for gate in GATES:
        gate.tell("clear")
        gate.tell("allow ::/0")
    expect(smtp6([])(UNLISTED6), answer("listed", "pass", "ip6", 25))
    expect(smtp4(LISTED4), answer("unlisted", "drop", "ip4", 25))


# --- Shapes of the buffer

@test
def beyond_first_buffer():
    """buffer: headers beyond the first buffer are judged"""
    for headers in ([p.hopopts(2048), p.dstopts(2048), p.dstopts(2048)], [p.dstopts(2048)] * 16,
                    [p.hopopts(2048)] * 4 + [p.ah(1028), p.fragment()] * 2):
        by_port(6, smtp6(headers))
        passes(6, lambda src, h=headers: p.frame6(src, h, p.tcp(22)), "other_port")
        passes(6, lambda src, h=headers: p.frame6(src, h, p.udp(25), p.UDP), "other_protocol")
        size = len(p.chain(headers, p.TCP, b"")[1])
        unclear(6, smtp6(headers, cut=size - 1), "chain_cut")
        unclear(6, smtp6(headers, cut=size + 3), "tcp_cut")
        first = [p.fragment(more=True)] + headers[:15]
        size = len(p.chain(first, p.TCP, b"")[1])
        by_port(6, smtp6(first))
        unclear(6, smtp6(first, cut=size + 3, trailer=FORGED), "first_fragment")
        passes(6, smtp6(headers[:15] + [p.fragment(offset=1)]), "later_fragment")
    unclear(6, smtp6([p.dstopts(2048)] * 17), "chain_long")


@test
def across_buffers():
    """buffer: headers that lie across the end of the first buffer are judged"""
    for words in range(436, 446):  # where the first buffer ends depends on the kernel: try around
        for size in range(8 * words - 96, 8 * words, 8):
            parts = [p.dstopts(2048), p.dstopts(size - 2048)]
            by_port(6, smtp6(parts))
            by_port(6, smtp6(parts, tags=[(p.VLAN, 0)]))
            passes(6, lambda src, h=parts: p.frame6(src, h, p.tcp(22)), "other_port")
            by_port(6, smtp6(parts + [p.ah(12)]))


@test
def jumbo_frames():
    """buffer: frames of 9000 and 60000 bytes; bytes are counted beyond the first buffer"""
    for size in (3400, 4096, 8946, 60000):
        data = bytes(size)
        by_port(4, lambda src, d=data: p.frame4(src, p.tcp(25, data=d)))
        by_port(6, lambda src, d=data: p.frame6(src, [], p.tcp(25, data=d)))
        passes(4, lambda src, d=data: p.frame4(src, p.udp(25, data=d), proto=p.UDP),
               "other_protocol")
        passes(0, lambda src, d=data: p.eth(p.ARP, d), "not_ip")
        passes(4, lambda src, d=data: p.frame4(src, d, frag=2), "later_fragment")
        unclear(0, lambda src, d=data: p.eth(p.IP4, d, [(p.VLAN, 0)] * 9), "vlan_depth", "drop")


# --- Modes, ports, entries

OF_EVERY_CLASS = (
    # frame from an unlisted source, reason, family, guarded port
    (smtp4(UNLISTED4), "unlisted", "ip4", 25),
    (smtp6([])(UNLISTED6), "unlisted", "ip6", 25),
    (smtp4(UNLISTED4, tags=[(p.VLAN, 0)] * 9), "vlan_depth", "none", None),
    (smtp4(UNLISTED4, ihl=4), "ip_header", "ip4", None),
    (smtp6([])(UNLISTED6)[:40], "ip_header", "ip6", None),
    (smtp6([p.dstopts()] * 17)(UNLISTED6), "chain_long", "ip6", None),
    (smtp6([p.dstopts(16)], cut=9)(UNLISTED6), "chain_cut", "ip6", None),
    (p.frame4(UNLISTED4, SMTP[:3], frag=p.MF), "first_fragment", "ip4", None),
    (smtp6([p.fragment(more=True)], cut=8)(UNLISTED6), "first_fragment", "ip6", None),
    (p.frame4(UNLISTED4, SMTP[:3]), "tcp_cut", "ip4", None),
    (smtp6([], cut=2)(UNLISTED6), "tcp_cut", "ip6", None),
)
UNTOUCHED = (
    (smtp4(LISTED4), answer("listed", "pass", "ip4", 25)),
    (smtp6([])(LISTED6), answer("listed", "pass", "ip6", 25)),
    (smtp4(LISTED4, ihl=4), answer("ip_header", "pass", "ip4")),
    (p.frame4(UNLISTED4, p.tcp(22)), answer("other_port", "pass", "ip4")),
    (p.frame4(UNLISTED4, p.udp(25), proto=p.UDP), answer("other_protocol", "pass", "ip4")),
    (smtp4(UNLISTED4, frag=9), answer("later_fragment", "pass", "ip4")),
    (p.eth(p.ARP, bytes(28)), answer("not_ip", "pass", "none")),
    (p.eth(p.VLAN, b"\0"), answer("l2_cut", "pass", "none")),
)


def in_mode(mode, verdict):
    """What is judged gets this verdict, all else passes."""
    for gate in GATES:
        gate.tell(f"mode {mode}")
    for frame, reason, family, port in OF_EVERY_CLASS:
        expect(frame, answer(reason, verdict, family, port))
    for frame, want in UNTOUCHED:
        expect(frame, want)


@test
def mode_enforce():
    """mode enforce: what is judged is dropped; the other bits of the word do not matter"""
    in_mode(ENFORCE, "drop")
    in_mode(0xFFFFFFFFFFFFFF00, "drop")


@test
def mode_off():
    """mode off: all passes, and is counted"""
    in_mode(OFF, "pass")
    in_mode(0xFFFFFFFFFFFFFF00 | OFF, "pass")


@test
def mode_paused():
    """mode paused: all passes, and is counted"""
    in_mode(PAUSED, "pass")
    in_mode(0xFFFFFFFFFFFFFF00 | PAUSED, "pass")


@test
def mode_observe():
    """mode observe: what would be dropped passes, and is counted as that"""
    in_mode(OBSERVE, "would_drop")
    in_mode(0xFFFFFFFFFFFFFF00 | OBSERVE, "would_drop")


@test
def mode_unknown():
    """an unknown mode enforces"""
    for mode in (4, 5, 127, 128, 254, 255):
        in_mode(mode, "drop")


def connections(gate, prefix):
    """An entry's record: seen, connections."""
    words = dict(word.split("=") for word in gate.ask(f"entry {prefix}").split())
    return int(words["seen"]), int(words["connections"])


LATER, EARLIER = 10_000_000, -1  # in ms; the guest that replays this may be slow


@test
def mode_deadline():
    """the mode that is to follow is in force from its moment on, and not before"""
    verdicts = {ENFORCE: "drop", OFF: "pass", PAUSED: "pass", OBSERVE: "would_drop", 77: "drop"}
    for mode, first in verdicts.items():
        for following, then in verdicts.items():
            in_mode(f"{mode} {following} {LATER}", first)
            in_mode(f"{mode} {following} {EARLIER}", then)
            in_mode(f"{mode} {following} 0", first)


@test
def mode_deadline_passes():
    """a deadline passes by itself"""
    for gate in GATES:
        if gate.record:  # what is replayed elsewhere has another clock
            continue
        gate.tell(f"mode {PAUSED} {ENFORCE} 300")
        reasons = set()
        for _ in range(20):
            reasons.add(gate.run(smtp4(UNLISTED4)).split()[0])
            time.sleep(0.05)
        assert reasons == {"PASS", "DROP"}, reasons
        expect(smtp4(UNLISTED4), answer("unlisted", "drop", "ip4", 25), [gate])


@test
def entry_ends():
    """an entry lets in until its moment, and is then told apart from none"""
    for source, make, family, bits in ((UNLISTED4, smtp4, "ip4", 32),
                                       (UNLISTED6, smtp6([]), "ip6", 128)):
        for gate in GATES:
            gate.tell(f"allow {source}/{bits} {LATER}")
        expect(make(source), answer("listed", "pass", family, 25))
        for gate in GATES:
            gate.tell(f"allow {source}/{bits} {EARLIER}")
        expect(make(source), answer("expired", "drop", family, 25))
        for mode, verdict in ((OFF, "pass"), (OBSERVE, "would_drop"), (PAUSED, "pass")):
            for gate in GATES:
                gate.tell(f"mode {mode}")
            expect(make(source), answer("expired", verdict, family, 25))
        for gate in GATES:
            gate.tell(f"mode {ENFORCE}")
            if gate.record:
                continue
            gate.tell(f"allow {source}/{bits} 300")
            seen = set()
            for _ in range(20):
                seen.add(gate.run(make(source)).split()[0])
                time.sleep(0.05)
            assert seen == {"PASS", "DROP"}, seen


@test
def remembered():
    """within a connection the source is remembered, and forgotten when its entry goes or ends"""
    for source, family, bits in (("203.0.113.7", "ip4", 32), ("2001:db8:b::7", "ip6", 128)):
        def data(of=source, bits=bits):
            segment = p.tcp(25, flags=p.ACK, data=b"NOOP")
            return p.frame4(of, segment) if bits == 32 else p.frame6(of, [], segment)

        listed = answer("listed", "pass", family, 25, syn=False)
        dropped = answer("unlisted", "drop", family, 25, syn=False)
        expired = answer("expired", "drop", family, 25, syn=False)
        for gate in GATES:
            gate.tell("clear")
            expect(data(), dropped, [gate])
            gate.tell(f"allow {source}/{bits}")
            for _ in range(3):
                expect(data(), listed, [gate])
            gate.tell(f"allow {source}/{bits} {EARLIER}")
            expect(data(), expired, [gate])
            gate.tell("clear")
            expect(data(), dropped, [gate])
            gate.tell(f"allow {source}/{bits} {LATER}")
            for _ in range(3):
                expect(data(), listed, [gate])
            assert gate.ask(f"until {source}/{bits} {EARLIER}") == "PASS"
            expect(data(), expired, [gate])
            assert gate.ask(f"until {source}/{bits} 0") == "PASS"
            expect(data(), listed, [gate])
            assert gate.ask(f"until {source}/{bits} {EARLIER}") == "PASS"
            expect(data(), expired, [gate])


@test
def remembered_asks_no_trie():
    """who is remembered is let in without the trie; a connection that begins asks it always"""
    for gate in GATES:
        gate.tell("clear")
        gate.tell("allow 203.0.113.7/32")
        gate.tell("allow 203.0.113.9/32")
        data = p.frame4("203.0.113.7", p.tcp(25, flags=p.ACK))
        expect(data, answer("listed", "pass", "ip4", 25, syn=False), [gate])
        gate.tell("quietly 203.0.113.7/32")
        expect(data, answer("listed", "pass", "ip4", 25, syn=False), [gate])
        expect(smtp4("203.0.113.7"), answer("unlisted", "drop", "ip4", 25), [gate])
        expect(data, answer("listed", "pass", "ip4", 25, syn=False), [gate])
        # neither the other family's address of the same bytes nor a neighbour
        expect(p.frame6("cb00:7107::", [], p.tcp(25, flags=p.ACK)),
               answer("unlisted", "drop", "ip6", 25, syn=False), [gate])
        expect(p.frame4("203.0.113.8", p.tcp(25, flags=p.ACK)),
               answer("unlisted", "drop", "ip4", 25, syn=False), [gate])
        gate.tell("allow 203.0.113.9/32")  # whatever goes, goes for all
        expect(data, answer("unlisted", "drop", "ip4", 25, syn=False), [gate])


@test
def temporary_is_not_remembered():
    """whose entry ends is never remembered: the end comes to the moment, without any command"""
    for gate in GATES:
        gate.tell("clear")
        gate.tell(f"allow 203.0.113.7/32 {LATER}")
        data = p.frame4("203.0.113.7", p.tcp(25, flags=p.ACK))
        expect(data, answer("listed", "pass", "ip4", 25, syn=False), [gate])
        gate.tell("quietly 203.0.113.7/32")
        expect(data, answer("unlisted", "drop", "ip4", 25, syn=False), [gate])


@test
def entry_ended_unclear():
    """an unclear packet from a source whose entry ended is dropped under its own reason"""
    for gate in GATES:
        gate.tell(f"allow {UNLISTED4}/32 {EARLIER}")
    expect(p.frame4(UNLISTED4, SMTP[:3]), answer("tcp_cut", "drop", "ip4"))


@test
def entry_ended_within():
    """an entry that ended inside one that has not: let in, by the wider one, at any depth"""
    for source, make, family, bits in (("203.0.113.7", smtp4, "ip4", 32),
                                       ("2001:db8:b::7", smtp6([]), "ip6", 128)):
        def prefix(length, of=source):
            return str(ipaddress.ip_network(f"{of}/{length}", strict=False))

        for gate in GATES:
            gate.tell("clear")
            for length in range(1, bits + 1):
                gate.tell(f"allow {prefix(length)} {EARLIER}")
            expect(make(source), answer("expired", "drop", family, 25), [gate])
            gate.tell(f"allow {prefix(0)} {LATER}")
            expect(make(source), answer("listed", "pass", family, 25), [gate])
            assert connections(gate, prefix(0))[1] == 1
            for length in (1, 2, 7, 8, 9, 23, 24, 31, bits - 1, bits):
                gate.tell(f"allow {prefix(length)} {LATER}")
                expect(make(source), answer("listed", "pass", family, 25), [gate])
                assert connections(gate, prefix(length))[1] == 1
                gate.tell(f"allow {prefix(length)} {EARLIER}")
            gate.tell(f"allow {prefix(0)} {EARLIER}")
            expect(make(source), answer("expired", "drop", family, 25), [gate])


@test
def entry_end_without_length():
    """an end whose length is longer than what was asked for lets nobody in, and ends the search"""
    for gate in GATES:
        gate.tell(f"raw 203.0.113.0/24 {1 << 8 | 200:#x}")
        gate.tell("allow 203.0.0.0/16")
        expect(smtp4("203.0.113.7"), answer("expired", "drop", "ip4", 25), [gate])
        gate.tell(f"raw 203.0.113.0/24 {1 << 8 | 24:#x}")
        expect(smtp4("203.0.113.7"), answer("listed", "pass", "ip4", 25), [gate])
        gate.tell("raw 203.0.113.0/24 0")  # as it was before ends were known
        expect(smtp4("203.0.113.7"), answer("listed", "pass", "ip4", 25), [gate])


@test
def end_set_in_place():
    """sg_set_until changes the end of that very prefix, and keeps what was counted"""
    for gate in GATES:
        for wide, prefix, source, make, family in (
                ("203.0.0.0/16", "203.0.113.0/24", "203.0.113.7", smtp4, "ip4"),
                ("2001:db8::/32", "2001:db8:b::/48", "2001:db8:b::7", smtp6([]), "ip6")):
            gate.tell(f"allow {wide} {EARLIER}")
            assert gate.ask(f"until {prefix} {LATER}") == "DROP", "it is not there"
            expect(make(source), answer("expired", "drop", family, 25), [gate])
            gate.tell(f"allow {prefix}")
            for end, reason in ((EARLIER, "expired"), (LATER, "listed"), (0, "listed")):
                assert gate.ask(f"until {prefix} {end}") == "PASS"
                expect(make(source), answer(reason, "pass" if end != EARLIER else "drop", family,
                                            25), [gate])
            assert connections(gate, prefix)[1] == 2
            gate.tell(f"raw {prefix} 0")
            assert gate.ask(f"until {prefix} {EARLIER}") == "PASS"
            expect(make(source), answer("expired", "drop", family, 25), [gate])
        for whole in ("0.0.0.0/0", "::/0"):
            gate.tell(f"allow {whole}")
            assert gate.ask(f"until {whole} {EARLIER}") == "PASS"


@test
def empty_list():
    """enforcing with an empty list drops: it is the mode that opens, never a lost map"""
    for gate in GATES:
        gate.tell("clear")
    for frame in (smtp4(LISTED4), smtp4("0.0.0.0")):
        expect(frame, answer("unlisted", "drop", "ip4", 25))
    for source in (LISTED6, "::"):
        expect(smtp6([])(source), answer("unlisted", "drop", "ip6", 25))
    unclear(4, lambda src: smtp4(UNLISTED4, ihl=0), "ip_header", "drop")


@test
def settings_lost():
    """settings that are not of this ABI: enforcing on 25, 465 and 587, whatever they say"""
    for abi in (0, 2, 1 << 32, 1 + (1 << 32)):
        for gate in GATES:
            gate.tell(f"abi {abi}")
            gate.tell(f"mode {OFF}")
            gate.guard(22, 5)
            gate.guard(587, None)
        for port in (25, 465, 587):
            expect(p.frame4(UNLISTED4, p.tcp(port)), answer("unlisted", "drop", "ip4"))
            expect(p.frame4(LISTED4, p.tcp(port)), answer("listed", "pass", "ip4"))
        unclear(4, lambda src: smtp4(src, ihl=0), "ip_header")
        passes(4, lambda src: p.frame4(src, p.tcp(22)), "other_port")
        passes(4, lambda src: p.frame4(src, p.udp(25), proto=p.UDP), "other_protocol")


@test
def guarded_ports():
    """each guarded port is that port alone, with its own counter"""
    ports = {0: 63, 1: 3, 24: 4, 255: 5, 256: 6, 2525: 7, 32767: 8, 32768: 9, 65534: 10, 65535: 62}
    for gate in GATES:
        for port in SLOTS:
            gate.guard(port, None)
    for port, slot in ports.items():
        for gate in GATES:
            gate.guard(port, slot)
        for near in {(port + step) % 65536 for step in (-256, -2, -1, 0, 1, 2, 256)}:
            frame = p.frame4(UNLISTED4, p.tcp(near))
            if near == port:
                expect(frame, answer("unlisted", "drop", "ip4")
                       + f" port {slot}/drop/ip4=1/{{n}}/1")
            else:
                expect(frame, answer("other_port", "pass", "ip4"))
        for gate in GATES:
            gate.guard(port, None)
        passes(4, lambda src, o=port: p.frame4(src, p.tcp(o)), "other_port")
    passes(4, smtp4, "other_port")


@test
def slot_out_of_range():
    """a port with a slot that does not exist is guarded, and counted by its reason"""
    for slot in (64, 65, 254):
        for gate in GATES:
            gate.guard(25, slot)
        expect(smtp4(UNLISTED4), answer("unlisted", "drop", "ip4"))
        expect(smtp4(LISTED4), answer("listed", "pass", "ip4"))
    for gate in GATES:
        gate.guard(25, SLOTS[25])


@test
def entry_records():
    """an entry knows its last attempt and how many: SYN without ACK to a guarded port, no more"""
    cases = ((4, LISTED4, "/32", lambda d: p.frame4(LISTED4, d)),
             (6, LISTED6, "/128", lambda d: p.frame6(LISTED6, [p.dstopts()], d)))
    for gate in GATES:
        for of, source, length, make in cases:
            family, last = f"ip{of}", 0
            assert connections(gate, source + length) == (0, 0)
            for data in (p.tcp(22), p.tcp(25, flags=p.ACK), p.tcp(25, flags=p.SYN | p.ACK),
                         p.tcp(25, flags=p.RST), p.tcp(25, flags=0), SMTP[:13], SMTP[:3]):
                gate.run(make(data))
            assert connections(gate, source + length) == (0, 0)
            for number, flags in enumerate((2, 2, 0xC2, 0x0A, 0x03), 1):
                expect(make(p.tcp(587, flags=flags)), answer("listed", "pass", family, 587), [gate])
                seen, count = connections(gate, source + length)
                assert count == number and seen > last, (count, number, seen, last)
                last = seen


@test
def longest_prefix():
    """the attempt is recorded at the longest prefix that holds the source"""
    for gate in GATES:
        for prefix in ("198.51.100.0/24", "198.51.0.0/16", "2001:db8:a::/48"):
            gate.tell(f"allow {prefix}")
        for source in (LISTED4, "198.51.100.11", "198.51.7.7"):
            expect(smtp4(source), answer("listed", "pass", "ip4", 25), [gate])
        for source in (LISTED6, "2001:db8:a::11"):
            expect(smtp6([])(source), answer("listed", "pass", "ip6", 25), [gate])
        for prefix in (f"{LISTED4}/32", "198.51.100.0/24", "198.51.0.0/16", f"{LISTED6}/128",
                       "2001:db8:a::/48"):
            assert connections(gate, prefix)[1] == 1, prefix


@test
def prefix_edges():
    """first and last address of a prefix are listed, their neighbours are not"""
    edges = (
        # prefix, listed, unlisted
        ("0.0.0.0/0", "0.0.0.0 127.255.255.255 128.0.0.0 255.255.255.255", ""),
        ("0.0.0.0/1", "0.0.0.0 127.255.255.255", "128.0.0.0 255.255.255.255"),
        ("128.0.0.0/1", "128.0.0.0 255.255.255.255", "0.0.0.0 127.255.255.255"),
        ("10.0.0.0/8", "10.0.0.0 10.255.255.255", "9.255.255.255 11.0.0.0"),
        ("203.0.113.0/24", "203.0.113.0 203.0.113.255", "203.0.112.255 203.0.114.0"),
        ("203.0.113.128/25", "203.0.113.128 203.0.113.255", "203.0.113.127 203.0.114.0"),
        ("203.0.113.2/31", "203.0.113.2 203.0.113.3", "203.0.113.1 203.0.113.4"),
        ("203.0.113.2/32", "203.0.113.2", "203.0.113.1 203.0.113.3"),
        ("0.0.0.0/32", "0.0.0.0", "0.0.0.1 255.255.255.255"),
        ("255.255.255.255/32", "255.255.255.255", "255.255.255.254 0.0.0.0"),
        ("::/0", ":: 7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 8000:: "
                 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        ("::/1", ":: 7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "8000::"),
        ("8000::/1", "8000:: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::"),
        ("2001:d00::/24", "2001:d00:: 2001:dff:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:cff:ffff:ffff:ffff:ffff:ffff:ffff 2001:e00::"),
        ("2001:db8:0:1::/64", "2001:db8:0:1:: 2001:db8:0:1:ffff:ffff:ffff:ffff",
         "2001:db8::ffff:ffff:ffff:ffff 2001:db8:0:2::"),
        ("2001:db8::2/127", "2001:db8::2 2001:db8::3", "2001:db8::1 2001:db8::4"),
        ("2001:db8::2/128", "2001:db8::2", "2001:db8::1 2001:db8::3"),
        ("::/128", "::", "::1 8000::"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ::"),
    )
    for prefix, listed, unlisted in edges:
        make, family = (smtp6([]), "ip6") if ":" in prefix else (smtp4, "ip4")
        for gate in GATES:
            gate.tell("clear")
            gate.tell(f"allow {prefix}")
        for source in listed.split():
            expect(make(source), answer("listed", "pass", family, 25))
        for source in unlisted.split():
            expect(make(source), answer("unlisted", "drop", family, 25))


@test
def sum_over_reasons():
    """the sum over all reasons equals the packets seen"""
    for gate in GATES:
        total = gate.ask("total")
        assert int(total) == gate.runs > 1000 or len(sys.argv) > 1, (total, gate.runs)


main(setup)
