# SPDX-License-Identifier: GPL-2.0-only
"""A steady stream of connection attempts from some sources, and which of them got past the gate.

What got past is what the mail host's own packet socket sees, which stands behind the XDP program.
Each attempt is stamped right before and right after it is sent, so that a test that was kept waiting
by a busy machine judges only what it can know. Nothing of smtpgate's is asked.
"""
import calendar
import ctypes
import itertools
import os
import pathlib
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import frames
from lab import BPFFS, GUARDED, ROOT, Lab

MAIL = {4: "192.0.2.25", 6: "2001:db8::25"}
PORT = 465
EVERY = 0.004                   # seconds between two attempts
# Between the promised moment and the change. The kernel is exact to the millisecond; the two clocks
# that a deadline is made from are read one after the other.
SLACK = 0.3
SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 263, 6, 33

def load_libbpf():
    """libbpf is there: smtpgate needs it."""
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            return ctypes.CDLL(name, use_errno=True)
        except OSError:
            pass
    raise RuntimeError("libbpf is missing")


BPF = load_libbpf()
CLOCK = ROOT / "build" / "shift_clock.so"


def shifted(seconds):
    """The environment in which a command's wall clock stands so many seconds off."""
    assert CLOCK.exists(), f"{CLOCK} is not built: make {CLOCK.relative_to(ROOT)}"
    return {"LD_PRELOAD": str(CLOCK), "SHIFT_CLOCK": str(int(seconds))}


def version(address):
    """4 or 6."""
    return 6 if ":" in address else 4


def make(*sources, mode="native", attach=True):
    """A gated mail host, and a client that has these addresses."""
    lab = Lab()
    try:
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        lab.mail.address("eth0", MAIL[4] + "/24", MAIL[6] + "/64")
        lab.client.address("eth0", *(s + ("/64" if ":" in s else "/24") for s in sources))
        lab.mail.listen(*(port for port in GUARDED if port != PORT))
        if attach:
            lab.gate("attach", "eth0", "--mode", mode)
    except BaseException:
        lab.__exit__()
        raise
    return lab


def reboot(lab):
    """What a boot leaves: the store. Pins, maps, program and counters are gone."""
    lab.mail.run("rm", "-rf", BPFFS)


ENFORCE, OFF, OBSERVE, PAUSED = range(4)        # of include/smtpgate_abi.h


def settings(lab):
    """The eight words at the beginning of the kernel's settings. (bpftool takes its time over the
    ports behind them.)"""
    descriptor = BPF.bpf_obj_get(os.fsencode(lab.mail.path(BPFFS + "/abi1/config")))
    assert descriptor >= 0, "there are no settings in the kernel"
    value, zero = ctypes.create_string_buffer(64 + 65536), ctypes.c_uint32(0)
    failed = BPF.bpf_map_lookup_elem(descriptor, ctypes.byref(zero), value)
    os.close(descriptor)
    assert not failed, "the settings cannot be read"
    return struct.unpack_from("=8Q", value)


def mode_word(lab):
    """The raw word in the kernel: (mode, what follows, deadline in ms of CLOCK_BOOTTIME)."""
    value = settings(lab)[3]
    return value & 0xff, value >> 8 & 0xff, value >> 16


def set_mode_word(lab, word):
    """As somebody with other tools might."""
    descriptor = BPF.bpf_obj_get(os.fsencode(lab.mail.path(BPFFS + "/abi1/config")))
    value, zero = ctypes.create_string_buffer(64 + 65536), ctypes.c_uint32(0)
    failed = BPF.bpf_map_lookup_elem(descriptor, ctypes.byref(zero), value)
    struct.pack_into("=Q", value, 24, word)
    failed = failed or BPF.bpf_map_update_elem(descriptor, ctypes.byref(zero), value, 0)
    os.close(descriptor)
    assert not failed, "the settings cannot be written"


def boot_ms():
    """CLOCK_BOOTTIME, as deadlines are counted."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000000


class Shot:
    """One attempt."""

    def __init__(self, source, before, after):
        self.source, self.before, self.after, self.passed = source, before, after, False


class Steady:
    """Sends until it is stopped; then `shots` are all attempts."""

    def __init__(self, lab, *sources, every=EVERY):
        self.wire, self.shots, self.every = lab.client.packets("eth0"), [], every
        self.into = lab.mail.packets("eth0")
        self.into.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.into.settimeout(0.05)
        self.head = lab.mail.mac("eth0") + lab.client.mac("eth0")
        self.sources = sources
        self.stopping = threading.Event()
        self.done = False
        self.threads = [threading.Thread(target=self.send), threading.Thread(target=self.catch)]
        for thread in self.threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def send(self):
        """From each source in turn. The sequence number is the attempt's own."""
        for source in itertools.cycle(self.sources):
            there = MAIL[version(source)]
            head = frames.tcp(source, there, 40000, PORT, frames.SYN, len(self.shots))
            frame = self.head + (b"\x86\xdd" + frames.ip6(source, there, frames.TCP, head)
                                 if ":" in source else b"\x08\0" + frames.ip4(source, there, head))
            before = time.time()
            self.wire.send(frame)
            self.shots.append(Shot(source, before, time.time()))
            if self.stopping.wait(self.every / len(self.sources)):
                return

    def catch(self):
        """Marks what has come, until nothing more comes."""
        while True:
            try:
                frame, where = self.into.recvfrom(2048)
            except TimeoutError:
                if self.done:
                    return
                continue
            at = 34 if frame[12:14] == b"\x08\0" else 54
            if where[2] != 4 and len(frame) >= at + 20 \
                    and struct.unpack_from("!HH", frame, at) == (40000, PORT):
                self.mark(struct.unpack_from("!I", frame, at + 4)[0])

    def mark(self, number):
        """An attempt has come; it may be faster than the sender's note of it."""
        while number >= len(self.shots):
            time.sleep(0)
        self.shots[number].passed = True

    def stop(self):
        """No more; all that is under way is waited for."""
        if self.done:
            return
        self.stopping.set()
        self.threads[0].join()
        self.done = True
        self.threads[1].join()
        _, lost = struct.unpack("II", self.into.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        assert not lost, f"the test itself lost {lost} packets"

    def go_on(self, rounds=30):
        """Waits for so many more attempts of each source."""
        end = len(self.shots) + rounds * len(self.sources)
        while len(self.shots) < end:
            time.sleep(0.01)

    def of(self, source):
        """The attempts of one source."""
        self.stop()
        found = [shot for shot in self.shots if shot.source == source]
        assert len(found) > 20, f"hardly a stream: {len(found)} attempts of {source}"
        return found

    def always(self, source, passed=True):
        """All of its attempts passed, or none did."""
        shots = self.of(source)
        wrong = [shot for shot in shots if shot.passed != passed]
        assert not wrong, f"{source}: {len(wrong)} of {len(shots)} " \
            f"{'were dropped' if passed else 'passed'}, the first {ago(wrong[0], shots)}"

    def never(self, source):
        """None of its attempts passed."""
        self.always(source, False)

    def turns(self, source, first, *moments):
        """It begins with passing (or not: `first`), and changes at these moments and no others.

        A moment is a time, or what during() returned: any time in between."""
        shots = self.of(source)
        runs = [(state, list(run)) for state, run in
                itertools.groupby(shots, key=lambda shot: shot.passed)]
        story = ", ".join(f"{'passed' if state else 'dropped'} from {ago(run[0], shots)}"
                          for state, run in runs)
        assert runs[0][0] == first and len(runs) == len(moments) + 1, \
            f"{source}: {len(moments)} changes were expected, seen: {story}"
        for moment, (_, before), (_, after) in zip(moments, runs, runs[1:]):
            start, end = moment if isinstance(moment, tuple) else (moment - SLACK, moment + SLACK)
            early, late = after[0].after < start, before[-1].before > end
            assert not early and not late, f"{source}: the change was to be between " \
                f"{start - shots[0].before:.3f} and {end - shots[0].before:.3f} s, seen: {story}"

    def within(self, source, passed, start, end):
        """All of a source's attempts that were made between two moments passed, or none did."""
        shots = [s for s in self.of(source) if s.before > start and s.after < end]
        wrong = [shot for shot in shots if shot.passed != passed]
        assert not wrong, f"{source}: {len(wrong)} of {len(shots)} attempts in " \
            f"{end - start:.3f} s {'were dropped' if passed else 'passed'}"
        return len(shots)


def ago(shot, shots):
    """When, for a person."""
    return f"{shot.before - shots[0].before:.3f} s"


def during(lab, *args, **options):
    """Runs a command; returns the times before and after."""
    start = time.time()
    lab.gate(*args, **options)
    return start, time.time()


def wait_past(moment):
    """Until a moment of the wall clock is well over."""
    time.sleep(max(0.0, moment + SLACK + 0.1 - time.time()))


def unix(text):
    """A time as -j shows it, in Unix seconds."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def expires(lab, who, account=None):
    """When the entry ends, in Unix seconds; None never."""
    found = [e for e in lab.json("list")["entries"] if e["who"] == who and e["account"] == account]
    assert len(found) == 1, f"{who} of {account} is in the list {len(found)} times"
    return unix(found[0]["expires"]) if found[0]["expires"] else None


def running(lab):
    """Processes of smtpgate on the mail host."""
    done = lab.mail.run("sh", "-c", "cat /proc/[0-9]*/comm", ok=(0, 1))
    return done.out.split().count("smtpgate")


def ask_policy(lab, account, address, shift=0):
    """The first word of the policy service's answer."""
    done = lab.gate("policy", stdin="request=smtpd_access_policy\nprotocol_state=RCPT\n"
                    f"client_address={address}\nsasl_username={account}\n\n",
                    env=shifted(shift) if shift else None)
    return done.out.removeprefix("action=").split()[0]
