#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Unlisted sources over a real wire: written down for all interfaces in one place, kept over
re-attach and change, and made where an older version, or a hand, left the maps missing.

What is in the maps is read by bpftool; gate_sources reads it as the program does.
"""
import ipaddress
import json
import pathlib
import random
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import frames
import tap
from lab import BPFFS, BPFTOOL, PROGRAM, ROOT, Lab, expect

HOST4, HOST6 = "192.0.2.1", "2001:db8::1"
LISTED, UNLISTED, OTHER = "192.0.2.10", "192.0.2.66", "192.0.2.67"
LISTED6, UNLISTED6 = "2001:db8::10", "2001:db8::66"
MAPS = BPFFS + "/abi1"
OWN_MAPS = ("sources", "budget", "newcomers")
FAMILIES = {1: 4, 2: 16}
VERDICTS = ("pass", "drop", "would_drop")


def site(lab, attach=True):
    """eth0 gated, one source of each family listed."""
    client = lab.host("client")
    lab.link(lab.mail, "eth0", client, "p0")
    lab.mail.address("eth0", HOST4 + "/24", HOST6 + "/64")
    client.address("p0", *(a + "/24" for a in (LISTED, UNLISTED, OTHER)),
                   *(a + "/64" for a in (LISTED6, UNLISTED6)))
    lab.mail.listen(25, 587, 2222)
    if attach:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED, LISTED6)
    return client


def number(row, start, size):
    """A little-endian field of what bpftool dumped."""
    return int.from_bytes(bytes(int(b, 16) for b in row[start:start + size]), "little")


def kernel_sources(lab):
    """{(address, port): (verdict, packets, attempts, first, last)} as bpftool reads it."""
    found = {}
    for row in lab.bpftool("map", "dump", "pinned", MAPS + "/sources"):
        key, value = row["key"], row["value"]
        size = FAMILIES[number(key, 18, 1)]
        address = ipaddress.ip_address(bytes(int(b, 16) for b in key[:size]))
        first, last, packets, attempts, verdict = (number(value, 8 * i, 8) for i in range(5))
        found[str(address), number(key, 16, 2)] = (VERDICTS[verdict], packets, attempts, first,
                                                   last)
    return found


def read(lab, *rounds):
    """The same as gate_each_source() brings it, and the untracked packets by verdict."""
    found, untracked = {}, None
    for line in lab.mail.run(ROOT / "build/gate_sources", BPFFS, *rounds).out.splitlines():
        words = line.split()
        if words[0] == "untracked":
            untracked = dict(zip(VERDICTS, map(int, words[1:])))
        else:
            found[words[0], int(words[1])] = (words[2], *map(int, words[3:]))
    return found, untracked


def shown(found):
    """Without the times."""
    return {key: value[:3] for key, value in found.items()}


def knock(client, *pairs):
    """One attempt of each (source, port), of which none is answered; the first SYN only."""
    expect(client, [(s, HOST6 if ":" in s else HOST4, port, "timeout") for s, port in pairs])


@tap.test
def written_down():
    """unlisted sources are written down, by port and family; listed ones and other ports are not"""
    with Lab() as lab:
        client = site(lab)
        before = int(time.time())
        knock(client, (UNLISTED, 587), (UNLISTED, 25), (UNLISTED6, 587))
        expect(client, [(LISTED, HOST4, 587, "open"), (LISTED6, HOST6, 25, "open"),
                        (OTHER, HOST4, 2222, "open")])
        found, untracked = read(lab)
        assert set(found) == {(UNLISTED, 587), (UNLISTED, 25), (UNLISTED6, 587)}, found
        for verdict, packets, attempts, first, last in found.values():
            assert verdict == "drop" and packets == attempts >= 1, found
            assert before - 2 <= first <= last <= time.time() + 2, (before, found)
        assert shown(found) == shown(kernel_sources(lab))
        assert not any(untracked.values()), untracked


@tap.test
def modes():
    """off, observe, enforce: the verdict of the last packet"""
    with Lab() as lab:
        client = site(lab)
        lab.gate("disable", "-y")
        expect(client, [(UNLISTED, HOST4, 587, "open")])
        found = read(lab)[0]
        # The handshake's end and the reset came from there, too.
        assert found[UNLISTED, 587][0] == "pass" and found[UNLISTED, 587][2] == 1, found
        assert found[UNLISTED, 587][1] > 1, found
        lab.gate("add", LISTED)
        lab.gate("observe")
        expect(client, [(UNLISTED, HOST4, 587, "open"), (LISTED, HOST4, 587, "open")])
        found = read(lab)[0]
        assert found[UNLISTED, 587][0] == "would_drop" and (LISTED, 587) not in found, found
        lab.gate("enforce", "-y")
        knock(client, (UNLISTED, 587))
        found = read(lab)[0]
        assert found[UNLISTED, 587][0] == "drop" and found[UNLISTED, 587][2] >= 3, found
        assert shown(found) == shown(kernel_sources(lab))


@tap.test
def kept():
    """one table for all interfaces, kept over detach, attach, sync and changes of the list"""
    with Lab() as lab:
        client = site(lab)
        two = lab.host("two")
        lab.link(lab.mail, "eth1", two, "p0")
        lab.mail.address("eth1", "198.51.100.1/24")
        two.address("p0", "198.51.100.66/24")
        lab.gate("attach", "eth1")
        knock(client, (UNLISTED, 587))
        expect(two, [("198.51.100.66", "198.51.100.1", 587, "timeout")])
        found = read(lab)[0]
        assert set(found) == {(UNLISTED, 587), ("198.51.100.66", 587)}, found
        for command in (("sync",), ("add", OTHER), ("set", "ports", "587"),
                        ("attach", "eth0"), ("detach", "--all"), ("attach", "eth0", "eth1")):
            lab.gate(*command)
            now = read(lab)[0]
            assert set(now) == set(found), (command, now)
            assert all(now[key][3] == found[key][3] for key in found), (command, now, found)
        knock(client, (UNLISTED, 587))
        assert read(lab)[0][UNLISTED, 587][1] > found[UNLISTED, 587][1]


def remove(lab, pin):
    """As an older version leaves it: the map is not pinned."""
    lab.mail.run("rm", f"{MAPS}/{pin}")


def replace(lab, pin):
    """A map of another shape in its place."""
    remove(lab, pin)
    lab.mail.run(BPFTOOL, "map", "create", f"{MAPS}/{pin}", "type", "hash", "key", "4", "value",
                 "8", "entries", "4", "name", "foreign")


def in_use(lab, client):
    """The gate writes into the maps that are pinned, and stands as it stood."""
    knock(client, (UNLISTED, 587))
    assert (UNLISTED, 587) in kernel_sources(lab)
    assert shown(read(lab)[0]) == shown(kernel_sources(lab))
    expect(client, [(LISTED, HOST4, 587, "open"), (OTHER, HOST4, 587, "timeout")])
    lab.gate("status", "--check")


@tap.test
def missing():
    """a map that is missing or not ours: the gate stands, status says so, sync and changes mend"""
    with Lab() as lab:
        client = site(lab)
        link = lab.link_pins()
        for spoil in (remove, replace):
            for pins in (("sources",), ("budget",), ("newcomers",), OWN_MAPS):
                for mend in (("sync",), ("add", LISTED, "--remark", f"{spoil.__name__} {pins}"),
                             ("attach", "eth0")):
                    for pin in pins:
                        spoil(lab, pin)
                    said = lab.gate("status", "--check", ok=1).out
                    assert "but what it counts goes elsewhere" in said, said
                    assert "smtpgate sync" in said and "NOT TO" not in said, said
                    lab.gate("check", LISTED)
                    read(lab)
                    lab.gate(*mend)
                    lab.gate("status", "--check")
                    assert lab.link_pins() == link, "the link was made anew"
        in_use(lab, client)


@tap.test
def missing_detached():
    """missing while nothing is attached: nothing differs; the next attach makes them"""
    with Lab() as lab:
        client = site(lab)
        lab.gate("detach", "--all")
        for pin in OWN_MAPS:
            remove(lab, pin)
        assert lab.json("status")["in_sync"] is True
        lab.gate("attach", "eth0")
        in_use(lab, client)


@tap.test
def mending_killed():
    """mending killed or refused at any step: the next command ends it"""
    with Lab() as lab:
        client = site(lab)
        for when in range(2, 70, 4):
            for pin in OWN_MAPS:
                lab.mail.run("rm", "-f", f"{MAPS}/{pin}")
            what = "error=ENOMEM" if when % 8 == 2 else "signal=KILL"
            lab.mail.run("strace", "-f", "-o", "/dev/null", "-e", "trace=bpf", "-e",
                         f"inject=bpf:{what}:when={when}", PROGRAM, "sync", env=lab.env, ok=None)
            expect(client, [(LISTED, HOST4, 587, "open"), (UNLISTED, HOST4, 587, "timeout")])
            lab.gate("sync")
            lab.gate("status", "--check")
        in_use(lab, client)


@tap.test
def no_maps():
    """no gate in the kernel: no sources, and no error"""
    with Lab() as lab:
        site(lab, attach=False)
        assert read(lab) == ({}, dict.fromkeys(VERDICTS, 0))


def flood(wire, stop, sent):
    """SYNs from forged sources, as fast as Python sends."""
    chance = random.Random(5)
    head = wire.there + wire.here + b"\x08\x00"
    segment = struct.pack("!HHIIBBHHH", 40000, 587, 1, 0, 5 << 4, frames.SYN, 64240, 0, 0)
    target = ipaddress.ip_address(HOST4).packed
    while not stop.is_set():
        for _ in range(256):
            source = struct.pack("!I", chance.getrandbits(32))
            packet = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, frames.TCP, 0)
            wire.sock.send(head + packet + source + target + segment)
            sent[0] += 1


@tap.test
def read_in_flood():
    """the table can be read in a flood: nobody twice, and the count is exact when it is over"""
    with Lab() as lab:
        client = site(lab)
        knock(client, (UNLISTED, 587))
        before = sum(row[1] for row in read(lab)[0].values())
        sent, stop = [0], threading.Event()
        thread = threading.Thread(target=flood, args=(
            frames.Wire(client, "p0", lab.mail, "eth0"), stop, sent))
        thread.start()
        try:
            while sent[0] < 60_000:
                found = read(lab, 3)[0]
                assert (UNLISTED, 587) in found
        finally:
            stop.set()
            thread.join()
        found, untracked = read(lab)
        packets = sum(row[1] for row in found.values())
        drops = sum(r["packets"] for r in lab.json("stats")["reasons"]
                    if r["reason"] == "unlisted" and r["verdict"] == "drop")
        assert packets + untracked["drop"] == drops >= before + sent[0], (packets, untracked, drops)
        assert shown(found) == shown(kernel_sources(lab))
        assert len(found) > 10_000


def driver_packets(lab):
    """How many frames the driver handed to the program, as the driver counts them."""
    rows = lab.mail.run("ethtool", "-S", "eth0").out.splitlines()
    return sum(int(row.split()[-1]) for row in rows if "_xdp_packets:" in row and "rx_" in row)


def both_counts(lab):
    """What stats says, and the driver, of one moment: between the two a packet of the hosts' own (a
    neighbour is looked for, a group is joined) may come."""
    for _ in range(20):
        driver, stats = driver_packets(lab), lab.json("stats")
        if driver_packets(lab) == driver:
            return sum(row["packets"] for row in stats["reasons"]), driver, stats
    raise AssertionError("packets keep coming")


@tap.test
def exact_in_flood():
    """counters are exact in a flood, over re-attach and changes of list and ports: as the driver's"""
    with Lab() as lab:
        client = site(lab)
        sent, stop, rounds = [0], threading.Event(), 0
        thread = threading.Thread(target=flood, args=(
            frames.Wire(client, "p0", lab.mail, "eth0"), stop, sent))
        lab.gate("set", "limit", "none")
        seen, driver, _ = both_counts(lab)
        thread.start()
        try:
            while sent[0] < 60_000 or rounds < 6:
                lab.gate("attach", "eth0")
                lab.gate("add", f"198.51.100.{rounds}")
                lab.gate("set", "ports", "25,465,587,2525" if rounds % 2 else "25,465,587")
                rounds += 1
        finally:
            stop.set()
            thread.join()
        seen_then, driver_then, after = both_counts(lab)
        assert seen_then - seen == driver_then - driver, (seen_then - seen, driver_then - driver)
        flooded = [row for row in after["ports"] if row["port"] == 587 and row["verdict"] == "drop"]
        (reason,) = [row for row in after["reasons"]
                     if row["reason"] == "unlisted" and row["verdict"] == "drop"]
        # All of the flood are SYNs over IPv4, of one length, to one port: each counter has them all.
        count = flooded[0]["packets"]
        assert count >= 60_000 and count == flooded[0]["attempts"] == reason["packets"], after
        assert flooded[0]["families"]["ip4"] == {"packets": count, "bytes": 54 * count,
                                                 "attempts": count}, flooded
        assert reason["families"] == {"ip4": {"packets": count, "bytes": 54 * count}}, reason
        assert after["interfaces"][0]["reasons"] == after["reasons"]
        for command in ("detach", "attach"):
            lab.gate(command, "eth0")
            kept = {(r["reason"], r["verdict"]): r["packets"] for r in lab.json("stats")["reasons"]}
            assert kept["unlisted", "drop"] == count, (command, kept, count)


@tap.test
def rates():
    """stats --watch: a line a second, whose rates add up to what came; ends with its reader"""
    with Lab() as lab:
        client = site(lab)
        wire = frames.Wire(client, "p0", lab.mail, "eth0")
        head = wire.there + wire.here + b"\x08\x00"
        syn = head + frames.ip4(UNLISTED, HOST4, frames.tcp(UNLISTED, HOST4, 40000, 587, frames.SYN,
                                                            1))
        watch = subprocess.Popen(lab.command("-j", "stats", "--watch"), env=lab.env,
                                 stdout=subprocess.PIPE)
        sums = {"packets": 0, "bytes": 0, "attempts": 0}
        json.loads(watch.stdout.readline())
        for _ in range(40):
            wire.sock.send(syn)
        for _ in range(3):
            line = json.loads(watch.stdout.readline())
            assert line["schema"] == 1 and line["ok"] and line["seconds"] > 0.5, line
            (row,) = [row for row in line["rates"] if row["verdict"] == "drop"]
            for name in sums:
                sums[name] += row[name] * line["seconds"]
        drops = [row for row in line["reasons"]
                 if (row["reason"], row["verdict"]) == ("unlisted", "drop")]
        assert drops[0]["packets"] == 40, line
        # Counters that begin anew have no rate, and do not end it.
        lab.mail.run("sh", "-c", f"rm -r {BPFFS}")
        lab.gate("-q", "sync")
        for _ in range(2):
            line = json.loads(watch.stdout.readline())
            assert all(0 <= row[name] < 1000 for row in line["rates"] for name in sums), line
        watch.stdout.close()
        watch.wait(5)
        assert {name: round(n) for name, n in sums.items()} == {
            "packets": 40, "bytes": 40 * len(syn), "attempts": 40}, sums


if not (ROOT / "build/gate_sources").exists():
    sys.exit(f"{ROOT / 'build/gate_sources'} is missing: make check-build")
tap.main()
