#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""watch: what its lines say against the frames that were really sent, and the live screen in a real
terminal (tmux).

One mail host for all tests. Frames come from addresses that are nobody's, so that nothing answers;
which of their packets the kernel wrote down is its own matter, and what it did not is counted as
untracked: the two together are what was sent, to the packet.
"""
import collections
import contextlib
import fcntl
import functools
import itertools
import json
import os
import pathlib
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import frames
import tap
from lab import BPFFS, MNT, PROGRAM, ROOT, STATE, Lab, connect, until
from terminal import Terminal

HOST4, HOST6 = "192.0.2.1", "2001:db8::1"
OFFICE = "192.0.2.10"                       # listed
PATIENCE = 15.0
# At the end of the screen: what add said before stands above it.
ANY_KEY = r"\(any key goes back to watch\)\s*\Z"
NUMBERS = itertools.count()
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (\S+) +port (\d+|unknown) (\w+): "
                  r"(\d+) packets?, (\d+) attempts?$")
OTHERS = re.compile(r"\S+ \S+ and (\d+) other sources?, (\d+) packets?$")
UNTRACKED = re.compile(r"\S+ \S+ and (\d+) packets? of sources that were too many to write down$")
SOURCE_KEYS = ["schema", "ok", "event", "time", "address", "port", "verdict", "packets", "attempts",
               "first_seen", "last_seen"]
OTHERS_KEYS = ["schema", "ok", "event", "time", "sources", "packets", "attempts", "untracked"]
TOTAL_KEYS = ["schema", "ok", "event", "time", "passed", "dropped", "would_drop", "untracked",
              "mode", "seconds"]


class Site:
    """eth0 gated, the office listed; frames from anybody."""

    def __init__(self, lab):
        self.lab = lab
        self.client = lab.host("client")
        lab.link(lab.mail, "eth0", self.client, "p0")
        lab.mail.address("eth0", HOST4 + "/24", HOST6 + "/64")
        self.client.address("p0", OFFICE + "/24", "192.0.2.66/24", "192.0.2.67/24",
                            "192.0.2.68/24")
        lab.mail.listen(25, 587)
        lab.gate("set", "limit", "none")
        lab.gate("attach", "eth0")
        lab.gate("add", OFFICE, "--remark", "office")
        self.wire = frames.Wire(self.client, "p0", lab.mail, "eth0")

    def send(self, source, port=25, count=1, attempts=True, pause=0.002):
        """Frames to a port: SYNs, or what is no attempt. With a pause each has a jiffy of its own,
        and the kernel the time to write all of them down."""
        flags = frames.SYN if attempts else frames.ACK
        for _ in range(count):
            six = ":" in source
            head = frames.tcp(source, HOST6 if six else HOST4, 40000, port, flags, 1)
            self.wire.send(frames.ip6(source, HOST6, frames.TCP, head) if six else
                           frames.ip4(source, HOST4, head))
            time.sleep(pause)


class Watcher:
    """smtpgate watch with a pipe for its output; reads it line by line."""

    def __init__(self, lab, *args, through=None):
        argv = lab.mail.argv(*through, *args) if through else lab.command(*args)
        self.process = subprocess.Popen(argv, env=lab.env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines, self.rest = [], b""
        # Its first reading is done when it waits: what is sent from now on is new to it.
        until(self.waits, PATIENCE)

    def inside(self):
        """The number of the process that nsenter began, or None."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                words = file.read().split()
                return int(words[0]) if words else None
        return None

    def waits(self):
        """It is in poll(2)."""
        pid = self.inside()
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
                words = file.read().split()
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                return file.read() == "smtpgate\n" and words[0] in ("7", "73", "271")
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            with contextlib.suppress(OSError, TypeError):
                os.kill(self.inside(), signal.SIGKILL)
            self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()

    def read_until(self, condition):
        """Reads on until condition(lines) holds."""
        end = time.monotonic() + PATIENCE
        while not condition(self.lines):
            left = end - time.monotonic()
            assert left > 0, "\n".join(["waited in vain; it said:"] + self.lines)
            if select.select([self.process.stdout], [], [], left)[0]:
                part = os.read(self.process.stdout.fileno(), 65536)
                assert part, f"it ended: {self.process.stderr.read()!r}\n" + "\n".join(self.lines)
                *whole, self.rest = (self.rest + part).split(b"\n")
                self.lines += [line.decode() for line in whole]

    def end(self, number):
        """Ends it by a signal; returns its status and what it said as an error."""
        os.kill(self.inside(), number)
        return self.process.wait(PATIENCE), self.process.stderr.read().decode()


def events(lines):
    """The objects, each with the keys that are promised."""
    found = [json.loads(line) for line in lines]
    for event in found:
        assert event["schema"] == 1 and event["ok"] is True, event
        keys = {"source": SOURCE_KEYS, "others": OTHERS_KEYS, "total": TOTAL_KEYS}[event["event"]]
        assert list(event) == keys, event
        for key in [k for k in ("time", "first_seen", "last_seen") if k in event]:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event[key]), event
    return found


def as_events(lines):
    """The same of the text; times are left out."""
    found = []
    for line in lines:
        if match := LINE.match(line):
            address, port, verdict, packets, attempts = match.groups()
            found.append({"event": "source", "address": address, "port": int(port),
                          "verdict": verdict, "packets": int(packets), "attempts": int(attempts)})
        elif match := OTHERS.match(line):
            found.append({"event": "others", "sources": int(match[1]), "packets": int(match[2]),
                          "untracked": 0})
        else:
            match = UNTRACKED.match(line)
            assert match, line
            found.append({"event": "others", "sources": 0, "packets": 0,
                          "untracked": int(match[1])})
    return found


def told(found):
    """Packets that the events tell of."""
    return sum(e.get("packets", 0) + e.get("untracked", 0) for e in found
               if e["event"] != "total")


def totals(found, key):
    """Over all intervals."""
    return sum(e[key] for e in found if e["event"] == "total")


def compare(found, sent):
    """Each source with what it sent: {(address, port): (packets, attempts)}."""
    sums = collections.defaultdict(lambda: [0, 0])
    lost = sum(e["untracked"] + e["packets"] for e in found if e["event"] == "others")
    for event in found:
        if event["event"] == "source":
            sums[event["address"], event["port"]][0] += event["packets"]
            sums[event["address"], event["port"]][1] += event["attempts"]
    assert told(found) == sum(packets for packets, _ in sent.values()), (found, sent)
    assert set(sums) <= set(sent), (sums, sent)
    for key, (packets, attempts) in sent.items():
        assert packets - lost <= sums[key][0] <= packets, (key, sums, sent, lost)
        assert attempts - lost <= sums[key][1] <= attempts, (key, sums, sent, lost)


@tap.test
def lines():
    """piped and -j, two at once: each source with the packets and attempts that it sent"""
    with Watcher(LAB, "watch") as text, Watcher(LAB, "-j", "watch") as stream:
        begin = int(time.time())
        sent = {("203.0.113.1", 25): (3, 3), ("203.0.113.1", 587): (2, 0),
                ("2001:db8:1::7", 465): (4, 4), ("203.0.113.2", 25): (1, 1)}
        for (source, port), (packets, attempts) in sent.items():
            SITE.send(source, port, packets, bool(attempts))
        SITE.send("203.0.113.1", 2222)                                  # not guarded
        SITE.send(OFFICE, 25, 1, False)                                 # listed
        text.read_until(lambda seen: told(as_events(seen)) >= 10)
        stream.read_until(lambda seen: totals(events(seen), "dropped") >= 10)
        compare(as_events(text.lines), sent)
        found = events(stream.lines)
        assert all(re.search(r'"seconds":\d+(\.\d{1,3})?}$', line) for line in stream.lines
                   if '"total"' in line), stream.lines
        compare(found, sent)
        assert totals(found, "dropped") == 10 and totals(found, "would_drop") == 0, found
        assert found[-1]["event"] == "total" and found[-1]["mode"] == "enforce", found
        for event in found:
            if event["event"] == "source":
                assert event["verdict"] == "drop", event
                assert begin - 2 <= stamp(event["first_seen"]) <= stamp(event["last_seen"]), event
                assert stamp(event["last_seen"]) <= stamp(event["time"]) + 2, event
            elif event["event"] == "total":
                assert 0.5 < event["seconds"] < PATIENCE, event
        # Once more from a source that is known, and after a quiet while: only what is new.
        before = len(stream.lines)
        SITE.send("203.0.113.2", 25, 2, False)
        stream.read_until(lambda seen: totals(events(seen[before:]), "dropped") >= 2)
        compare(events(stream.lines[before:]), {("203.0.113.2", 25): (2, 0)})
        for watcher, number in ((text, signal.SIGINT), (stream, signal.SIGTERM)):
            status, said = watcher.end(number)
            assert status in (-number, 128 + number) and not said, (status, said)


def stamp(text):
    """Unix seconds of what watch prints."""
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone


@tap.test
def observed():
    """would_drop while the gate observes; nothing at all while it is paused"""
    LAB.gate("observe")
    try:
        with Watcher(LAB, "-j", "watch") as stream:
            SITE.send("203.0.113.3", 25, 3)
            stream.read_until(lambda seen: totals(events(seen), "would_drop") >= 3)
            found = events(stream.lines)
            assert {e["verdict"] for e in found if e["event"] == "source"} == {"would_drop"}
            assert totals(found, "dropped") == 0 and found[-1]["mode"] == "observe", found
            compare(found, {("203.0.113.3", 25): (3, 3)})
            LAB.gate("pause", "1h")
            before = len(stream.lines)
            SITE.send("203.0.113.3", 25, 5)
            LAB.gate("enforce", "-y")
            SITE.send("203.0.113.4", 25)
            stream.read_until(lambda seen: totals(events(seen[before:]), "dropped") >= 1)
            # The paused packets are no blocked ones, whichever interval they fell into.
            assert totals(events(stream.lines[before:]), "would_drop") == 0
            assert {e["address"] for e in events(stream.lines[before:])
                    if e["event"] == "source"} <= {"203.0.113.4"}
    finally:
        LAB.gate("enforce", "-y")


@tap.test
def bounded():
    """more sources than fit: fifty, then how many others; all packets are in it"""
    sent = {(f"198.51.{n // 200}.{n % 200 + 1}", 25): (1, 1) for n in range(300)}
    with Watcher(LAB, "-j", "watch", "--every", "2s") as stream, \
            Watcher(LAB, "watch", "--every", "2s") as text:
        for source, port in sent:
            SITE.send(source, port, pause=0)
        stream.read_until(lambda seen: totals(events(seen), "dropped") >= 300)
        text.read_until(lambda seen: told(as_events(seen)) >= 300)
        found = events(stream.lines)
        compare(found, sent)
        compare(as_events(text.lines), sent)
        rows = collections.Counter(e["time"] for e in found if e["event"] == "source")
        assert max(rows.values()) == 50, rows
        assert any(e["event"] == "others" and e["sources"] for e in found), found
        assert any(OTHERS.match(line) for line in text.lines), text.lines
        # In an interval: the sources, those with most packets first, the others, the total.
        order = ["source", "others", "total"]
        for when in rows:
            part = [e for e in found if e["time"] == when]
            kinds = [order.index(e["event"]) for e in part]
            packets = [e["packets"] for e in part if e["event"] == "source"]
            assert kinds == sorted(kinds) and packets == sorted(packets, reverse=True), part


@tap.test
def goes_on():
    """the gate is detached, made anew, the list changed: it goes on"""
    with Watcher(LAB, "-j", "watch") as stream:
        seen = 0
        # Each time another source: a table that is made anew within a second and holds the very
        # same is the same to watch.
        for number, commands in enumerate(((("detach", "--all"), ("attach", "eth0")),
                         (("detach", "--all"), ("rm", "-r"), ("attach", "eth0")),
                         (("add", "203.0.113.9"), ("delete", "203.0.113.9"), ("sync",)))):
            source = f"203.0.113.{10 + number}"
            for command in commands:
                if command[0] == "rm":
                    LAB.mail.run("rm", "-r", BPFFS + "/abi1")
                else:
                    LAB.gate(*command)
            SITE.send(source, 25, 2)
            stream.read_until(lambda lines, seen=seen: told(events(lines[seen:])) >= 2)
            compare(events(stream.lines[seen:]), {(source, 25): (2, 2)})
            seen = len(stream.lines)


@tap.test
def unseen():
    """on no interface: one note on standard error, not with -q; the lines come when it is back"""
    LAB.gate("detach", "--all")
    try:
        with Watcher(LAB, "watch") as text, Watcher(LAB, "-q", "watch") as quiet, \
                Watcher(LAB, "-j", "watch") as stream:
            LAB.gate("attach", "eth0")
            SITE.send("203.0.113.7", 25, 2)
            stream.read_until(lambda lines: told(events(lines)) >= 2)
            text.read_until(lambda lines: told(as_events(lines)) >= 2)
            note = "smtpgate: note: the gate is on no interface, so there is nothing to see yet:" \
                   " smtpgate attach IFACE\n"
            assert [w.end(signal.SIGTERM)[1] for w in (text, quiet, stream)] == [note, "", note]
    finally:
        LAB.gate("attach", "eth0")


@tap.test
def as_service():
    """with the rights that smtpgate-drops.service has; disk and bpffs are read-only"""
    unit = (ROOT / "dist/systemd/smtpgate-drops.service").read_text("utf-8")
    rights = re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.M)[1].lower().split()
    command = re.search(r"^ExecStart=/usr/sbin/smtpgate (.*) --every 60s$", unit, re.M)[1].split()
    kept = "-all," + ",".join("+" + r.removeprefix("cap_") for r in rights)
    script = (f"mount --bind {STATE} {STATE} && mount -o remount,bind,ro {STATE} &&"
              f" mount -o remount,bind,ro {MNT}/bpf && exec setpriv"
              f" --no-new-privs --bounding-set {kept} --inh-caps=-all {PROGRAM} \"$@\"")
    with Watcher(LAB, *command, through=("unshare", "--mount", "sh", "-c", script, "sh")) as stream:
        pid = stream.inside()
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            have = int(re.search(r"^CapEff:\s*(\w+)", file.read(), re.M)[1], 16)
        assert have.bit_count() == len(rights), hex(have)
        SITE.send("203.0.113.6", 25, 2)
        stream.read_until(lambda seen: totals(events(seen), "dropped") >= 2)
        compare(events(stream.lines), {("203.0.113.6", 25): (2, 2)})


@tap.test
def reader_goes():
    """nobody reads any more: it ends, at once and without a word, also when there is nothing to
    say"""
    for args in (("watch",), ("-j", "watch", "--every", "1h")):
        with Watcher(LAB, *args) as watcher:
            watcher.process.stdout.close()
            status = watcher.process.wait(PATIENCE)
            assert status in (0, -signal.SIGPIPE, 128 + signal.SIGPIPE), status
            assert watcher.process.stderr.read() == b""


# ---- in a terminal ----

class Tmux:
    """A terminal with a shell of the mail host in it."""

    def __init__(self, lab):
        self.socket = f"smtpgate-test-{os.getpid()}-{next(NUMBERS)}"
        self.env = dict(lab.env, LANG="C.UTF-8", LC_ALL="C.UTF-8", HOME="/",
                        TERM="xterm-256color")
        self.env.pop("TMUX", None)
        shell = lab.mail.argv("bash", "--norc", "--noprofile", "-i")
        self.tmux("new-session", "-d", "-x", "80", "-y", "24", shlex.join(shell))
        self.shell("PS1='$ '; clear")
        self.wait(r"^\$$")

    def tmux(self, *args):
        """One command of tmux."""
        done = subprocess.run(["tmux", "-L", self.socket, "-f", "/dev/null", *args], env=self.env,
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, (args, done.stderr)
        return done.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(AssertionError):
            self.tmux("kill-server")

    def screen(self, colours=False):
        """What is shown."""
        return self.tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def type(self, *keys):
        """Presses keys by their names."""
        self.tmux("send-keys", *keys)

    def write(self, text):
        """Types text as it is."""
        self.tmux("send-keys", "-l", text)

    def shell(self, line):
        """A line for the shell."""
        self.write(line)
        self.type("Enter")

    def wait(self, *patterns, gone=()):
        """Until all patterns (regular expressions) are on the screen, and none of `gone`."""
        end = time.monotonic() + PATIENCE
        while True:
            shown = self.screen()
            if all(re.search(p, shown, re.M) for p in patterns) and \
                    not any(re.search(p, shown, re.M) for p in gone):
                return shown
            assert time.monotonic() < end, f"no {patterns} without {gone} in:\n{shown}"
            time.sleep(0.02)

    def watch(self, *args, before=""):
        """Starts watch in the shell, at 80x24; returns when its screen is there."""
        self.resize(80, 24)
        self.shell(f"clear; {before} {PROGRAM} watch {' '.join(args)}; echo ended=$?")
        return self.wait(r"^smtpgate watch", r"q quit")

    def quit(self):
        """The usual way out."""
        self.type("q")
        self.wait(r"^ended=0$")

    def resize(self, width, height):
        """The terminal gets another size."""
        self.tmux("resize-window", "-x", str(width), "-y", str(height))


def at_terminal(function):
    """Decorator below @test: the test gets a terminal of its own."""
    @functools.wraps(function)
    def with_terminal():
        with Tmux(LAB) as term:
            function(term)
    return with_terminal


def listed():
    """{who: remark} of the list."""
    return {e["who"]: e["remark"] for e in LAB.json("list")["entries"]}


def row(address):
    """A pattern for a source's row."""
    return r"^[> ]" + re.escape(address) + r"\s"


def go_to(term, address):
    """Selects a source in the order by address, from the top."""
    for _ in range(8):
        if "s sort (address)" in term.screen():
            break
        now = re.search(r"s sort \([\w ]+\)", term.screen())[0]
        term.type("s")
        term.wait(r"s sort", gone=(re.escape(now),))
    term.type("Home")
    term.wait(r"\b1 of \d+")
    for number in range(2, 600):
        if re.search(r"^>" + re.escape(address) + r"\s", term.screen(), re.M):
            return
        term.type("Down")
        term.wait(rf"\b{number} of \d+")
    raise AssertionError(f"no {address} in:\n{term.screen()}")


@tap.test
@at_terminal
def live(term):
    """the live screen: sources, sorting, pausing, help; the terminal is as it was afterwards"""
    SITE.send("198.18.0.1", 587, 9)
    term.shell(f"stty -a >{MNT}/before")
    shown = term.watch()
    assert "enforce: unlisted sources are dropped" in shown, shown
    assert re.search(r"eth0: attached, \w+ mode; 1 entry, in step with the kernel", shown), shown
    for part in ("passed ", "dropped ", "attempts ", "ADDRESS", "PORT", "PACKETS", "VERDICT",
                 "LAST SEEN", "FIRST SEEN"):
        assert part in shown, (part, shown)
    SITE.send("198.18.0.2", 25, 40)
    SITE.send("198.18.0.1", 587, 1)
    term.wait(row("198.18.0.2") + r".*\bdrop\b", row("198.18.0.1") + r" *587 +10 +1 ")
    term.wait(r"^dropped .*[\u2581-\u2588]")
    rows = re.findall(r"^[> ]198\.18\.0\.\d", term.screen(), re.M)
    assert [r[1:] for r in rows] == ["198.18.0.2", "198.18.0.1"], rows
    for order in ("recent", "last seen", "address", "packets"):
        term.type("s")
        term.wait(rf"s sort \({order}\)")
    term.type("p")
    term.wait(r"PAUSED", r"p go on")
    SITE.send("198.18.0.3", 25, 70)
    term.type("?")
    term.wait(r"let the selected source in", gone=(row("198.18.0.1"),))
    term.type("x")
    shown = term.wait(r"PAUSED", row("198.18.0.1"), gone=(row("198.18.0.3"),))
    time.sleep(1.2)     # a reading's time
    assert term.screen() == shown, "it does not stand still"
    term.type("Space")
    term.wait(row("198.18.0.3"), gone=("PAUSED",))
    term.quit()
    term.shell(f"stty -a >{MNT}/after; echo saved")
    term.wait(r"^saved$")
    stty = [LAB.mail.path(f"{MNT}/{n}").read_text("utf-8") for n in ("before", "after")]
    assert stty[0] == stty[1], stty
    assert "smtpgate watch  " not in term.screen(), "the screen was not put back"


@tap.test
@at_terminal
def sizes(term):
    """any size: what matters most is there, nothing breaks"""
    term.watch()
    for width, height, parts in (
            (40, 10, (r"^enforce: ", r"^dropped ", r"PACKETS", row("198.18.0.3"))),
            (30, 6, (r"^enforce: ", r"^dropped", row("198.18.0.3") + r" *25$")),
            (20, 5, (r"^enforce: ", r"^dropped", r"^[> ]198\.18\.0\.\d")),
            (12, 3, (r"^enforce:",)), (2, 2, (r"^en",)), (1, 1, ()),
            (250, 60, (r"^smtpgate watch .*\d\d:\d\d:\d\d$", "ATTEMPTS", r"\bpeak\b")),
            (80, 24, (r"^smtpgate watch", "FIRST SEEN", r"q quit", row("198.18.0.3")))):
        term.resize(width, height)
        shown = term.wait(*parts, gone=() if width > 9 else ("smtpgate watch",))
        assert all(len(line) <= width for line in shown.split("\n")), shown
    term.type("End")
    number = int(re.search(r"of (\d+)", term.wait(r"(\d+) of \1\b"))[1])
    term.type("PPage")
    term.wait(rf"\b{number - 12} of|\b1 of {number}\b")
    # Scrolled on a small one; a larger one shows what was above again.
    term.type("Home")
    term.wait(rf"\b1 of {number}\b")
    first = re.search(r"^>(\S+)", term.screen(), re.M)[1]
    term.resize(80, 8)
    term.type("Down", "Down", "Down", "Down", "Down", "Down")
    term.wait(r"\b7 of", gone=(row(first),))
    term.resize(80, 24)
    term.wait(row(first), r"\b7 of")
    term.quit()


@tap.test
def endless():
    """a terminal that says it is endless is taken for a large one, or for none"""
    def size(terminal, rows, columns):
        fcntl.ioctl(terminal.keys, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(terminal, condition):
        end = time.monotonic() + PATIENCE
        while not condition(terminal.screen):
            assert time.monotonic() < end and select.select([terminal.keys], [], [], PATIENCE)[0]
            terminal.screen += os.read(terminal.keys, 65536).decode("utf-8", "replace")
        terminal.screen = ""
    env = dict(LAB.env, TERM="xterm")
    with Terminal(LAB.command("watch"), env) as terminal:
        read(terminal, lambda screen: "q quit" in screen)
        for rows, columns in ((1, 65535), (65535, 1), (65535, 65535), (24, 80)):
            size(terminal, rows, columns)
            terminal.type(b"?")
            if rows > 12 < columns:
                read(terminal, lambda screen: "goes back" in screen)
            terminal.type(b" ")
        terminal.type(b"q")
        assert terminal.end() == 0


@tap.test
@at_terminal
def allowed(term):
    """a: lets the selected source in with a remark, as add does; Esc and ^C cancel"""
    assert connect(SITE.client, HOST4, 587, "192.0.2.66", 0.2) == "timeout"
    term.watch()
    term.wait(row("192.0.2.66"))
    go_to(term, "192.0.2.66")
    for cancel in ("Escape", "C-c"):
        term.type("a")
        term.wait(r"let in 192\.0\.2\.66; remark: +Enter adds, Esc cancels$")
        term.write("nobody")
        term.wait(r"remark: nobody")
        term.type(cancel)
        term.wait(r"q quit", gone=("remark:",))
    assert listed() == {OFFICE: "office"}
    term.type("a")
    term.wait(r"let in 192\.0\.2\.66; remark:")
    term.write("Fr\u00e4uleinx")
    term.type("BSpace")
    term.wait("remark: Fr\u00e4ulein  +Enter adds, Esc cancels$")
    term.type("C-u")
    term.write("x" * 200)
    term.wait(r"x{50}$", gone=("at most",))
    term.write("y")
    term.wait(r"^200 bytes at most: x+$")
    term.type("BSpace")
    term.wait(r"x{50}$", gone=("at most",))
    term.type("C-u")
    term.write("Fr\u00e4ulein")
    term.wait("remark: Fr\u00e4ulein  ")
    term.type("Enter")
    term.wait(r"^smtpgate add 192\.0\.2\.66 --remark '", "added #\\d+ 192.0.2.66 \\(Fr\u00e4ulein\\)",
              ANY_KEY)
    assert listed() == {OFFICE: "office", "192.0.2.66": "Fr\u00e4ulein"}
    assert connect(SITE.client, HOST4, 587, "192.0.2.66", 3) == "open"
    term.type("x")
    term.wait(row("192.0.2.66") + r".*let in now", r"2 entries, in step")
    assert LAB.json("history")["changes"][0]["command"] == \
        "watch: add 192.0.2.66 --remark 'Fr\u00e4ulein'"
    # Once more, or where an entry has ended: there is nothing to ask.
    term.type("a")
    term.wait(r"^already let in$", gone=("remark:",))
    term.type("x")
    term.wait(r"q quit", gone=("already let in",))
    go_to(term, "198.18.0.2")
    LAB.gate("add", "198.18.0.2", "--for", "2s")
    term.wait(row("198.18.0.2") + r".* let in now ")
    number = LAB.json("list", "198.18.0.2")["entries"][0]["id"]
    term.wait(row("198.18.0.2") + r".* drop ")
    term.type("a")
    term.wait(rf"^its entry has ended: smtpgate edit '#{number}' --forever, or --for 8h$",
              gone=("remark:",))
    term.type("x")
    term.wait(r"q quit", gone=("has ended",))
    LAB.gate("delete", "198.18.0.2")
    # Without a remark; a remark that add refuses; no room in the list.
    go_to(term, "198.18.0.1")
    LAB.gate("set", "limit", "2")
    term.type("a")
    term.wait(r"let in 198\.18\.0\.1; remark:")
    term.type("Enter")
    term.wait(r"smtpgate: add: the list takes 2 entries and would have 3; nothing changed",
              r"hint: smtpgate set limit 3", ANY_KEY)
    term.type("x")
    term.wait(r"q quit")
    LAB.gate("set", "limit", "none")
    term.type("a")
    term.wait(r"remark:")
    term.type("Enter")
    term.wait(r"added #\d+ 198\.18\.0\.1$", ANY_KEY)
    term.type("x")
    term.wait(r"3 entries, in step")
    # A long remark is cut in the history, and not amid a character.
    go_to(term, "198.18.0.3")
    term.type("a")
    term.wait(r"remark:")
    term.write("x" + "\u00e9" * 99)
    term.type("Enter")
    term.wait(r"any key")
    term.type("x")
    term.wait(r"q quit")
    assert LAB.json("history")["changes"][0]["command"].endswith("\u00e9...'")
    term.quit()
    LAB.gate("delete", "192.0.2.66", "198.18.0.1", "198.18.0.3")


@tap.test
@at_terminal
def asked(term):
    """what add asks is asked on the plain terminal: No changes nothing, and watch goes on"""
    LAB.gate("disable", "-y")
    sock = SITE.client.socket()
    try:
        sock.bind(("192.0.2.68", 0))
        sock.settimeout(PATIENCE)
        sock.connect((HOST4, 25))
        SITE.send("203.0.113.200", 25)
        term.watch()
        term.wait(r"^off: the list is empty", row("203.0.113.200") + ".*pass")
        go_to(term, "203.0.113.200")
        for answer, said in (("n", "not confirmed; nothing changed"),
                             ("C-c", "not confirmed; nothing changed"), ("y", r"added #\d+")):
            term.type("a")
            term.wait(r"remark:")
            term.type("Enter")
            term.wait(r"192\.0\.2\.68", r"Go on\? \[y/N\]\s*\Z")
            if answer == "C-c":
                term.type(answer)
            else:
                term.write(answer)
                term.type("Enter")
            term.wait(said, ANY_KEY)
            term.type("x")
            term.wait(r"q quit")
            assert len(listed()) == (answer == "y")
        term.wait(r"^enforce: ")
        assert set(listed()) == {"203.0.113.200"}
        term.quit()
        term.shell(f"clear; stty -a >{MNT}/after; echo saved")
        term.wait(r"^saved$")
        stty = LAB.mail.path(f"{MNT}/after").read_text("utf-8")
        assert re.search(r"[^-]icanon", stty) and re.search(r"[^-]echo\b", stty), stty
    finally:
        sock.close()
        LAB.gate("add", OFFICE, "--remark", "office")
        LAB.gate("delete", "203.0.113.200", ok=None)


@tap.test
@at_terminal
def signals(term):
    """^Z and fg, SIGTERM, ^C: the terminal is as it was"""
    for key, back in (("C-z", r"Stopped"), (signal.SIGTSTP, r"Stopped"), ("C-c", r"^ended=0$"),
                      (signal.SIGTERM, r"^ended=0$"), (signal.SIGINT, r"^ended=0$")):
        term.watch()
        if isinstance(key, str):
            term.type(key)
        else:
            LAB.mail.run("pkill", f"-{int(key)}", "-x", "smtpgate")
        term.wait(back)
        if "Stopped" in back:
            term.shell("stty -a | grep -c -e ' icanon.* echo '")
            term.wait(r"^1$")
            term.shell("clear; fg")
            term.wait(r"^smtpgate watch ", r"q quit")
            term.type("q")      # bash went on to "ended" when it stopped
            term.wait(r"^\$$", gone=("q quit",))
        term.shell(f"clear; stty -a >{MNT}/after; echo saved")
        term.wait(r"^saved$")
        stty = LAB.mail.path(f"{MNT}/after").read_text("utf-8")
        assert re.search(r"[^-]icanon", stty) and re.search(r"[^-]echo\b", stty), stty


@tap.test
@at_terminal
def kinds(term):
    """NO_COLOR, no UTF-8, TERM=dumb or unknown"""
    red = "\x1b[31m"
    term.watch()
    term.wait(row("198.18.0.3"))
    assert red in term.screen(True)
    term.quit()
    term.watch(before="NO_COLOR=1 LC_ALL=C")
    SITE.send("198.18.0.3", 25, 30)
    shown = term.wait(row("198.18.0.3"), r"^dropped .*#")
    assert red not in term.screen(True) and shown.isascii(), shown
    term.quit()
    for name in ("dumb", "no-such-terminal"):
        term.shell(f"clear; TERM={name} {PROGRAM} watch; echo ended=$?")
        end = time.monotonic() + PATIENCE
        while not re.search(r"198\.18\.0\.4 +port 25 drop: ", term.screen()):
            SITE.send("198.18.0.4", 25)
            assert time.monotonic() < end, term.screen()
            time.sleep(0.2)
        term.type("C-c")
        term.wait(r"^\$$")


@tap.test
@at_terminal
def trouble(term):
    """what is wrong is said on the screen, and it goes on"""
    term.watch()
    LAB.gate("detach", "--all")
    term.wait(r"^no interface \(smtpgate attach IFACE\); 1 entry", r"but attached nowhere")
    store = LAB.mail.path("/mnt/state/smtpgate.db")
    LAB.gate("attach", "eth0")
    term.wait(r"^eth0: attached")
    store.rename(store.with_suffix(".kept"))
    term.wait(r"^cannot read: ")
    store.with_suffix(".kept").rename(store)
    term.wait(r"^eth0: attached")
    term.quit()


@tap.test
@at_terminal
def hang_up(term):
    """the terminal goes: so does watch"""
    term.watch()
    term.tmux("kill-server")
    # What nobody waits for stays as a zombie here.
    until(lambda: LAB.mail.run("pgrep", "-r", "RSDT", "-x", "smtpgate", ok=None).code == 1, PATIENCE)


with Lab() as LAB:
    SITE = Site(LAB)
    tap.main()
