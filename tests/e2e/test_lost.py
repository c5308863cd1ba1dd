#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Pins, stores or both lost, and healing itself interrupted: never open, never "done" untruly.

Each case was once a hole: a command exited 0 while an interface enforced an older list, or the gate
opened without a -y."""
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import lab
import tap

LISTED, OTHER, THIRD = "192.0.2.10", "192.0.2.11", "192.0.2.12"
HOST = "192.0.2.1"


def site(where, two=False):
    """eth0 (and eth1) gated, LISTED and OTHER let in."""
    client = where.host("client")
    where.link(where.mail, "eth0", client, "p0")
    where.mail.address("eth0", HOST + "/24")
    client.address("p0", *(a + "/24" for a in (LISTED, OTHER, THIRD)))
    if two:
        where.link(where.mail, "eth1", where.host("two"), "p0")
    where.mail.listen(587)
    where.gate("attach", "eth0")
    where.gate("add", LISTED, OTHER)
    return client


def expect(client, *pairs):
    """(source, state) on port 587."""
    lab.expect(client, [(source, HOST, 587, state) for source, state in pairs])


@tap.test
def lost_map_then_attach():
    """a map's pin lost, another interface attached: the first one follows the list"""
    with lab.Lab() as where:
        client = site(where, two=True)
        (where.mail.path(lab.BPFFS) / "abi1" / "allow4").unlink()
        where.gate("attach", "eth1")
        where.gate("delete", LISTED)
        where.gate("add", THIRD)
        expect(client, (LISTED, "timeout"), (OTHER, "open"), (THIRD, "open"))
        where.gate("status", "--check")


@tap.test
def healing_killed():
    """a healing add killed at any of its last steps: the next delete heals or fails"""
    for number in range(20, 90, 7):
        with lab.Lab() as where:
            client = site(where)
            (where.mail.path(lab.BPFFS) / "abi1" / "allow4").unlink()
            lab.execute(where.mail.argv("strace", "-o", "/dev/null", "-e", "trace=bpf", "-e",
                                        f"inject=bpf:signal=KILL:when={number}", lab.PROGRAM, "add",
                                        THIRD), None, env=where.env)
            where.gate("delete", LISTED)
            expect(client, (LISTED, "timeout"), (OTHER, "open"))
            where.gate("status", "--check")


@tap.test
def healing_fails():
    """a live link that cannot be moved to the new maps fails the command, which changes nothing"""
    tried = 0
    for number in range(40, 100, 4):
        with lab.Lab() as where:
            client = site(where)
            (where.mail.path(lab.BPFFS) / "abi1" / "allow4").unlink()
            done = lab.execute(where.mail.argv("strace", "-o", "/dev/null", "-e", "trace=bpf", "-e",
                                               f"inject=bpf:error=EIO:when={number}", lab.PROGRAM,
                                               "delete", LISTED), None, env=where.env)
            expect(client, (LISTED, "timeout" if done.code == 0 else "open"), (OTHER, "open"),
                   (THIRD, "timeout"))
            tried += done.code != 0
    assert tried, "no injection hit"


@tap.test
def lost_store_and_map():
    """the store and a map's pin lost: nothing opens the gate without -y"""
    for pin in ("config", "allow4", "allow6"):
        with lab.Lab() as where:
            client = site(where)
            (where.mail.path(lab.BPFFS) / "abi1" / pin).unlink()
            (where.mail.path(lab.STATE) / "smtpgate.db").unlink()
            where.gate("sync", ok=3)
            where.gate("add", THIRD, ok=5)
            where.gate("disable", "-y", ok=5)
            where.gate("check", LISTED, ok=5)
            where.gate("status", "--check", ok=1)
            expect(client, (LISTED, "open"), (THIRD, "timeout"))


@tap.test
def damaged_while_behind():
    """a store that is damaged is not put in force by healing either"""
    with lab.Lab() as where:
        client = site(where)
        (where.mail.path(lab.BPFFS) / "abi1" / "allow4").unlink()
        where.mail.run("sqlite3", lab.STATE + "/smtpgate.db", "PRAGMA ignore_check_constraints = 1;"
                       " UPDATE setting SET one = 2, mode = 1;")
        where.gate("sync", ok=5)
        where.gate("add", THIRD, ok=5)
        expect(client, (LISTED, "open"), (THIRD, "timeout"))


@tap.test
def half_detached():
    """a detach of two of which the second is refused says that the first is off"""
    with lab.Lab() as where:
        client = site(where, two=True)
        where.gate("attach", "eth1")
        done = lab.execute(where.mail.argv(
            "strace", "-o", "/dev/null", "-e", "trace=unlink", "-P", lab.BPFFS + "/link_2", "-e",
            "inject=unlink:error=EPERM", lab.PROGRAM, "detach", "--all"), 5, env=where.env)
        assert "detached from eth0" in done.err and "eth1" in done.err, done
        expect(client, (THIRD, "open"))
        where.gate("sync")
        assert [i["name"] for i in where.json("status")["interfaces"]] == ["eth1"]


@tap.test
def detach_refused():
    """a detach that the kernel refuses says that the interface stays guarded"""
    with lab.Lab() as where:
        client = site(where)
        for error, code in (("EPERM", 4), ("EIO", 5)):
            done = lab.execute(where.mail.argv(
                "strace", "-o", "/dev/null", "-e", "trace=unlink", "-P", lab.BPFFS + "/link_1",
                "-e", f"inject=unlink:error={error}", lab.PROGRAM, "detach", "eth0"), code,
                env=where.env)
            assert "off eth0" in done.err and "stays guarded" in done.err, done
            expect(client, (LISTED, "open"), (THIRD, "timeout"))
        where.gate("sync")
        where.gate("status", "--check")


@tap.test
def attach_not_taken_back():
    """an attach that fails and cannot be taken back says that the interface is guarded"""
    with lab.Lab() as where:
        client = site(where)
        where.gate("detach", "eth0")
        done = lab.execute(where.mail.argv(
            "strace", "-o", "/dev/null", "-e", "trace=unlink", "-e",
            "inject=unlink:error=EIO:when=2+", lab.PROGRAM, "attach", "eth0"), 5, env=where.env)
        assert "eth0" in done.err and "guarded now" in done.err, done
        assert "nothing changed" not in done.err, done
        expect(client, (LISTED, "open"), (THIRD, "timeout"))
        where.gate("detach", "eth0")
        expect(client, (THIRD, "open"))


@tap.test
def no_descriptors():
    """an interface that cannot be looked for is not said to be missing"""
    with lab.Lab() as where:
        site(where)
        done = lab.execute(where.mail.argv(
            "strace", "-o", "/dev/null", "-e", "trace=ioctl", "-e",
            "inject=ioctl:error=EIO:when=4+", lab.PROGRAM, "attach", "eth0"), 5, env=where.env)
        assert "no interface" not in done.err, done


@tap.test
def namesake():
    """a gated interface renamed, and another one called as it was: status and doctor say so"""
    with lab.Lab() as where:
        client = site(where)
        where.mail.ip("link set eth0 down", "link set eth0 name wan0", "link set wan0 up",
                      "link add eth0 type veth peer name eth9", "link set eth0 up")
        expect(client, (LISTED, "open"), (THIRD, "timeout"))
        where.gate("status", "--check", ok=1)
        assert "ANOTHER interface is called eth0" in where.gate("status").out
        found = where.json("doctor", ok=(0, 1))["checks"]
        assert any("another device is called eth0" in c.get("message", str(c)) for c in found)
        where.gate("attach", "eth0")
        where.gate("status", "--check")


@tap.test
def no_store():
    """sync invents no store: at boot its disk may not be mounted yet"""
    with lab.Lab() as where:
        where.gate("sync", ok=5)
        assert not where.mail.path(lab.STATE).exists()


@tap.test
def older_copy():
    """an older copy of the store put back is refused, and taken with -y"""
    with lab.Lab() as where:
        client = site(where)
        store = where.mail.path(lab.STATE) / "smtpgate.db"
        old = store.read_bytes()
        where.gate("delete", OTHER)
        store.write_bytes(old)
        where.gate("set", "limit", "5", ok=5)
        where.gate("sync", ok=3)
        expect(client, (LISTED, "open"), (OTHER, "timeout"))
        where.gate("sync", "-y")
        expect(client, (LISTED, "open"), (OTHER, "open"))


@tap.test
def detach_on_full_disk():
    """a detach that cannot be remembered changes nothing"""
    with lab.Lab() as where:
        client = site(where)
        where.mail.run("sh", "-c", f"mkdir {lab.MNT}/small && mount -t tmpfs -o size=128k,mode=755 tmpfs"
                       f" {lab.MNT}/small && cp -a {lab.STATE}/. {lab.MNT}/small")
        where.mail.run("sh", "-c", f"cat /dev/zero >{lab.MNT}/small/full; true")
        where.gate("--state", lab.MNT + "/small", "detach", "eth0", ok=5)
        expect(client, (LISTED, "open"), (THIRD, "timeout"))


@tap.test
def read_only_at_boot():
    """sync puts a read-only store in force"""
    with lab.Lab() as where:
        client = site(where)
        where.mail.run("rm", "-r", lab.BPFFS)
        where.mail.run("mount", "--bind", lab.STATE, lab.STATE)
        where.mail.run("mount", "-o", "remount,ro,bind", lab.STATE)
        where.gate("sync")
        expect(client, (LISTED, "open"), (THIRD, "timeout"))


@tap.test
def no_place_for_temporary_files():
    """sync puts a long list in force where no directory but its own can be written, as at boot"""
    with lab.Lab() as where:
        client = site(where)
        where.gate("set", "limit", "none")
        where.gate("-q", "-y", "import", "-", stdin="".join(
            f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(100000)))
        inner = lab.MNT + "/smtpgate"
        shutil.copy(lab.PROGRAM, where.mail.path(inner))
        where.mail.run("rm", "-r", lab.BPFFS)
        for place in ("/tmp", "/var/tmp", "/dev/shm"):
            where.mail.run("sh", "-c", f"[ ! -d {place} ] || mount -t tmpfs -o ro tmpfs {place}")
        where.mail.run("sh", "-c", f"cd /proc && exec {inner} -q sync", env=where.env)
        expect(client, (LISTED, "open"), (THIRD, "timeout"))


@tap.test
def attach_after_killed_attach():
    """an attach killed before its commit does not stand in the way of the next"""
    with lab.Lab() as where:
        site(where, two=True)
        where.link(where.mail, "eth2", where.hosts["two"], "p2")
        lab.execute(where.mail.argv("strace", "-o", "/dev/null", "-e",
                                    "inject=pwrite64:signal=KILL:when=8", lab.PROGRAM, "attach",
                                    "eth1"), None, env=where.env)
        where.gate("attach", "eth2")
        where.gate("sync")
        where.gate("status", "--check")


@tap.test
def mode_is_remembered():
    """an attach without --mode keeps the mode that was asked for"""
    with lab.Lab() as where:
        site(where)
        where.gate("detach", "eth0")
        where.gate("attach", "eth0", "--mode", "generic")
        where.gate("attach", "eth0")
        where.mail.run("rm", "-r", lab.BPFFS)
        where.gate("sync")
        assert where.json("status")["interfaces"][0]["xdp_mode"] == "generic"


if __name__ == "__main__":
    tap.main()
