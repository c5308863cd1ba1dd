#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""dist/udev with a real udevd: an interface that appears is guarded before udev tells others of it,
so before anything gives it an address. Each host has its own udevd, which hears of the interfaces of
its own network namespace only; the rules of the machine, which name interfaces, are there too.

A rule behind smtpgate's asks the kernel what is on the interface, as ifupdown's would find it.
Timings are said, and not judged."""
import contextlib
import os
import re
import statistics
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
# pylint: disable=wrong-import-position
import lab
import tap
from lab import expect, until

UDEVD = "/lib/systemd/systemd-udevd"
SOURCE = lab.ROOT / "dist" / "udev" / "60-smtpgate.rules"
MAIL, LISTED, UNLISTED = "192.0.2.1", "192.0.2.10", "192.0.2.66"
SEEN = lab.MNT + "/seen"
NEXT = f"""#!/bin/sh
read -r ifindex <"/sys/class/net/$INTERFACE/ifindex"
echo "$INTERFACE $ifindex $(ip -d link show dev "$INTERFACE" | grep -c 'prog/xdp')" >>{SEEN}
"""
PATIENCE = 30   # seconds: of a busy machine
TIMES = int(os.environ.get("CARDS", "3"))
LINE = re.compile(r"(KERNEL|UDEV) *\[([\d.]+)\] (add|move|remove) +\S*/([^/ ]+) \(net\)")


class Stage:
    """A mail host with udevd, a client, and what a monitor of udev's heard."""

    def __init__(self, stand):
        self.stand, self.mail, self.client = stand, stand.mail, stand.host("client")
        self.processes, self.threads, self.heard = [], [], []
        self.mail.run("sh", "-c", "mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /etc/udev;"
                      " mkdir -p /run/udev/rules.d /run/systemd/network")
        rule = SOURCE.read_text(encoding="utf-8")
        for theirs, ours in (("/var/lib/smtpgate/", lab.STATE + "/"), ("--wait 60s", "--wait 1s"),
                             ("/bin/systemctl", lab.MNT + "/systemctl"),
                             ("/usr/sbin/smtpgate", f"env SMTPGATE_STATE={lab.STATE}"
                              f" SMTPGATE_BPFFS={lab.BPFFS} {lab.PROGRAM}")):
            assert rule.count(theirs) == 1, f"{SOURCE} is another than this test knows"
            rule = rule.replace(theirs, ours)
        self.write("/run/udev/rules.d/60-smtpgate.rules", rule)
        self.write("/run/udev/rules.d/99-next.rules",
                   f'SUBSYSTEM=="net", ACTION=="add|move", RUN+="{lab.MNT}/next"\n')
        self.write(lab.MNT + "/next", NEXT, 0o755)
        self.write(lab.MNT + "/systemctl", f'#!/bin/sh\necho "$*" >>{lab.MNT}/called\n', 0o755)
        self.write(SEEN, "")
        self.write("/run/systemd/network/10-test.link",
                   "[Match]\nOriginalName=kern*\n[Link]\nName=lan0\n")

    def write(self, inner, text, mode=0o644):
        """A file of the mail host's."""
        self.mail.path(inner).write_text(text, encoding="utf-8")
        self.mail.path(inner).chmod(mode)

    def begin(self):
        """From now on udevd is at work."""
        self.start(UDEVD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.mail.path("/run/udev/control").exists, PATIENCE)
        monitor = self.start("stdbuf", "-oL", "udevadm", "monitor", "--kernel", "--udev",
                             "--subsystem-match=net", stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.DEVNULL)
        self.threads.append(threading.Thread(target=self.listen, args=(monitor.stdout,), daemon=True))
        self.threads[-1].start()
        # What was sent before the monitor heard is lost: until it hears of one, another is made.
        number = 0
        while not self.heard and number < 1000:
            self.mail.ip(f"link add first{number} type veth peer name other{number}",
                         f"link del first{number}")
            number += 1
        self.settle()

    def start(self, *command, **options):
        """A process that ends with the host."""
        done = self.mail.start(*command, env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
                               **options)
        self.processes.append(done)
        return done

    def listen(self, lines):
        """Keeps what the monitor says."""
        with lines:
            for line in lines:
                if match := LINE.match(line):
                    self.heard.append((match[1], float(match[2]), match[3], match[4]))

    def settle(self):
        """All that the kernel told is dealt with."""
        self.mail.run("udevadm", "settle", "--timeout=30")

    def told(self, name, action="add"):
        """How long udev had a device before it told others, in seconds; waits for that."""
        def both():
            return {kind: at for kind, at, what, which in self.heard
                    if (what, which) == (action, name)}
        until(lambda: len(both()) == 2, PATIENCE)
        return both()["UDEV"] - both()["KERNEL"]

    def appears(self, name):
        """A card is plugged in, and nobody has given it an address yet."""
        self.heard.clear()
        self.write(SEEN, "")
        self.plug(name)

    def plug(self, name):
        """The kernel has a new device, down; by the time of the next line it may be renamed."""
        lab.execute(["nsenter", f"--target={self.mail.pid}", "--net", "--", "ip", "link", "add",
                     "name", name, "type", "veth", "peer", "name", "cable", "netns",
                     str(self.client.pid)])

    def goes(self, name):
        """It is pulled."""
        self.mail.run("ip", "link", "del", "dev", name)
        self.settle()

    def seen(self):
        """What the rule behind found: {(name, index): was a program on it}."""
        rows = (line.split() for line in self.mail.path(SEEN).read_text().splitlines())
        return {row[0]: row[2] == "1" for row in rows if len(row) == 3}

    def attempts(self, name):
        """The card gets its address; who comes in."""
        self.mail.ip(f"link set {name} up")
        self.client.ip("link set cable up")
        self.mail.address(name, MAIL + "/24")
        self.client.address("cable", LISTED + "/24", UNLISTED + "/24")
        expect(self.client, [(LISTED, MAIL, 587, "open"), (UNLISTED, MAIL, 587, "timeout")])

    def close(self):
        """The host has ended, and with it udevd and the monitor."""
        for process in self.processes:
            process.wait(10)
        for thread in self.threads:
            thread.join(10)


def on_stage(function):
    """A test on a stage of its own, which it gets."""
    def run():
        with contextlib.ExitStack() as stack:
            stand = lab.Lab()
            stage = Stage(stand)
            stack.callback(stage.close)
            stack.enter_context(stand)
            stage.mail.listen(587)
            stand.gate("-q", "add", LISTED)
            function(stage)
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    return run


def works():
    """Does a udevd in a namespace hear of that namespace's interfaces on this machine?"""
    if not os.access(UDEVD, os.X_OK):
        return False
    host = lab.Host("trial", bpffs=False)
    try:
        host.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        host.start(UDEVD, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
        until(host.path("/run/udev/control").exists, PATIENCE)
        host.ip("link add trial type veth peer name other")
        host.run("udevadm", "settle", "--timeout=30")
        return any(host.path("/run/udev/data").glob("n*"))
    except AssertionError:
        return False
    finally:
        host.close()    # and with it udevd


NEEDED = lab.needs(works(), "a udevd that hears of a namespace's interfaces")


def remember(stage, *names):
    """attach is told of cards, and they are pulled."""
    for name in names:
        stage.plug(name)
        stage.stand.gate("-q", "attach", "--", name)
        stage.mail.run("ip", "link", "del", "dev", name)


@tap.test
@NEEDED
@on_stage
def a_new_card(stage):
    """a remembered card is guarded before udev tells of it, each time; another one is left alone"""
    remember(stage, "eth1")
    stage.begin()
    took = []
    for _ in range(TIMES):
        stage.appears("eth1")
        took.append(stage.told("eth1"))
        stage.settle()
        assert stage.seen() == {"eth1": True}, stage.seen()
        stage.attempts("eth1")
        stage.goes("eth1")
    print(f"# a card is guarded and told of {1000 * statistics.median(took):.0f} ms after the"
          f" kernel's word (median of {len(took)}, at most {1000 * max(took):.0f} ms)", flush=True)
    stage.appears("eth9")
    stage.told("eth9")
    stage.settle()
    assert stage.seen() == {"eth9": False}, stage.seen()


@tap.test
@NEEDED
@on_stage
def renamed(stage):
    """a card that udev gives another name is guarded by that one"""
    remember(stage, "lan0")
    stage.begin()
    stage.appears("kern0")
    stage.settle()
    assert stage.seen().get("lan0") is True, stage.seen()
    stage.attempts("lan0")


@tap.test
@NEEDED
@on_stage
def held_up(stage):
    """a change that takes too long for udev: smtpgate.service is asked to try again, and to fail"""
    remember(stage, "eth1")
    stage.begin()
    assert not stage.mail.path(lab.MNT + "/called").exists()
    holder = stage.start("flock", lab.STATE + "/lock", "sleep", "60")
    until(lambda: stage.mail.run("flock", "-n", lab.STATE + "/lock", "true", ok=(0, 1)).code == 1)
    stage.appears("eth1")
    stage.told("eth1")
    assert stage.mail.path(lab.MNT + "/called").read_text() == "-q --no-block restart smtpgate.service\n"
    assert holder.poll() is None


@tap.test
@NEEDED
@on_stage
def odd_names(stage):
    """names that a shell or udev might take for something else"""
    names = ("a$b", "a'b\"", "-x", "$name", "a\\b", "a;b&c", "e*", "--boot")
    remember(stage, *names)
    stage.begin()
    for name in names:
        stage.appears(name)
        stage.settle()
        row = next(r for r in stage.stand.json("status", ok=(0, 4))["interfaces"]
                   if r["name"] == name)
        assert row["attached"], row
        stage.goes(name)


tap.main()
