# SPDX-License-Identifier: GPL-2.0-only
"""What stands around the machine: a cable for each of its cards, clients that never stop asking, and
a witness who writes down whatever the machine answers.

The addresses are those of root/usr/lib/test/test.nft. Knows nothing of smtpgate.
"""
import collections
import contextlib
import errno
import ipaddress
import select
import socket
import struct
import threading
import time

import machine
from lab import Host

GUARDED = (25, 465, 587)
OPEN = 2525             # not guarded, and nobody listens: answered with a reset, whoever asks
CARDS = (1, 2)
NETS = {1: ("192.0.2.", "2001:db8:1::"), 2: ("198.51.100.", "2001:db8:2::")}
GUEST, LISTED, UNLISTED = "2", "10", "66"
ROUND = 0.05            # an unlisted client asks at every port of every address once in each round
KEEP = 1.0              # seconds that an attempt may take

Answer = collections.namedtuple("Answer", "when card source port kind")


def addresses(who):
    """Every address of the guest's, the listed client's or the unlisted one's."""
    return [net + who for card in CARDS for net in NETS[card]]


class Outside:
    """The network around the guest, the clients and the witness."""

    def __init__(self, pace=ROUND):
        self.pace = pace
        self.host = Host("outside", bpffs=False)
        self.answers, self.asked = [], collections.Counter()
        self.greeted = collections.Counter()
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.threads = []
        try:
            self.cables()
            self.witnesses = {card: self.host.packets(f"tap{card}") for card in CARDS}
            for target in (self.watch, self.clients):
                self.threads.append(threading.Thread(target=target, daemon=True))
                self.threads[-1].start()
        except BaseException:
            self.close()
            raise

    def cables(self):
        """A bridge for each card, that is up whether the card is there or not. The guest's hardware
        addresses are known beforehand: the clients' packets are there before it can be asked."""
        for card in CARDS:
            self.host.ip(
                f"link add br{card} type bridge stp_state 0 mcast_snooping 0 forward_delay 0",
                f"link add still{card} type veth peer name other{card}",
                f"link set other{card} up",
                f"tuntap add dev tap{card} mode tap multi_queue",
                f"link set still{card} master br{card} up",
                f"link set tap{card} master br{card} up", f"link set br{card} up")
            self.host.address(f"br{card}", *(
                f"{net}{who}/{64 if ':' in net else 24}"
                for net in NETS[card] for who in (LISTED, UNLISTED)))
            self.host.ip(*(f"neigh replace {net}{GUEST} lladdr {machine.mac(card)} "
                           f"nud permanent dev br{card}" for net in NETS[card]))

    # The clients.

    def clients(self):
        """Asks, and asks again."""
        waiting, turn = collections.deque(), 0
        wanted = [(card, net, port) for card in CARDS for net in NETS[card]
                  for port in (*GUARDED, OPEN)]
        while not self.stop.is_set():
            start = time.monotonic()
            for card, net, port in wanted:
                waiting.append((start, self.ask(net + UNLISTED, net + GUEST, port), None))
            # The listed one really speaks with the mail server: each port in its turn.
            card, net, port = wanted[turn % len(wanted)]
            turn += 1
            waiting.append((start, self.ask(net + LISTED, net + GUEST, port), (card, net, port)))
            while waiting and waiting[0][0] < start - KEEP:
                self.hang_up(*waiting.popleft()[1:])
            self.stop.wait(max(0, start + self.pace - time.monotonic()))
        for _, sock, _ in waiting:
            if sock:
                sock.close()

    def ask(self, source, target, port):
        """Begins an attempt to connect."""
        sock = self.host.socket(socket.AF_INET6 if ":" in target else socket.AF_INET,
                                socket.SOCK_STREAM)
        self.host.sockets.remove(sock)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            sock.bind((source, 0))
            sock.connect((target, port))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH):
                raise
        return sock

    def hang_up(self, sock, listed):
        """Ends it; a listed client notes whether the mail server greeted it."""
        if listed:
            with contextlib.suppress(OSError):
                if sock.recv(100).startswith(b"220 "):
                    with self.lock:
                        self.greeted[listed] += 1
        sock.close()

    # The witness.

    def watch(self):
        """Reads what passes on the cables."""
        names = {sock: card for card, sock in self.witnesses.items()}
        while not self.stop.is_set():
            for sock in select.select(list(names), [], [], 0.2)[0]:
                try:
                    frame, place = sock.recvfrom(2048)
                except OSError:
                    continue
                self.note(names[sock], place[2] == socket.PACKET_OUTGOING, frame)

    def note(self, card, out, frame):
        """Writes down a connection that was asked for, or an answer."""
        seen = parse(frame)
        if not seen:
            return
        source, target, kind, sport, dport = seen
        with self.lock:
            if out and kind == "SYN":
                self.asked[(card, source, dport)] += 1
            elif not out:
                self.answers.append(Answer(time.monotonic(), card, target, sport, kind))

    # What was seen.

    def answered(self, who, ports, since=0.0):
        """The guest's answers to a client from ports."""
        wanted = {str(ipaddress.ip_address(a)) for a in addresses(who)}
        with self.lock:
            return [a for a in self.answers if a.when >= since and a.source in wanted
                    and a.port in ports]

    def leaks(self, since=0.0):
        """What no unlisted client may ever see: any answer from a guarded port."""
        return self.answered(UNLISTED, GUARDED, since)

    def syns(self, who):
        """How many attempts at guarded ports stood on the cables of a guest that was on."""
        wanted = set(addresses(who))
        with self.lock:
            return sum(n for (_, source, port), n in self.asked.items()
                       if source in wanted and port in GUARDED)

    def close(self):
        """Ends all of it."""
        self.stop.set()
        for thread in self.threads:
            thread.join(5)
        self.host.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def parse(frame):
    """(source, target, kind, source port, destination port) of a TCP segment or of an ICMP error about
    one, which counts as an answer from the port that was asked; None for all else."""
    kind = frame[12:14]
    if kind == b"\x08\x00":
        packet, protocol = frame[14:], frame[23]
        source, target = packet[12:16], packet[16:20]
        rest = packet[4 * (packet[0] & 15):]
    elif kind == b"\x86\xdd":
        packet, protocol = frame[14:], frame[20]
        source, target, rest = packet[8:24], packet[24:40], packet[40:]
    else:
        return None
    names = tuple(str(ipaddress.ip_address(a)) for a in (source, target))
    if protocol == 6:
        sport, dport = struct.unpack(">HH", rest[:4])
        return (*names, flags(rest[13]), sport, dport)
    if (protocol, rest[0]) in ((1, 3), (58, 1)):
        inner = rest[8:]
        about = inner[4 * (inner[0] & 15):] if protocol == 1 else inner[40:]
        sport, dport = struct.unpack(">HH", about[:4])
        return (*names, "ICMP error", dport, sport)
    return None


def flags(byte):
    """A segment's kind in words."""
    if byte & 4:
        return "RST"
    if byte & 2:
        return "SYN-ACK" if byte & 16 else "SYN"
    return "ACK"
