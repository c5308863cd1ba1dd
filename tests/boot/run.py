#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""From power-on to shutdown, on a Debian that really boots: "make check-boot".

    run.py [--deb FILE] [--installed FILE] [--page FILE] [SCENE ...]

Every scene is a boot or more of a disk with Debian 12 (or $SUITE), Postfix and smtpgate's package, with
clients around it that never stop asking (outside.py). A scene is a list of facts, each of which holds or not:
the page (docs/BOOT.md) and the TAP lines are made of them. Nothing but the lines of root/ and
image.py is set up by hand: the gate comes and goes as the package has it.
"""
import argparse
import base64
import contextlib
import datetime
import gzip
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import archive  # noqa: E402
import image  # noqa: E402
import power  # noqa: E402
from lab import ROOT, until  # noqa: E402
from machine import CPUS, Machine  # noqa: E402
from outside import CARDS, GUARDED, LISTED, NETS, OPEN, UNLISTED, Outside, addresses  # noqa: E402

BUILD = archive.place(ROOT / "build", "boot")
DEBIAN = {"bookworm": "Debian 12", "trixie": "Debian 13"}.get(archive.SUITE, "Debian " + archive.SUITE)
RELAY = "postfix@-.service" if archive.SUITE == "bookworm" else "postfix.service"
PROBLEMS = "EPERM|EACCES|denied|not permitted|dumped core|Failed to|SECCOMP"
MANY = 100000           # entries of the import that the power fails in


class Scene:
    """What has to hold in a scene, and whether it did."""

    def __init__(self, name):
        self.name, self.facts, self.start = name, [], time.monotonic()
        self.versions = {}

    @contextlib.contextmanager
    def fact(self, words):
        """What is said in `words` holds unless the body raises; it may put numbers into the list."""
        numbers = []
        try:
            yield numbers
            good = True
        except Exception:  # pylint: disable=broad-except
            good = False
            for line in traceback.format_exc().splitlines()[-30:]:
                print("# " + line, flush=True)
        said = words + (f" ({', '.join(map(str, numbers))})" if numbers else "")
        self.facts.append((good, said))
        print(f"{'# ok' if good else '# NOT'} {time.monotonic() - self.start:4.0f} s {said}", flush=True)


class Bench:
    """What the scenes share: the image, the packages, a folder that goes with the run."""

    def __init__(self, deb, kept):
        self.image = image.make(BUILD)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
        self.deb = pathlib.Path(deb)
        self.newer = make_newer(self.deb, self.work)
        self.cargo = self.work / "cargo.tar"
        self.big = big_list(self.work / "big.list")
        subprocess.run(["tar", "-cf", self.cargo, "-C", self.deb.parent, self.deb.name,
                        "-C", self.work, self.newer.name, "big.list"], check=True)
        self.installed = pathlib.Path(kept) if kept else self.work / "installed"

    def disk(self, source, name):
        """A disk of a scene's own."""
        target = self.work / name
        subprocess.run(["cp", "--sparse=always", source, target], check=True)
        return target

    @contextlib.contextmanager
    def boot(self, outside, disk, words=None, **options):
        """A machine with the cargo on its second disk."""
        log = BUILD / f"console-{pathlib.Path(disk).name}"
        with Machine(outside.host, self.image, words or f"file={disk},format=raw,cache=unsafe",
                     cargo=self.cargo, log=log, **options) as guest:
            yield guest

    def close(self):
        """Removes what the run made."""
        shutil.rmtree(self.work, ignore_errors=True)


def make_newer(deb, work):
    """The same package with a higher version."""
    tree = work / "newer"
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = tree / "DEBIAN" / "control"
    lines = [line + "+next" if line.startswith("Version: ") else line
             for line in control.read_text(encoding="utf-8").splitlines()]
    control.write_text("\n".join(lines) + "\n", encoding="utf-8")
    subprocess.run(["dpkg-deb", "-b", "--root-owner-group", tree, work / "newer.deb"],
                   check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return work / "newer.deb"


def big_list(path):
    """Many sources; the clients' own are among neither."""
    chance = random.Random(7)
    first = chance.sample(range(0x0b000000, 0x60000000), MANY)
    path.write_text("".join(f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}\n"
                            for a in sorted(first)), encoding="ascii")
    return path


def unpack(guest):
    """The cargo, into /cargo."""
    guest.run("mkdir -p /cargo && tar -x -C /cargo -f /dev/vdb")


def show(guest, unit, name):
    """A property of a unit as a number of seconds since power-on, or as text."""
    value = guest.run(f"systemctl show -P {name} {unit}").out.strip()
    return int(value) / 1e6 if value.isdigit() and name.endswith("Monotonic") else value


def versions(guest):
    """What the guest runs."""
    kernel = {"Linux": guest.run("uname -r").out.strip()}
    return kernel | {name: guest.run(f"dpkg-query -W -f '${{Version}}' {name}").out.strip()
                     for name in ("smtpgate", "systemd", "postfix")}


def past(guest):
    """{counter: packets} that came past the gate."""
    shown = json.loads(guest.run("nft -j list counters table inet test").out)
    return {c["counter"]["name"]: c["counter"]["packets"]
            for c in shown["nftables"] if "counter" in c}


def all_asked(outside):
    """The guest answers the unlisted client where it may, on each card and address family."""
    seen = {(a.card, ":" in a.source) for a in outside.answered(UNLISTED, (OPEN,))}
    return len(seen) == 2 * len(CARDS)


def all_greeted(outside, cards=CARDS):
    """The mail server greeted the listed client at each address and port."""
    wanted = {(card, net, port) for card in cards for net in NETS[card] for port in GUARDED}
    with outside.lock:
        return wanted <= set(outside.greeted)


def no_leak(outside, since=0.0):
    """Not one answer for the unlisted."""
    leaks = outside.leaks(since)
    assert not leaks, f"{len(leaks)} answers: {leaks[:5]}"


def nothing_past(guest):
    """The kernel's own counters say the same."""
    counters = past(guest)
    assert counters["unlisted4"] == counters["unlisted6"] == 0, counters
    assert counters["listed4"] > 0 and counters["listed6"] > 0, counters
    return counters


def closing(scene, outside, cards=CARDS):
    """What the whole life of a guest has to have shown."""
    with scene.fact("from power-on to power-off not one answer from a guarded port to the unlisted"
                    " client") as numbers:
        numbers.append(f"{outside.syns(UNLISTED):,} packets of it stood on the cables")
        no_leak(outside)
        assert outside.syns(UNLISTED) > 1000
    if cards == CARDS:
        with scene.fact("which was answered all the time where it may ask") as numbers:
            numbers.append(f"{len(outside.answered(UNLISTED, (OPEN,))):,} answers")
            assert all_asked(outside)


# The scenes.

def install(scene, bench):
    """Without the gate everybody is let in; the package changes nothing until it is told to"""
    disk = bench.disk(bench.image / "disk", "fresh")
    # Not as often as elsewhere: here the mail server talks with all of them.
    with Outside(0.5) as outside, bench.boot(outside, disk) as guest:
        with scene.fact("the system boots without a unit that failed"):
            said = guest.up()
            assert said == "running", said + guest.run("systemctl --failed", ok=None).out
        with scene.fact("without the gate the unlisted client is let in, at each address and port"):
            until(lambda: len({(a.card, ":" in a.source, a.port) for a in outside.leaks()
                               if a.kind == "SYN-ACK"}) == 12, 60)
        unpack(guest)
        with scene.fact("the package installs without a network, asks nothing"):
            done = guest.run(f"DEBIAN_FRONTEND=noninteractive apt-get -q -y install "
                             f"/cargo/{bench.deb.name} 2>&1", timeout=300)
            print("# " + done.out.replace("\n", "\n# "))
        with scene.fact("then nothing is attached, nothing failed, and everybody is let in as before"):
            assert not json.loads(guest.run("ip -d -j link show ens4").out)[0].get("xdp")
            assert not guest.run("ls /sys/fs/bpf", ok=None).out.strip()
            assert "0 loaded" in guest.run("systemctl --failed").out
            count = len(outside.leaks())
            until(lambda: len(outside.leaks()) > count + 50, 30)
        with scene.fact("the boot units are enabled; sockets, timer and summaries wait to be"):
            for unit, state in (("smtpgate-pre.service", "enabled"), ("smtpgate.service", "enabled"),
                                ("smtpgate-policy.socket", "disabled"),
                                ("smtpgate-exporter.socket", "disabled"),
                                ("smtpgate-metrics.timer", "disabled"),
                                ("smtpgate-drops.service", "disabled")):
                said = guest.run(f"systemctl is-enabled {unit}", ok=None).out.strip()
                assert said == state, f"{unit}: {said}, not {state}"
        with scene.fact("from attach and add on nothing of the unlisted comes past") as numbers:
            guest.run("smtpgate attach ens4 ens5")
            guest.run("smtpgate add " + " ".join(a for a in addresses(LISTED) if ":" not in a))
            guest.run("smtpgate add " + " ".join(a for a in addresses(LISTED) if ":" in a))
            before, asked = past(guest), outside.syns(UNLISTED)
            until(lambda: outside.syns(UNLISTED) > asked + 100, 60)
            after = past(guest)
            numbers.append(f"xdp {guest.run('smtpgate -j status').json['interfaces'][0]['xdp_mode']}")
            assert before["unlisted4"] == after["unlisted4"], (before, after)
            assert before["unlisted6"] == after["unlisted6"], (before, after)
        scene.versions = versions(guest)
        guest.run("systemctl -q enable smtpgate-drops.service smtpgate-exporter.socket "
                  "smtpgate-policy.socket smtpgate-metrics.timer")
        guest.run("mkdir -p /var/lib/prometheus/node-exporter && adduser --quiet reader smtpgate")
        guest.off()
    disk.rename(bench.installed)


def installed(bench, name):
    """A disk on which the package is installed and the gate set up."""
    if not bench.installed.exists():
        install(Scene("install"), bench)
    return bench.disk(bench.installed, name)


def healthy(scene, guest, network="systemd-networkd.service"):
    """How a boot has to have gone."""
    with scene.fact("the system is up and no unit failed"):
        said = guest.up()
        assert said == "running", (said + guest.run("systemctl --failed", ok=None).out
                                   + guest.run("journalctl -b -u 'smtpgate*'", ok=None).out)
    with scene.fact(f"smtpgate-pre.service was done before {network} began") as numbers:
        done = show(guest, "smtpgate-pre.service", "ActiveEnterTimestampMonotonic")
        began = show(guest, network, "InactiveExitTimestampMonotonic")
        numbers.append(f"{done:.2f} s and {began:.2f} s after the kernel")
        assert 0 < done <= began
    with scene.fact("smtpgate.service was done before Postfix began") as numbers:
        done = show(guest, "smtpgate.service", "ActiveEnterTimestampMonotonic")
        began = show(guest, RELAY, "InactiveExitTimestampMonotonic")
        numbers.append(f"{done:.2f} s and {began:.2f} s")
        assert 0 < done <= began
    with scene.fact("smtpgate status --check has nothing to say"):
        guest.run("smtpgate status --check")
    scene.versions = versions(guest)


def life(scene, bench):
    """A boot, the units at work, an upgrade, a card with another name, a shutdown"""
    disk = installed(bench, "life")
    with Outside() as outside, bench.boot(outside, disk) as guest:
        healthy(scene, guest)
        with scene.fact("Postfix greets the listed client at each address and port"):
            until(lambda: all_greeted(outside), 120)
        with scene.fact("counters in the guest: nothing of the unlisted came past the gate") as numbers:
            numbers.append(", ".join(f"{k} {v:,}" for k, v in nothing_past(guest).items()))
        with scene.fact("Postfix's log has no connection of the unlisted"):
            log = guest.run("journalctl -b -t postfix/smtpd -t postfix/smtpd -o cat --no-pager "
                            "| grep -F 'connect from' | sort | uniq -c").out
            assert "]" in log and not any(f"[{a}]" in log for a in addresses(UNLISTED)), log
        units_work(scene, guest)
        upgraded(scene, bench, guest, outside)
        renamed(scene, guest, outside)
        guest.off()
        closing(scene, outside)


def hotplug(scene, bench):
    """A card is pulled and put back"""
    disk = installed(bench, "hotplug")
    # No queues to spare for XDP's own: Linux 6.1 leaks those of a virtio card that is pulled while a
    # program is on it, and waits for them for ever ("unregister_netdevice: waiting for ens5").
    with Outside() as outside, bench.boot(outside, disk, queues=CPUS) as guest:
        assert guest.up() == "running"
        pulled(scene, guest, outside)
        guest.off()
        closing(scene, outside)


def asking(path):
    """A program in Python that asks the policy service about an account of the listed client's."""
    return (f"import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"{path}\");"
            "s.sendall(b\"request=smtpd_access_policy\\nprotocol_state=RCPT\\nsasl_username=a\\n"
            "client_address=192.0.2.10\\n\\n\"); print(s.recv(99).decode())")


def units_work(scene, guest):
    """Every unit does its work under its sandbox."""
    with scene.fact("the exporter answers, started by its socket"):
        said = guest.run("curl -sS -m 60 http://127.0.0.1:10465/metrics").out
        assert "smtpgate_packets_total" in said, said[:500]
    with scene.fact("the policy service answers the relay's user, and nobody else may ask"):
        ask = asking("/run/smtpgate/policy.sock")
        said = guest.run(f"setpriv --reuid postfix --regid postfix --clear-groups python3 -c '{ask}'").out
        assert said.startswith("action="), said
        guest.run(f"setpriv --reuid nobody --regid nogroup --clear-groups python3 -c '{ask}'", ok=1)
    with scene.fact("the timer writes the file for node_exporter"):
        until(lambda: guest.run("test -s /var/lib/prometheus/node-exporter/smtpgate.prom",
                                ok=None).code == 0 or time.sleep(2), 90)
    with scene.fact("the summaries of the dropped are in the journal"):
        until(lambda: UNLISTED in guest.run("journalctl -b -t smtpgate-drops -o cat --no-pager",
                                            ok=None).out or time.sleep(3), 120)
    with scene.fact("no unit ran into its sandbox"):
        said = guest.run(f"journalctl -b -u 'smtpgate*' -o cat --no-pager | grep -E '{PROBLEMS}'",
                         ok=None).out
        assert not said, said
    with scene.fact("a member of the group reads the list without root, another user does not"):
        said = guest.run("setpriv --reuid reader --regid reader --init-groups smtpgate list").out
        assert "192.0.2.10" in said, said
        guest.run("setpriv --reuid nobody --regid nogroup --clear-groups smtpgate list", ok=(4, 5, 6))


def gated(guest, name):
    """Has the device a program, says the kernel."""
    done = guest.run(f"ip -d -j link show {name}", ok=None)
    return done.code == 0 and bool(json.loads(done.out)[0].get("xdp"))


def renamed(scene, guest, outside):
    """Another name for a card that is in use."""
    with scene.fact("a card that gets another name stays guarded"):
        guest.run("ip link set ens5 down && ip link set ens5 name mail0 && ip link set mail0 up")
        assert gated(guest, "mail0")
        asked = outside.syns(UNLISTED)
        until(lambda: outside.syns(UNLISTED) > asked + 300, 30)
        no_leak(outside)
        # udev keeps the name of the slot as a second one.
        guest.run("ip link set mail0 down; ip link property del dev mail0 altname ens5;"
                  " ip link set mail0 name ens5 && ip link set ens5 up")
        guest.run("smtpgate status --check")


def appeared(guest, name):
    """Seconds from the kernel's word that a card is there to the gate's that it is guarded: the last of
    each in the journal."""
    rows = [json.loads(line) for line in guest.run(
        "journalctl -b -o json --output-fields=MESSAGE,_TRANSPORT,SYSLOG_IDENTIFIER,SMTPGATE_EVENT,"
        "SMTPGATE_INTERFACE --no-pager").out.splitlines()]
    kernel = [int(r["__MONOTONIC_TIMESTAMP"]) for r in rows if r.get("_TRANSPORT") == "kernel"
              and f"{name}: renamed from" in str(r.get("MESSAGE"))]
    gate = [int(r["__MONOTONIC_TIMESTAMP"]) for r in rows if r.get("SMTPGATE_EVENT") == "attach"
            and r.get("SMTPGATE_INTERFACE") == name]
    assert kernel and gate, (kernel, gate)
    return (gate[-1] - kernel[-1]) / 1e6


def comes_back(outside, guest, name, card):
    """A card that was just put in is guarded, and works."""
    until(lambda: gated(guest, name) or time.sleep(0.2), 60)
    since = time.monotonic()
    until(lambda: any(a.card == card for a in outside.answered(UNLISTED, (OPEN,), since)), 60)
    no_leak(outside)


def pulled(scene, guest, outside):
    """A card goes and comes."""
    with scene.fact("a card is pulled: the other one stays guarded, and works"):
        try:
            guest.unplug(2)
        except TimeoutError:
            raise AssertionError(guest.run("dmesg | tail -n 5", ok=None).out) from None
        assert guest.run("ip link show ens5", ok=None).code
        since = time.monotonic()
        until(lambda: any(a.card == 1 for a in outside.answered(UNLISTED, (OPEN,), since)), 60)
        assert gated(guest, "ens4")
    for turn in ("first", "second", "third"):
        with scene.fact(f"put back ({turn} time), it is guarded before it carries traffic") as numbers:
            guest.plug(2)
            comes_back(outside, guest, "ens5", 2)
            numbers.append(f"{appeared(guest, 'ens5'):.2f} s from the kernel's word to the gate's")
        if turn != "third":
            with contextlib.suppress(Exception):
                guest.unplug(2)
    with scene.fact("then all is as it was"):
        guest.run("smtpgate status --check")
        nothing_past(guest)


def total(guest):
    """Packets that the gate dropped."""
    return guest.run("smtpgate -j status").json["counters"]["dropped"]


def upgraded(scene, bench, guest, outside):
    """A newer package."""
    unpack(guest)
    with scene.fact("an upgrade under traffic: no answer for the unlisted, the gate stays on, counters"
                    " go on") as numbers:
        before = total(guest)
        guest.run("DEBIAN_FRONTEND=noninteractive apt-get -q -y install "
                  f"/cargo/{bench.newer.name} 2>&1", timeout=300)
        after = total(guest)
        numbers.append(f"{before:,} dropped before, {after:,} after")
        assert after >= before > 0
        assert gated(guest, "ens4") and gated(guest, "ens5")
        assert "+next" in guest.run("dpkg-query -W -f '${Version}' smtpgate").out
        no_leak(outside)
        nothing_past(guest)
        guest.run("smtpgate status --check")
    with scene.fact("and the listed client is still greeted, nothing failed"):
        with outside.lock:
            outside.greeted.clear()
        until(lambda: all_greeted(outside), 120)
        assert "0 loaded" in guest.run("systemctl --failed").out


def missing(scene, bench):
    """A remembered card is missing at the boot, and comes long after it"""
    disk = installed(bench, "missing")
    with Outside() as outside, bench.boot(outside, disk, cards=(1,)) as guest:
        with scene.fact("smtpgate.service failed, and is the only one"):
            guest.up()
            failed = guest.run("systemctl --failed --plain --no-legend").out
            assert "smtpgate.service" in failed and len(failed.splitlines()) == 1, failed
        with scene.fact("the journal says which card, and what to do") as numbers:
            said = guest.run("journalctl -b -u smtpgate.service -o cat --no-pager").out
            numbers.append(next(line for line in said.splitlines() if "ens5" in line).strip())
            assert "hint" in said, said
        with scene.fact("the card that is there is guarded, and Postfix greets the listed on it"):
            assert gated(guest, "ens4")
            until(lambda: all_greeted(outside, (1,)), 120)
        with scene.fact("the card comes after all: guarded before it carries traffic") as numbers:
            guest.plug(2)
            comes_back(outside, guest, "ens5", 2)
            numbers.append(f"{appeared(guest, 'ens5'):.2f} s from the kernel's word to the gate's")
        with scene.fact("then status --check has nothing to say, the service starts"):
            guest.run("smtpgate status --check")
            guest.run("systemctl restart smtpgate.service")
        guest.off()
        closing(scene, outside)


def ifupdown(scene, bench):
    """With ifupdown in place of systemd-networkd; then the package is removed, and purged"""
    disk = installed(bench, "ifupdown")
    with Outside() as outside, bench.boot(outside, disk) as guest:
        guest.ready()
        guest.run("systemctl -q mask systemd-networkd.service systemd-networkd.socket; systemctl -q enable"
                  " networking.service; cp /usr/lib/test/interfaces /etc/network/interfaces")
        guest.up()
        guest.off()
        with scene.fact("the boot before: not one answer for the unlisted"):
            no_leak(outside)
    with Outside() as outside, bench.boot(outside, disk) as guest:
        healthy(scene, guest, "networking.service")
        with scene.fact("Postfix greets the listed client at each address and port"):
            until(lambda: all_greeted(outside), 120)
        with scene.fact("counters in the guest: nothing of the unlisted came past the gate"):
            nothing_past(guest)
        with scene.fact("remove leaves list and gate as they are, and says so") as numbers:
            said = guest.run("apt-get -q -y remove smtpgate 2>&1", timeout=200).out
            numbers.extend(line.strip() for line in said.splitlines() if "gate" in line
                           and line.startswith("smtpgate"))
            assert gated(guest, "ens4") and gated(guest, "ens5")
            guest.run("test -s /var/lib/smtpgate/smtpgate.db")
            no_leak(outside)
            nothing_past(guest)
        with scene.fact("purge takes the gate off, deletes the list, and says so") as numbers:
            said = guest.run("apt-get -q -y purge smtpgate 2>&1", timeout=200).out
            numbers.extend(line.strip() for line in said.splitlines() if "gate" in line
                           and line.startswith("smtpgate"))
            assert not gated(guest, "ens4") and not gated(guest, "ens5")
            assert guest.run("ls /var/lib/smtpgate /sys/fs/bpf/smtpgate", ok=None).out == ""
            assert outside.leaks() or until(outside.leaks, 30) is None
        guest.off()


def relay(scene, bench):
    """The relay's own unit, with what Debian shuts it in: it waits for the gate, and asks who may send"""
    quick = (ROOT / "docs" / "QUICKSTART.md").read_text(encoding="utf-8")
    line = re.search("^ExecStartPre=.*$", quick, re.M)[0]
    disk = installed(bench, "relay")
    with Outside() as outside, bench.boot(outside, disk) as guest:
        with scene.fact(f"with {line} in its unit the relay starts"):
            assert guest.up() == "running"
            guest.run(f"mkdir -p /etc/systemd/system/{RELAY}.d; printf '[Service]\\n{line}\\n'"
                      f" >/etc/systemd/system/{RELAY}.d/gate.conf; systemctl daemon-reload")
            done = guest.run(f"systemctl restart {RELAY}", ok=None)
            assert not done.code, guest.run(f"journalctl -b -u {RELAY} -n 20 --no-pager").out
        scene.versions = versions(guest)
        with scene.fact("but not where a remembered card is not guarded"):
            guest.run("rm /sys/fs/bpf/smtpgate/link_*; smtpgate status --check", ok=None)
            assert not gated(guest, "ens4") and not gated(guest, "ens5")
            assert guest.run(f"systemctl restart {RELAY}", ok=None).code
            assert guest.run(f"systemctl is-active {RELAY}", ok=None).out.strip() == "failed"
        with scene.fact("and again once it is"):
            guest.run("smtpgate sync && smtpgate status --check")
            guest.run(f"systemctl restart {RELAY}")
            with outside.lock:
                outside.greeted.clear()
            until(lambda: all_greeted(outside), 120)
        with scene.fact("started by the relay itself (spawn), the policy service answers") as numbers:
            guest.run("postconf -M smtpgate/unix='smtpgate unix - n n - 0 spawn user=smtpgate"
                      " argv=/usr/sbin/smtpgate policy' && postfix reload 2>&1")
            until(lambda: guest.run("test -S /var/spool/postfix/private/smtpgate", ok=None).code == 0
                  or time.sleep(1), 60)
            said = guest.run(f"python3 -c '{asking('/var/spool/postfix/private/smtpgate')}'").out
            assert said.startswith("action="), said
            numbers.append(said.strip())
        guest.off()


def exported(guest):
    """The list, byte for byte."""
    return gzip.decompress(base64.b64decode(guest.run("smtpgate export | gzip -1 | base64 -w0").out))


def power_cut(scene, bench):
    """The power fails in the middle of an import"""
    medium = installed(bench, "power")
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1 << 31)
    scene.facts.append((True, f"SEED={seed}"))
    chance = random.Random(seed)
    with Outside() as outside:
        with bench.boot(outside, medium) as guest:
            guest.up()
            unpack(guest)
            guest.run("smtpgate set limit none")
            before = exported(guest)
            guest.off()
        whole = bench.disk(medium, "whole")
        disk = power.Disk(whole, bench.work / "nbd")
        with scene.fact(f"an import of {MANY:,} entries, to the end") as numbers:
            with bench.boot(outside, whole, disk.words) as guest:
                guest.up()
                guest.run("sync")
                disk.die_at(1 << 60, False)
                start = time.monotonic()
                guest.run("smtpgate -y import /cargo/big.list", timeout=400)
                length, flushes = time.monotonic() - start, disk.flushes
                after = exported(guest)
                assert len(after.splitlines()) == len(before.splitlines()) + MANY
                guest.off()
            numbers += [f"{length:.0f} s", f"{flushes} flushes"]
        disk.close()
        moments = [("flush", n, done) for n in range(1, flushes + 1) for done in (False, True)]
        chosen = int(os.environ.get("CUTS", "6"))
        timed = [("time", chance.uniform(0.05, 1.0) * length, False) for _ in range(chosen // 3)]
        # The last one of all, with what it brought to the disk: one cut is after the commit.
        last = moments.pop()
        moments = [last] + timed + chance.sample(moments, min(chosen - len(timed) - 1, len(moments)))
        cuts(scene, bench, outside, medium, moments, (before, after), seed)
        with scene.fact("in all these boots not one answer for the unlisted"):
            no_leak(outside)


def cuts(scene, bench, outside, medium, moments, lists, seed):
    """The power fails at each moment, on one disk that goes on from what is left."""
    seen = {"before": 0, "after": 0}
    for number, (kind, at, done) in enumerate(moments):
        name = f"{at:.1f} s after it began" if kind == "time" else \
            f"flush {at}, {'done' if done else 'not done'}"
        with scene.fact(f"power cut {number + 1}, {name}") as numbers:
            target = bench.disk(medium, "cut")
            (bench.work / "nbd").unlink(missing_ok=True)
            disk = power.Disk(target, bench.work / "nbd")
            try:
                with bench.boot(outside, target, disk.words) as guest:
                    guest.up()
                    guest.run("sync")
                    guest.say("smtpgate -y import /cargo/big.list")
                    if kind == "time":
                        disk.die_at(1 << 60, False)
                        time.sleep(at)
                    else:
                        disk.die_at(at, done)
                        disk.dead.wait(120)
                    guest.cut()
                lost, kept = disk.lose(seed + number)
                with bench.boot(outside, target, disk.words) as guest:
                    assert guest.up() == "running", guest.run(
                        "systemctl --failed; journalctl -b -u 'smtpgate*'", ok=None).out
                    now = exported(guest)
                    which = [w for w, text in zip(seen, lists) if text == now]
                    assert which, f"{len(now)} bytes, neither"
                    seen[which[0]] += 1
                    guest.run("smtpgate status --check")
                    nothing_past(guest)
                    no_leak(outside)
                    guest.cut()
                numbers.append(f"{lost} blocks lost, {kept} kept: the list {which[0]}")
            finally:
                disk.close()


SCENES = (install, life, missing, hotplug, relay, ifupdown, power_cut)


def remember(bench, function, scene):
    """Keeps what a scene saw of this package, for the page: the scenes may run one by one."""
    path = BUILD / f"seen-{function.__name__}.json"
    path.write_text(json.dumps({
        "package": hashlib.sha256(bench.deb.read_bytes()).hexdigest(), "name": scene.name,
        "day": str(datetime.date.today()), "versions": scene.versions, "facts": scene.facts}),
        encoding="utf-8")


def page(bench):
    """What docs/BOOT.md says: of every scene, what its last run with this package saw."""
    head = (HERE / "head.md").read_text(encoding="utf-8").replace("DEBIAN", DEBIAN)
    title = "# Boot"
    if archive.SUITE != "bookworm":
        title += ", " + DEBIAN
        head = head.replace("make check-boot", "make check-boot SUITE=" + archive.SUITE, 1)
    lines = [title, "", head.strip(), ""]
    package = hashlib.sha256(bench.deb.read_bytes()).hexdigest()
    for function in SCENES:
        path = BUILD / f"seen-{function.__name__}.json"
        seen = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        lines += [f"## {function.__doc__}", ""]
        if seen.get("package") != package:
            lines += ["Not run with this package.", ""]
            continue
        what = ", ".join(f"{name} {version}" for name, version in seen["versions"].items())
        lines += [f"Seen on {seen['day']}{': ' if what else ''}{what}.", ""]
        lines += [f"- {'' if good else '**failed**: '}{said}" for good, said in seen["facts"]] + [""]
    return "\n".join(lines).rstrip() + "\n"


def main():
    """Runs the scenes and ends with 1 if anything was otherwise."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deb", default=None)
    parser.add_argument("--page")
    parser.add_argument("--installed", help="a disk of another run's first scene")
    parser.add_argument("scenes", nargs="*")
    arguments = parser.parse_args()
    deb = arguments.deb or max(archive.place(ROOT / "build", "deb").glob("smtpgate_*_amd64.deb"),
                               key=lambda p: p.stat().st_mtime)
    chosen = [s for s in SCENES if not arguments.scenes or s.__name__ in arguments.scenes]
    bench, seen = Bench(deb, arguments.installed), []
    print(f"1..{len(chosen)}", flush=True)
    try:
        for number, function in enumerate(chosen, 1):
            scene = Scene(function.__doc__)
            seen.append(scene)
            with scene.fact("the scene came to its end"):
                function(scene, bench)
            good = all(fact[0] for fact in scene.facts)
            print(f"{'ok' if good else 'not ok'} {number} - {scene.name} "
                  f"# {time.monotonic() - scene.start:.0f} s", flush=True)
            remember(bench, function, scene)
            if arguments.page:
                pathlib.Path(arguments.page).write_text(page(bench), encoding="utf-8")
    finally:
        bench.close()
    sys.exit(0 if all(good for scene in seen for good, _ in scene.facts) else 1)


if __name__ == "__main__":
    main()
