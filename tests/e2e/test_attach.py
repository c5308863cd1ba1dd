#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""attach, detach and the life of an interface: renamed, deleted, moved, taken by another program.

The gate is only as good as its seat on the interface. Whatever happens to that, either the gate
still judges or `status --check` says no; and a refusal says in one sentence what is in the way.
"""
import fcntl
import os
import pathlib
import shutil
import socket
import struct
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import frames
import lab as laboratory
import tap
from lab import BPFTOOL, GUARDED, MNT, PROGRAM, Lab, can_make, execute, expect, needs

MAIL4, MAIL6 = "192.0.2.25", "2001:db8::25"
LISTED, UNLISTED = "192.0.2.10", "192.0.2.66"
UNLISTED6 = "2001:db8::66"
TCP_TOTAL_RETRANS = 100         # offset in struct tcp_info


def make(bpffs=True, device="eth0", listen=True):
    """A mail host (nothing attached yet) and a client with a listed and an unlisted address."""
    lab = Lab(bpffs)
    try:
        lab.client = lab.host("client")
        cable(lab, device)
        if listen:
            lab.listeners = lab.mail.listen(*GUARDED, 22)
    except BaseException:
        lab.__exit__()
        raise
    return lab


def cable(lab, device="eth0"):
    """Plugs in the cable between mail host and client."""
    lab.link(lab.mail, device, lab.client, "eth0")
    lab.mail.address(device, MAIL4 + "/24", MAIL6 + "/64")
    lab.client.address("eth0", LISTED + "/24", UNLISTED + "/24", UNLISTED6 + "/64")


def unplug(lab):
    """Deletes both ends."""
    lab.client.ip("link del eth0")


def gates(lab, yes=True, target=MAIL4):
    """The unlisted are blocked on the guarded ports (or, no gate being there, are not)."""
    rows = [(LISTED, target, 587, "open"), (UNLISTED, target, 22, "open")]
    rows += [(UNLISTED, target, port, "timeout" if yes else "open") for port in GUARDED]
    if target == MAIL4:
        rows.append((UNLISTED6, MAIL6, 465, "timeout" if yes else "open"))
    expect(lab.client, rows)


def interface(lab, name=None):
    """status' entry of an interface (of the only one)."""
    found = [i for i in lab.json("status")["interfaces"] if name in (None, i["name"])]
    assert len(found) == 1, found
    return found[0]


def says(result, *words):
    """The words stand in what was printed."""
    text = (result.out + result.err).lower()
    missing = [w for w in words if w.lower() not in text]
    assert not missing, f"{missing} not said by:\n{result}"


def refused(lab, *args, code, words=(), env=None):
    """A command fails as it must: exit code, one sentence, a JSON error; with nothing on stdout."""
    result = lab.gate(*args, ok=code, env=env)
    assert result.out == "", f"something on stdout:\n{result}"
    lines = result.err.splitlines()
    assert lines and lines[0].startswith("smtpgate: "), result
    # Who is connected still from the test before is named first, as it would be cut off.
    own = [x for x in lines if x.startswith("smtpgate: ") and "warning: connected now" not in x]
    assert len(own) == 1, f"too many:\n{result}"
    assert "libbpf" not in result.err, result
    says(result, *words)
    error = lab.gate("-j", *args, ok=code, env=env).json
    assert error["ok"] is False and error["error"]["message"], error
    return result


@tap.test
def modes():
    """native and generic as asked for, auto takes native on a veth; each is reported"""
    for asked, got in (("native", "native"), ("generic", "generic"), ("auto", "native"),
                       (None, "native")):
        with make() as lab:
            result = lab.gate("attach", "eth0", *(["--mode", asked] if asked else []))
            says(result, "eth0", got)
            assert interface(lab)["attached"] is True and interface(lab)["xdp_mode"] == got
            flags = lab.mail.run("ip", "-d", "link", "show", "dev", "eth0").out
            assert ("xdpgeneric" in flags) == (got == "generic") and "xdp" in flags, flags
            lab.gate("add", LISTED)
            gates(lab)
            lab.gate("status", "--check")


@tap.test
def mode_word():
    """an unknown mode is wrong use"""
    with make() as lab:
        refused(lab, "attach", "eth0", "--mode", "offload", code=2)
        assert not lab.link_pins()


@tap.test
def again():
    """a second attach replaces the program in place: same link, counters and list go on"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        gates(lab)
        links, counters = lab.link_pins(), lab.json("status")["counters"]
        assert len(links) == 1
        program = lab.bpftool("link", "show", "id", str(*links.values()))["prog_id"]
        for args in ((), ("--mode", "native"), ("--mode", "auto")):
            lab.gate("attach", "eth0", *args)
            assert lab.link_pins() == links, "the link was made anew"
        assert lab.bpftool("link", "show", "id", str(*links.values()))["prog_id"] != program
        after = lab.json("status")["counters"]
        assert all(after[name] >= counters[name] > 0 for name in ("passed", "dropped")), after
        gates(lab)


@tap.test
def other_mode():
    """a live attachment is not changed to another mode behind the operator's back"""
    for now, then in (("native", "generic"), ("generic", "native")):
        with make() as lab:
            lab.gate("attach", "eth0", "--mode", now)
            lab.gate("add", LISTED)
            links = lab.link_pins()
            refused(lab, "attach", "eth0", "--mode", then, code=5, words=("detach",))
            assert lab.link_pins() == links and interface(lab)["xdp_mode"] == now
            gates(lab)


@tap.test
def detach():
    """detach opens that interface, keeps the list, and the next attach closes again"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        gates(lab)
        lab.gate("detach", "eth0")
        gates(lab, False)
        assert not lab.link_pins()
        assert [e["who"] for e in lab.json("list")["entries"]] == [LISTED]
        assert lab.gate("status", "--check", ok=1)
        lab.gate("sync")
        gates(lab, False)                           # sync does not bring it back
        lab.gate("attach", "eth0")
        gates(lab)
        lab.gate("detach", "--all")
        gates(lab, False)
        result = lab.gate("detach", "eth0", ok=(0, 1))
        says(result, "eth0")
        refused(lab, "detach", "nosuch0", code=(1, 2), words=("nosuch0",))


@tap.test
def several():
    """several interfaces share one list; attach of several is all or nothing"""
    with make() as lab:
        lab.link(lab.mail, "eth1", lab.client, "eth1")
        lab.mail.address("eth1", "198.51.100.25/24")
        lab.client.address("eth1", "198.51.100.10/24", "198.51.100.66/24")

        def second(state):
            expect(lab.client, [("198.51.100.10", "198.51.100.25", 25, "open"),
                                ("198.51.100.66", "198.51.100.25", 25, state)])
        lab.gate("add", LISTED, "198.51.100.10")
        refused(lab, "attach", "eth0", "eth1", "nosuch0", code=2, words=("nosuch0",))
        assert not lab.link_pins()
        gates(lab, False)
        lab.gate("attach", "eth0", "eth1")
        assert {i["name"]: i["attached"] for i in lab.json("status")["interfaces"]} \
            == {"eth0": True, "eth1": True}
        gates(lab)
        second("timeout")
        lab.gate("detach", "eth0")
        gates(lab, False)
        second("timeout")
        links = lab.link_pins()
        refused(lab, "attach", "eth1", "eth0", "nosuch0", code=2)
        assert lab.link_pins() == links
        second("timeout")
        gates(lab, False)
        lab.gate("attach", "eth0")
        lab.gate("delete", "198.51.100.10")
        expect(lab.client, [("198.51.100.10", "198.51.100.25", 25, "timeout")])
        gates(lab)
        lab.gate("detach", "--all")
        gates(lab, False)
        second("open")


@tap.test
def under_traffic():
    """re-attached 20 times under traffic: no unlisted packet passes, no listed one is lost"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED, "192.0.2.11")
        wire = frames.Wire(lab.client, "eth0", lab.mail, "eth0")
        wire.speak_for("192.0.2.11", "192.0.2.67")
        listener = lab.listeners[0]
        assert wire.accepted(listener, "192.0.2.11", MAIL4, frames.plain4)
        links = lab.link_pins()
        stop = threading.Event()
        seen = {"sent": 0, "leaked": 0, "opened": 0, "lost": 0, "broken": None}

        def unlisted():
            port = 1024
            victim = socket.inet_aton(MAIL4) + socket.inet_aton("192.0.2.67")
            wire.sock.setblocking(False)
            while not stop.is_set():
                port = port + 1 if port < 65000 else 1024
                wire.send(frames.ip4("192.0.2.67", MAIL4, frames.tcp(
                    "192.0.2.67", MAIL4, port, 25, frames.SYN, 1)))
                seen["sent"] += 1
                try:
                    while True:
                        frame, where = wire.sock.recvfrom(65536)
                        if where[2] != 4 and frame[26:34] == victim:
                            seen["leaked"] += 1
                except BlockingIOError:
                    pass

        def listed():
            while not stop.is_set():
                stream = laboratory.Stream(lab.client, LISTED, MAIL4, 587)
                stream.sock.setblocking(True)
                stream.sock.settimeout(5)
                try:
                    stream.sock.send(b"x")          # waits for the handshake
                except OSError:
                    seen["lost"] += 1
                info = stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
                seen["lost"] += struct.unpack_from("=I", info, TCP_TOTAL_RETRANS)[0]
                seen["opened"] += 1
                stream.close()
                try:
                    while True:
                        lab.listeners[2].accept()[0].close()
                except BlockingIOError:
                    pass

        def guarded(function):
            try:
                function()
            except Exception as error:  # pylint: disable=broad-except
                seen["broken"] = error
        threads = [threading.Thread(target=guarded, args=(f,)) for f in (unlisted, listed)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                lab.gate("attach", "eth0")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert lab.link_pins() == links
        assert seen["sent"] > 500 and seen["opened"] > 50, seen
        assert not seen["leaked"] and not seen["lost"] and not seen["broken"], seen


def rename(lab, old, new):
    """Renames by the system call: ip(8) refuses names that the kernel takes."""
    sock = lab.mail.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(sock, 0x8923, struct.pack("16s16s8x", old, new))     # SIOCSIFNAME


@tap.test
def odd_names():
    """names with dots and odd characters: attached, shown as they are, detached"""
    with make() as lab:
        lab.gate("add", LISTED)
        old = b"eth0"
        for name in ("eth0.100", "a-b_c@x", "fifteen-letters", "#1", "$(id)", "a'b\"c\\d", "link_1",
                     "über0", "*", "..."):
            rename(lab, old, name.encode())
            old = name.encode()
            lab.gate("attach", name)
            assert interface(lab, name)["attached"] is True
            lab.gate("status", "--check")
            gates(lab)
            lab.gate("detach", name)
            gates(lab, False)
        rename(lab, old, b"-eth0")
        lab.gate("attach", "--", "-eth0")
        assert interface(lab, "-eth0")["attached"] is True
        gates(lab)
        lab.gate("detach", "--all")
        # Not UTF-8: taken or refused, but what is said stays one valid JSON object.
        rename(lab, b"-eth0", b"\xe9t\xe9")
        done = lab.gate("-j", "attach", os.fsdecode(b"\xe9t\xe9"), ok=(0, 2, 5))
        assert done.json
        assert lab.json("status")["schema"] == 1


@tap.test
def no_such_interface():
    """an interface that is not there is wrong input, and those that are there are named"""
    with make() as lab:
        refused(lab, "attach", "eth7", code=2, words=("eth7", "eth0"))
        refused(lab, "attach", "", code=2)
        refused(lab, "attach", "an-interface-name-that-is-too-long", code=2)
        refused(lab, "attach", code=2)
        refused(lab, "attach", "eth0\x1b[31m", code=2)
        assert "\x1b" not in lab.gate("attach", "eth0\x1b[31m", ok=2).err
        assert not lab.link_pins()


@tap.test
def tun():
    """a tun device is refused with the reason; a tap device (Ethernet) is taken"""
    with make() as lab:
        lab.mail.ip("tuntap add dev tun0 mode tun", "tuntap add dev tap0 mode tap")
        refused(lab, "attach", "tun0", code=5, words=("tun0", "ethernet"))
        refused(lab, "attach", "eth0", "tun0", code=5, words=("tun0",))
        assert not lab.link_pins()
        lab.gate("attach", "tap0")
        assert interface(lab)["attached"] is True


@tap.test
@needs(can_make("wireguard"), "WireGuard")
def wireguard():
    """a WireGuard device is refused with the reason"""
    with make() as lab:
        lab.mail.ip("link add wg0 type wireguard")
        refused(lab, "attach", "wg0", code=5, words=("wg0", "ethernet"))


@tap.test
def occupied():
    """another XDP program on the interface: refused by name, and left where it is"""
    source = "#define SEC(x) __attribute__((section(x), used))\n" \
        "SEC(\"xdp\") int bystander(void *ctx) { return 2; }\n" \
        "char terms[] SEC(\"license\") = \"GPL\";\n"
    for theirs in ("xdpdrv", "xdpgeneric"):
        with make() as lab:
            lab.mail.run("clang", "-target", "bpf", "-O2", "-g", "-x", "c", "-c", "-",
                         "-o", MNT + "/x.o", stdin=source)
            lab.mail.run(BPFTOOL, "prog", "load", MNT + "/x.o", MNT + "/bpf/x")
            lab.mail.run(BPFTOOL, "net", "attach", theirs, "pinned", MNT + "/bpf/x", "dev", "eth0")
            lab.gate("add", LISTED)
            for mode in ("auto", "native", "generic"):
                refused(lab, "attach", "eth0", "--mode", mode, code=5,
                        words=("bystander", "eth0", "xdp"))
            assert not lab.link_pins()
            there = lab.bpftool("net", "show", "dev", "eth0")[0]["xdp"]
            assert len(there) == 1, there
            gates(lab, False)
            lab.mail.run("ip", "link", "set", "dev", "eth0", theirs, "off")
            lab.gate("attach", "eth0")
            gates(lab)


@tap.test
def no_native():
    """a driver without native mode: native is refused with a hint, auto falls back and says so"""
    with make() as lab:
        lab.mail.ip("link add br0 type bridge", "link set eth0 master br0",
                    "addr flush dev eth0", "link set br0 up")
        lab.mail.address("br0", MAIL4 + "/24", MAIL6 + "/64")
        lab.gate("add", LISTED)
        gates(lab, False)
        refused(lab, "attach", "br0", "--mode", "native", code=5,
                words=("br0", "native", "--mode generic"))
        assert not lab.link_pins()
        says(lab.gate("attach", "br0"), "generic", "native")
        assert interface(lab)["xdp_mode"] == "generic"
        gates(lab)


def stays_closed(lab, link):
    """Still the same live link, and still the same verdicts."""
    assert lab.link_pins() == link
    gates(lab)


@tap.test
def renamed():
    """a renamed interface is gated on, and goes by its new name"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        link = lab.link_pins()
        lab.mail.ip("link set eth0 down", "link set eth0 name mx0", "link set mx0 up",
                    f"addr replace {MAIL6}/64 dev mx0 nodad")
        stays_closed(lab, link)
        assert interface(lab)["name"] == "mx0" and interface(lab)["attached"] is True
        lab.gate("status", "--check")
        lab.gate("sync")
        stays_closed(lab, link)
        assert interface(lab)["name"] == "mx0"
        lab.gate("attach", "mx0")
        stays_closed(lab, link)
        lab.gate("detach", "mx0")
        assert not lab.link_pins()
        gates(lab, False)


@tap.test
def renamed_and_replaced():
    """the old name of a renamed interface is taken by another device: both end up gated"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        link = lab.link_pins()
        lab.mail.ip("link set eth0 down", "link set eth0 name mx0", "link set mx0 up",
                    f"addr replace {MAIL6}/64 dev mx0 nodad")
        lab.link(lab.mail, "eth0", lab.client, "eth1")
        lab.mail.address("eth0", "198.51.100.25/24")
        lab.client.address("eth1", "198.51.100.66/24")
        gates(lab)
        lab.gate("attach", "eth0")
        gates(lab)
        expect(lab.client, [("198.51.100.66", "198.51.100.25", 25, "timeout")])
        pins = lab.link_pins()
        assert len(pins) == 2 and set(link.items()) <= set(pins.items()), (link, pins)
        assert {i["name"] for i in lab.json("status")["interfaces"] if i["attached"]} \
            == {"eth0", "mx0"}
        lab.gate("status", "--check")
        # The name means the device that has it now: the other one stays gated.
        assert [i["name"] for i in lab.json("detach", "eth0")["interfaces"]] == ["eth0"]
        assert lab.link_pins() == link
        gates(lab)
        expect(lab.client, [("198.51.100.66", "198.51.100.25", 25, "open")])


@tap.test
def renamed_and_synced():
    """the old name of a renamed interface is taken by another device: sync guards both"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        lab.mail.ip("link set eth0 down", "link set eth0 name mx0", "link set mx0 up",
                    f"addr replace {MAIL6}/64 dev mx0 nodad")
        lab.link(lab.mail, "eth0", lab.client, "eth1")
        lab.mail.address("eth0", "198.51.100.25/24")
        lab.client.address("eth1", "198.51.100.66/24")
        lab.gate("sync", "--", "eth0")
        gates(lab)
        expect(lab.client, [("198.51.100.66", "198.51.100.25", 25, "timeout")])
        lab.gate("status", "--check")
        pins = lab.link_pins()
        assert len(pins) == 2, pins
        lab.gate("sync")
        assert lab.link_pins() == pins


@tap.test
def alternative_name():
    """attached by an alternative name, it is remembered by its own; all commands take both"""
    with make() as lab:
        other = "link property add dev eth0 altname mail-card"
        lab.mail.ip(other)
        lab.gate("attach", "mail-card")
        lab.gate("add", LISTED)
        assert [i["name"] for i in lab.json("status")["interfaces"]] == ["eth0"]
        pins = lab.link_pins()
        for name in ("mail-card", "eth0"):
            assert lab.json("attach", name)["interfaces"][0]["replaced"]
            assert [i["name"] for i in lab.json("sync", name)["interfaces"]] == ["eth0"]
        assert lab.link_pins().keys() == pins.keys()
        lab.mail.ip("link del eth0")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        lab.mail.ip(other)
        lab.mail.address("eth0", MAIL4 + "/24")
        lab.client.address("eth0", LISTED + "/24", UNLISTED + "/24")
        lab.gate("-q", "sync", "--", "eth0")        # as udev calls
        expect(lab.client, [(LISTED, MAIL4, 25, "open"), (UNLISTED, MAIL4, 25, "timeout")])
        assert [i["name"] for i in lab.json("detach", "mail-card")["interfaces"]] == ["eth0"]
        expect(lab.client, [(UNLISTED, MAIL4, 25, "open")])
        assert not lab.json("status")["interfaces"]


@tap.test
def down_and_up():
    """down and up, another MTU, another address: still gated"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        link = lab.link_pins()
        lab.mail.ip("link set eth0 down", "link set eth0 mtu 1400",
                    "link set eth0 address 02:00:00:00:00:01", "link set eth0 up",
                    f"addr replace {MAIL6}/64 dev eth0 nodad")
        stays_closed(lab, link)
        lab.gate("status", "--check")


@tap.test
def enslaved():
    """an interface put into a bridge is gated on"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        link = lab.link_pins()
        lab.mail.ip("link add br0 type bridge", "addr flush dev eth0",
                    "link set eth0 master br0", "link set br0 up")
        lab.mail.address("br0", MAIL4 + "/24", MAIL6 + "/64")
        stays_closed(lab, link)
        lab.gate("status", "--check")
        lab.gate("attach", "eth0")
        stays_closed(lab, link)


@tap.test
def moved():
    """an interface moved to another namespace is gated on there, and status says where it is"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        link = lab.link_pins()
        other = lab.host("other")
        execute(["nsenter", f"--target={lab.mail.pid}", "--net", "--", "ip", "link", "set", "eth0",
                 "netns", str(other.pid)])
        other.ip("link set eth0 up")
        other.address("eth0", MAIL4 + "/24", MAIL6 + "/64")
        other.listen(*GUARDED, 22)
        stays_closed(lab, link)
        says(lab.gate("status"), "namespace")
        lab.gate("delete", LISTED, "-y")
        gates(lab, False)                           # the same list rules there
        lab.gate("add", LISTED)
        lab.gate("sync", ok=None)
        stays_closed(lab, link)
        # A new device of the old name is another interface: attaching it takes nothing away.
        lab.mail.ip("link add eth0 type veth peer name spare")
        assert lab.gate("status", "--check", ok=1)
        lab.gate("attach", "eth0")
        assert set(link.items()) < set(lab.link_pins().items())
        gates(lab)


def deleted_and_made_again(mend):
    """The dead pin and the open new device are seen, and mended by `mend`."""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        gates(lab)
        unplug(lab)
        assert lab.gate("status", "--check", ok=1)
        assert interface(lab)["attached"] is False
        says(lab.gate("status"), "eth0")
        lab.gate("add", "192.0.2.12")               # the list goes on living meanwhile
        cable(lab)
        gates(lab, False)                           # nobody can help that ...
        says(lab.gate("status", "--check", ok=1), "eth0")       # ... but it is said
        assert interface(lab)["attached"] is False
        lab.gate(*mend)
        gates(lab)
        lab.gate("status", "--check")
        assert len(lab.link_pins()) == 1


@tap.test
def made_again_attach():
    """an interface deleted and made again: status says so, attach mends it"""
    deleted_and_made_again(("attach", "eth0"))


@tap.test
def made_again_sync():
    """an interface deleted and made again: status says so, sync mends it"""
    deleted_and_made_again(("sync",))


@tap.test
def gone():
    """a deleted interface can be detached, also when its name is unknown by then"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        unplug(lab)
        lab.gate("sync", ok=5)
        lab.gate("detach", "eth0")
        assert not lab.link_pins()
        lab.gate("sync")


@tap.test
def mail_exchanger():
    """a port 25 listener: attach says what guarding 25 means, and how not to"""
    command = "smtpgate set ports 465,587"
    with make(listen=False) as lab:
        assert command not in lab.gate("attach", "eth0").err
        lab.mail.listen(25, address="127.0.0.1")
        lab.mail.listen(25, address="::1")
        done = lab.gate("attach", "eth0")
        assert command not in done.out + done.err, "a listener on loopback is no mail exchanger"
        lab.mail.listen(25, address=MAIL4)
        says(lab.gate("attach", "eth0"), command, "mx")
        assert lab.gate("-j", "attach", "eth0").json
        lab.gate("set", "ports", "465,587")
        done = lab.gate("attach", "eth0")
        assert command not in done.out + done.err


@tap.test
def ephemeral():
    """a guarded port among those that the host takes for its own connections: a warning"""
    with make() as lab:
        lab.mail.sysctl("net/ipv4/ip_local_port_range".removeprefix("net/"), "32768 60999")
        says(lab.gate("set", "ports", "25,40000"), "40000", "32768")
        assert 40000 in lab.json("status")["ports"]
        done = lab.gate("set", "ports", "25,587")
        assert "32768" not in done.out + done.err
        lab.mail.sysctl("ipv4/ip_local_reserved_ports", "40000")
        done = lab.gate("set", "ports", "25,40000")
        assert "32768" not in done.out + done.err, "a reserved port is not taken"


@tap.test
def not_root():
    """as nobody: not permitted, exit 4, nothing changed; help needs no permission"""
    with make() as lab:
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED)
        shutil.copy(PROGRAM, lab.mail.path(MNT) / "smtpgate")
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", MNT + "/smtpgate")
        for args in (("attach", "eth0"), ("detach", "eth0"), ("add", UNLISTED), ("delete", LISTED),
                     ("disable", "-y"), ("set", "ports", "587"), ("sync",), ("list",), ("status",),
                     ("check", LISTED), ("stats",)):
            done = lab.mail.run(*nobody, *args, env=lab.env, ok=4)
            assert done.err.startswith("smtpgate: ") and not done.out, done
            assert "root" in done.err or "permit" in done.err, done
            done = lab.mail.run(*nobody, "-j", *args, env=lab.env, ok=4)
            assert done.json["ok"] is False
        for args in (("help",), ("--version",), ("help", "add"), ("--help",)):
            lab.mail.run(*nobody, *args, env=lab.env)
        lab.gate("status", "--check")
        gates(lab)
        # Nor on a machine where nothing exists yet.
        fresh = dict(lab.env, SMTPGATE_STATE=MNT + "/none", SMTPGATE_BPFFS=MNT + "/bpf/none")
        for args in (("attach", "eth0"), ("add", LISTED)):
            lab.mail.run(*nobody, *args, env=fresh, ok=4)
        assert not lab.mail.path(MNT + "/none").exists()


@tap.test
def bpffs_missing():
    """no bpffs: mounted at the usual place for root; elsewhere refused, with the command"""
    with make(bpffs=False) as lab:
        lab.gate("add", LISTED)
        refused(lab, "attach", "eth0", code=5, words=("bpffs", "mount -t bpf"))
        gates(lab, False)
        usual = {"SMTPGATE_BPFFS": ""}
        lab.env.pop("SMTPGATE_BPFFS")
        assert "bpf" not in lab.mail.run("stat", "-f", "-c", "%T", "/sys/fs/bpf").out
        lab.gate("attach", "eth0")
        assert "bpf" in lab.mail.run("stat", "-f", "-c", "%T", "/sys/fs/bpf").out
        gates(lab)
        lab.gate("status", "--check")
        # An empty variable is as good as none.
        lab.gate("status", "--check", env=usual)


@tap.test
def refusals():
    """what the kernel may answer to an attach is said in a mail administrator's words"""
    with make() as lab:
        lab.gate("add", LISTED)
        for _ in range(2):      # the first attach makes what the later ones find
            number = bpf_calls(lab, "attach", "eth0").index("BPF_LINK_CREATE") + 1
            lab.gate("detach", "eth0")
        for error, mode, words in (("EOPNOTSUPP", "native", ("native", "--mode generic")),
                                   ("ERANGE", "native", ("mtu",)),
                                   ("EINVAL", "native", ("mtu",)),
                                   ("EPERM", "native", ("permit",)),
                                   ("EBUSY", "native", ("xdp program",))):
            done = lab.mail.run("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=bpf", "-e",
                                f"inject=bpf:error={error}:when={number}", PROGRAM, "attach",
                                "eth0", "--mode", mode, env=lab.env,
                                ok=4 if error == "EPERM" else 5)
            says(done, *words)
            assert not lab.link_pins()
            gates(lab, False)
        lab.gate("attach", "eth0")
        gates(lab)


def bpf_calls(lab, *args):
    """The bpf(2) commands of an smtpgate command, in order."""
    log = MNT + "/calls"
    lab.mail.run("strace", "-f", "-qq", "-o", log, "-e", "trace=bpf", PROGRAM, *args, env=lab.env)
    return [line.partition("bpf(")[2].partition(",")[0]
            for line in lab.mail.path(log).read_text("utf-8", "replace").splitlines()
            if "bpf(" in line]


@tap.test
def foreign_directory():
    """a pin directory that is not root's alone is refused: its owner could take the gate off"""
    with make(listen=False) as lab:
        directory = lab.mail.path(laboratory.BPFFS)
        for owner, mode in ((12345, 0o755), (0, 0o777), (0, 0o770)):
            directory.mkdir(parents=True)
            directory.chmod(mode)
            os.chown(directory, owner, owner)
            done = lab.gate("attach", "eth0", ok=5)
            assert "could take the gate off" in done.err and "rm -r" in done.err, done
            assert not lab.link_pins() and not list(directory.iterdir())
            directory.rmdir()
        lab.gate("attach", "eth0")


if __name__ == "__main__":
    tap.main()
