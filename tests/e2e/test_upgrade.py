#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A change of the ABI between kernel and command, under steady traffic: build/abi2/smtpgate is this
program with the next ABI's number.

The new one fills its own maps before the link's program is replaced, then takes the old ones away;
the old one leaves the new one's gate alone. No attempt of anybody may go another way meanwhile.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import steady
import tap
from lab import BPFFS, MNT, ROOT, STATE, execute

NEW = ROOT / "build" / "abi2" / "smtpgate"
LISTED, UNLISTED, OTHER = "192.0.2.10", "192.0.2.66", "2001:db8::10"
# What a command does to the kernel, one after the other: fill, switch, remove.
STEPS = "bpf,unlink,unlinkat,rmdir"


def make():
    """A gate of this version with a list, and the sources that try it."""
    assert NEW.exists(), f"{NEW} is not built: make {NEW.relative_to(ROOT)}"
    where = steady.make(LISTED, UNLISTED, OTHER)
    where.gate("add", LISTED)
    where.gate("add", "2001:db8::/48")
    return where


def newer(lab, *args, ok=0):
    """Runs the program of the next ABI."""
    return execute(lab.mail.argv(NEW, *args), ok, env=lab.env, shown=["newer", *args])


def abis(lab):
    """The directories of pins."""
    return sorted(p.name for p in lab.mail.path(BPFFS).iterdir() if p.name.startswith("abi"))


def device_program(lab):
    """The number of the program on the interface, as the kernel tells it."""
    return lab.bpftool("net", "show", "dev", "eth0")[0]["xdp"][0]["id"]


def program_maps(lab):
    """The numbers of the maps that the program on the interface uses."""
    return set(lab.bpftool("prog", "show", "id", str(device_program(lab)))["map_ids"])


def pinned(lab, abi, name):
    """The number of a pinned map."""
    return lab.bpftool("map", "show", "pinned", f"{BPFFS}/abi{abi}/{name}")["id"]


def entries(lab, abi):
    """How many prefixes the tries of an ABI hold."""
    return [len(lab.bpftool("map", "dump", "pinned", f"{BPFFS}/abi{abi}/{name}"))
            for name in ("allow4", "allow6")]


def check(stream):
    """Not one wrong verdict."""
    stream.always(LISTED)
    stream.always(OTHER)
    stream.never(UNLISTED)


def switched(lab, link, program):
    """The same link, another program, on the new maps, and nothing left of the old ones."""
    assert abis(lab) == ["abi2"], abis(lab)
    assert lab.link_pins() == link, "the link was made anew"
    assert device_program(lab) != program, "the old program is still there"
    maps = program_maps(lab)
    assert {pinned(lab, 2, name) for name in ("config", "allow4", "allow6", "blocks")} <= maps
    assert entries(lab, 2) == [1, 1], entries(lab, 2)
    newer(lab, "status", "--check")


@tap.test
def sync_takes_over():
    """sync of the next ABI: replaced in place under traffic, the old maps are gone, and back again"""
    with make() as lab:
        link, program = lab.link_pins(), device_program(lab)
        before = lab.gate("export").out
        with steady.Steady(lab, LISTED, UNLISTED, OTHER) as stream:
            stream.go_on(20)
            newer(lab, "sync")
            stream.go_on(20)
            switched(lab, link, program)
            assert newer(lab, "export").out == before
            # What the old one's refusal tells to do: back without a gap.
            lab.mail.run("rm", "-r", BPFFS + "/abi2")
            lab.gate("sync")
            stream.go_on(20)
            assert abis(lab) == ["abi1"] and lab.link_pins() == link
            lab.gate("status", "--check")
            check(stream)


@tap.test
def change_takes_over():
    """any change by the next ABI takes over as well, and puts itself on top"""
    with make() as lab:
        link, program = lab.link_pins(), device_program(lab)
        with steady.Steady(lab, LISTED, UNLISTED, OTHER) as stream:
            stream.go_on(20)
            newer(lab, "add", "198.51.100.7")
            stream.go_on(20)
            newer(lab, "delete", "198.51.100.7")
            switched(lab, link, program)
            check(stream)


@tap.test
def filled_before_switched():
    """whichever of its steps is its last: the program in force has the whole list behind it"""
    with make() as lab:
        log = MNT + "/calls"
        program = device_program(lab)
        lab.mail.run("strace", "-f", "-qq", "-o", log, "-e", "trace=" + STEPS, NEW, "sync",
                     env=lab.env)
        found, seen = [], {}
        for line in lab.mail.path(log).read_text("utf-8", "replace").splitlines():
            name = line.partition(" ")[2].lstrip().partition("(")[0]
            seen[name] = seen.get(name, 0) + 1
            if any(t in line for t in ("MAP_UPDATE_ELEM", "OBJ_PIN", "LINK_UPDATE", "abi1")):
                found.append((name, seen[name]))
        assert len(found) > 12, found
        with steady.Steady(lab, LISTED, UNLISTED, OTHER) as stream:
            for name, number in found[::max(1, len(found) // 4)] + found[-1:]:
                lab.mail.run("rm", "-rf", BPFFS + "/abi2")
                lab.gate("sync")
                program = device_program(lab)
                lab.mail.run("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + name, "-e",
                             f"inject={name}:signal=KILL:when={number}", NEW, "sync", env=lab.env,
                             ok=(-9, 137))
                if device_program(lab) != program:
                    assert entries(lab, 2) == [1, 1], (name, number)
                stream.go_on(5)
                newer(lab, "sync")
                assert abis(lab) == ["abi2"], (name, number)
                newer(lab, "status", "--check")
            check(stream)


@tap.test
def other_store():
    """the next ABI does not take over with another store, an older copy, or none"""
    with make() as lab:
        program = device_program(lab)
        lab.mail.run("cp", "-r", STATE, MNT + "/copy")
        lab.gate("add", "198.51.100.7")
        lab.gate("delete", "198.51.100.7")
        for state in (MNT + "/copy", MNT + "/none", MNT + "/other"):
            if state.endswith("other"):
                lab.mail.run("sh", "-c", f"SMTPGATE_STATE={state} SMTPGATE_BPFFS={MNT}/bpf/x "
                             f"{NEW} add 203.0.113.1", env=lab.env)
            said = newer(lab, "--state", state, "sync", ok=3)
            assert "gate" in said.err, said
            newer(lab, "--state", state, "add", "203.0.113.9", ok=5)
            assert device_program(lab) == program and "abi1" in abis(lab), abis(lab)
        newer(lab, "sync")
        assert abis(lab) == ["abi2"]


@tap.test
def older_refuses():
    """the older one leaves a newer ABI's gate alone, says why and what to do; detach works"""
    with make() as lab:
        newer(lab, "sync")
        program, link = device_program(lab), lab.link_pins()
        store = lab.mail.path(STATE + "/smtpgate.db").read_bytes()
        with steady.Steady(lab, LISTED, UNLISTED, OTHER) as stream:
            for args in (("sync",), ("add", "203.0.113.1"), ("delete", LISTED), ("disable",), ("status",),
                         ("pause", "5m"), ("-n", "add", "203.0.113.1"), ("attach", "eth0"), ("list",),
                         ("stats",), ("check", LISTED), ("export",), ("-y", "sync")):
                said = lab.gate(*args, ok=5)
                assert "is a newer smtpgate's (ABI 2, this one knows 1)" in said.err, said
                assert f"rm -r {BPFFS}/abi2, then: smtpgate sync" in said.err, said
            stream.go_on(20)
            assert (abis(lab), device_program(lab), lab.link_pins()) == (["abi2"], program, link)
            assert lab.mail.path(STATE + "/smtpgate.db").read_bytes() == store
            check(stream)
        lab.gate("-y", "detach", "--all")
        assert not lab.link_pins()


if __name__ == "__main__":
    tap.main()
