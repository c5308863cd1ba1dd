# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's half taken apart behind the gate's back: pins, links, programs, maps, interfaces.

After each fault packets are sent over the cable, so what is seen is what a sender sees. Where an
unlisted source gets in, or the maps are not what the list says, `status --check` has to say so, and
one command has to mend it (or say what stands in the way).
"""
import ctypes
import os
import socket
import struct

from scene import (BPFFS, LISTED, MAIL, MAPS, MNT, NEW, UNLISTED, BPFTOOL, Scene, Wrong,
                   connect_all, execute, plain, says, until, verdicts)

MAP_UPDATE, PROG_LOAD, LINK_CREATE, LINK_UPDATE, LINK_DETACH = 2, 5, 28, 29, 34
TYPE_XDP, ATTACH_XDP = 6, 37
PINS = ("config", "allow4", "allow6", "blocks", "sources", "budget", "newcomers", "count_1")


class Fault:  # pylint: disable=too-few-public-methods
    """`opens`: unlisted sources get in afterwards. `quiet`: status may say that all is well.

    `remedy`: shell that takes away what no command can, before one heals."""

    def __init__(self, name, make, opens=False, quiet=False, remedy=None, cut=False):
        # pylint: disable=too-many-arguments,too-many-positional-arguments
        self.name, self.make, self.opens, self.quiet = name, make, opens, quiet
        self.remedy, self.cut = remedy, cut


def shell(script):
    """A fault that a line of shell makes."""
    return lambda scene: scene.shell(script)


def tried(script):
    """A line of shell that the kernel is expected to refuse."""
    return lambda scene: scene.run("sh", "-c", script)


def passing_program():
    """A program of another: it lets everything pass. Returns a descriptor."""
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xb7, 0, 0, 2, 0x95, 0, 0, 0), 16)
    licence = ctypes.create_string_buffer(b"GPL")
    head = struct.pack("=IIQQ", TYPE_XDP, 2, verdicts.address_of(code),
                       verdicts.address_of(licence))
    return verdicts.bpf(PROG_LOAD, ctypes.create_string_buffer(
        head.ljust(68, b"\0") + struct.pack("=I", ATTACH_XDP), 128))


def replace_program(scene):
    """The link runs another program."""
    program, link = passing_program(), verdicts.opened(scene.pins()[0])
    verdicts.bpf(LINK_UPDATE, verdicts.attributes("=IIII", link, program, 0, 0))
    os.close(link)
    os.close(program)


def take_place(scene):
    """The link is taken off and another's program put in its place."""
    detach_link(scene)
    program = passing_program()
    with scene.lab.mail.inside():
        scene.foreign = verdicts.bpf(LINK_CREATE, verdicts.attributes(
            "=IIII", program, socket.if_nametoindex("eth0"), ATTACH_XDP, 0))
    os.close(program)


def give_place(scene):
    """That program goes."""
    os.close(scene.foreign)


def detach_link(scene):
    """bpf(BPF_LINK_DETACH), as "bpftool link detach" does: the pin stays, and holds nothing."""
    link = verdicts.opened(scene.pins()[0])
    verdicts.bpf(LINK_DETACH, verdicts.attributes("=I", link))
    os.close(link)


def element(key, value=None):
    """A prefix in the IPv4 trie changed (deleted without a value)."""
    words = " ".join(f"{b:02x}" for b in key.ljust(12, b"\0"))
    if value is None:
        return shell(f"{BPFTOOL} map delete pinned {MAPS}/allow4 key hex {words}")
    return shell(f"{BPFTOOL} map update pinned {MAPS}/allow4 key hex {words} value hex "
                 + " ".join(f"{b:02x}" for b in value))


def summary(number):
    """An element of the summary in front of the tries zeroed; the first is its head."""
    return shell(f"{BPFTOOL} map update pinned {MAPS}/blocks key hex {number:02x} 00 00 00 value hex"
                 + " 00" * 64)


def everywhere(scene):
    """A prefix that covers all, and nothing to keep the program from asking for it."""
    summary(0)(scene)
    element(bytes(8), bytes(24))(scene)


def config(offset, data):
    """Bytes of the settings overwritten."""
    def write(scene):
        whole = bytearray(verdicts.value(scene.path(f"{MAPS}/config")))
        length = len(whole) if data is None else len(data)
        whole[offset:offset + length] = data or bytes(length)
        key = ctypes.create_string_buffer(4)
        value = ctypes.create_string_buffer(bytes(whole), len(whole))
        fd = verdicts.opened(scene.path(f"{MAPS}/config"))
        verdicts.bpf(MAP_UPDATE, verdicts.attributes(
            "=IIQQQ", fd, 0, verdicts.address_of(key), verdicts.address_of(value), 0))
        os.close(fd)
    return write


# Interfaces.

def cable(scene):
    """A new cable between the hosts, as the old one was."""
    scene.lab.link(scene.lab.mail, "eth0", scene.lab.client, "eth0")
    scene.lab.mail.address("eth0", MAIL + "/24")
    scene.lab.client.address("eth0", *(f"{a}/24" for a in (LISTED, UNLISTED, NEW)))


def recreate(scene):
    """The interface is deleted, and one of that name made."""
    scene.shell("ip link del eth0")
    cable(scene)


def rename(scene):
    """eth0 is called wan0 now."""
    scene.shell("ip link set eth0 down; ip link set eth0 name wan0; ip link set wan0 up")


def swap(scene):
    """eth0 is called wan0 now, and another interface eth0."""
    rename(scene)
    scene.shell("ip link add eth0 type veth peer name eth9; ip link set eth0 up")


def hand_over(one, two):
    """eth0 goes from one host to another and gets its address there."""
    execute(["nsenter", f"--target={one.pid}", "--net", "--", "ip", "link", "set", "eth0", "netns",
             str(two.pid)])
    two.ip("link set eth0 up")
    two.address("eth0", MAIL + "/24")


def move(scene):
    """The interface goes to another network namespace."""
    hand_over(scene.lab.mail, scene.lab.host("other"))


def move_back(scene):
    """And comes back."""
    move(scene)
    hand_over(scene.lab.hosts["other"], scene.lab.mail)


def move_away(scene):
    """The namespace it went to ends."""
    move(scene)
    scene.lab.hosts.pop("other").close()
    until(lambda: "eth0" not in scene.lab.client.run("ip", "-br", "link").out)


FAULTS = [
    *(Fault(f"pin of {name} deleted", shell(f"rm {MAPS}/{name}")) for name in PINS),
    Fault("pins of all maps deleted", shell(f"rm {MAPS}/*")),
    Fault("directory of the maps deleted", shell(f"rm -r {MAPS}")),
    Fault("pin of the link deleted", shell(f"rm {BPFFS}/link_1"), opens=True),
    Fault("all pins deleted", shell(f"rm -r {BPFFS}"), opens=True),
    Fault("bpffs unmounted", shell(f"umount {MNT}/bpf"), opens=True,
          remedy=shell(f"mount -t bpf bpf {MNT}/bpf")),
    Fault("another bpffs mounted over it", shell(f"mount -t bpf bpf {MNT}/bpf"),
          remedy=shell(f"umount {MNT}/bpf")),
    Fault("ip link set dev eth0 xdp off", tried("ip link set dev eth0 xdp off"), quiet=True),
    Fault("ip link set dev eth0 xdpgeneric off", tried("ip link set dev eth0 xdpgeneric off"),
          quiet=True),
    Fault("bpftool net detach xdp dev eth0", tried(f"{BPFTOOL} net detach xdp dev eth0"),
          quiet=True),
    Fault("bpftool link detach", detach_link, opens=True),
    Fault("another program on the link", replace_program, opens=True),
    Fault("link detached, another program attached", take_place, opens=True, remedy=give_place),
    Fault("a listed prefix deleted from the trie", element(b"\x20\0\0\0\xc0\0\2\x0a"),
          cut=True),
    Fault("0.0.0.0/0 put into the trie", element(bytes(8), bytes(24))),
    Fault("0.0.0.0/0 put into the trie, the summary switched off", everywhere, opens=True),
    Fault("the summary switched off", summary(0), quiet=True),
    Fault("the summary zeroed where the listed are", summary(1 + 0xc000 // 512), cut=True),
    Fault("another prefix put into the trie",
          element(b"\x20\0\0\0\xcb\0\x71\x01", b"\x20" + bytes(23))),
    Fault("the end of a listed prefix set to the past",
          element(b"\x20\0\0\0\xc0\0\2\x0a", b"\x20\1" + bytes(22)), cut=True),
    Fault("settings zeroed", config(0, None)),
    Fault("settings filled with ones", config(0, b"\xff" * (64 + 65536))),
    Fault("mode set to off", config(24, b"\1"), opens=True),
    Fault("mode set to observe", config(24, b"\2"), opens=True),
    Fault("mode set to a number that is not known", config(24, b"\x4d")),
    Fault("port 587 taken off guard", config(64 + 587, b"\0"), opens=True),
    Fault("port 22 put on guard", config(64 + 22, b"\1")),
    Fault("revision in force set back", config(16, b"\1" + bytes(7))),
    Fault("interface down", shell("ip link set eth0 down"), quiet=True, cut=True,
          remedy=shell("ip link set eth0 up")),
    Fault("interface renamed", rename, quiet=True),
    Fault("interface renamed, its name given to another", swap),
    Fault("interface deleted", shell("ip link del eth0"), cut=True, remedy=cable),
    Fault("interface deleted and made anew", recreate, opens=True),
    Fault("interface moved to another namespace", move, quiet=True),
    Fault("interface moved there and back", move_back, quiet=True),
    Fault("interface moved to a namespace that went", move_away, cut=True, remedy=cable),
]


def packets(scene):
    """Who gets in over the cable: (listed, unlisted)."""
    try:
        states = connect_all(scene.lab.client, [(LISTED, MAIL, 587, "refused"),
                                                (UNLISTED, MAIL, 587, "timeout")], patience=0.5,
                             quiet=0.15)
    except OSError:             # no cable, no address
        return "out", "out"
    return tuple("in" if s == "refused" else "out" for s in states)


def settled(scene, fault):
    """What is seen; the kernel frees a link a moment after its pin."""
    expected = ("out" if fault.cut else "in", "in" if fault.opens else "out")
    try:
        until(lambda: packets(scene) == expected, 2)
    except AssertionError:
        pass
    return packets(scene), expected


def good(scene):
    """Kernel and store are one, and status says so."""
    store = scene.store()
    return not scene.differences(store) and scene.gate("status", "--check", ok=None).code == 0


def heal(scene, fault):
    """What brings it in order: the next change, sync, or the remedy and sync."""
    done = scene.gate(*scene.mark(), ok=None)
    if done.code == 0 and good(scene) and packets(scene) == ("in", "out"):
        return "the next change"
    done = scene.gate("sync", ok=None)
    if done.code == 3:
        done = scene.gate("sync", "-y", ok=None)
    if done.code == 0 and good(scene) and packets(scene) == ("in", "out"):
        return "sync"
    if fault.remedy:
        if done.code == 0 and not fault.cut:
            raise Wrong("sync says that all is well")
        fault.remedy(scene)
        refused = says(done)
        done = scene.gate("sync", ok=None)
        if done.code == 0 and good(scene) and packets(scene) == ("in", "out"):
            return "the cause taken away, then sync" if refused else "-"
    raise Wrong(f"sync does not heal: {done}; {scene.differences(scene.store())};"
                f" {packets(scene)}")


def one(fault):
    """Makes a fault on a host of its own; returns its row."""
    wrong = []
    with Scene() as scene:
        fault.make(scene)
        seen, expected = settled(scene, fault)
        if seen != expected:
            wrong.append(f"seen {seen}, expected {expected}")
        told = scene.gate("status", "--check", ok=None)
        shown = scene.gate("-q", "status", ok=None)
        doctor = scene.gate("-q", "doctor", ok=None)
        if told.code == 0 and (seen[1] == "in" or not fault.quiet):
            wrong.append("status --check says that all is well")
        named = [plain(line.strip()) for line in doctor.out.splitlines()
                 if line[:2].strip().isdigit() and line.split()[0] != "1"]  # 1: nobody listens
        if not named and not fault.quiet:
            wrong.append("doctor finds nothing")
        try:
            healed = heal(scene, fault)
        except (Wrong, OSError) as error:
            wrong.append(str(error))
            healed = "nothing"
    return {"fault": fault.name, "seen": "/".join(seen), "status": str(told.code),
            "shown": shown.out, "doctor": str(doctor.code), "names": named, "healed": healed,
            "wrong": wrong}


def rows(wanted=None):
    """A row for each fault."""
    for fault in wanted or FAULTS:
        yield one(fault)
