#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Store and kernel: edited behind the back, pins removed, damaged, full, read-only, locked.

After whatever happens: nobody gets in who was never listed, `status --check` tells the truth, what
is refused changes nothing, and one `sync` makes the kernel equal to the store.
"""
import fcntl
import os
import pathlib
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import tap
from healing import (DATABASE, LISTED, MAIL, MAPS, NEW, RANGE, SEGMENT6, UNLISTED, calls, closed,
                     equal, in_step, make, snapshot, traced, unlisted_gets_in)
from lab import BPFFS, BPFTOOL, MNT, STATE, connect_all, expect, until

TRIES = 6                       # attempts of one insertion into a trie


@tap.test
def next_command_heals():
    """what a killed command left is healed by the next one too"""
    with make() as lab:
        found = [c for c in calls(lab, "delete", RANGE) if "BPF_MAP_DELETE" in c[2]]
        lab.gate("add", RANGE)
        name, number, _ = found[len(found) // 2]
        traced(lab, "delete", RANGE, inject=f"{name}:signal=KILL:when={number}", ok=-9)
        lab.gate("status", "--check", ok=1)
        assert lab.kernel_prefixes() > lab.stored_prefixes()
        lab.gate("add", NEW)
        in_step(lab)
        closed(lab, NEW)


@tap.test
def pins_removed():
    """pins removed: the gate stays closed, status says so, sync mends; the link stays the same"""
    with make() as lab:
        link = lab.link_pins()
        for pins in (("allow4",), ("allow6",), ("config",), ("blocks",), ("count_*",),
                     ("allow4", "allow6"), ("config", "count_*"), ("*",)):
            lab.mail.run("sh", "-c", "rm " + " ".join(f"{MAPS}/{pin}" for pin in pins))
            assert not unlisted_gets_in(lab), f"{pins} removed: open"
            lab.gate("status", "--check", ok=1)
            lab.gate("sync")
            in_step(lab)
            closed(lab)
            assert lab.link_pins() == link, "the link was made anew"
        lab.mail.run("rm", "-r", MAPS)
        lab.gate("add", NEW)                        # the next command mends as well
        in_step(lab)
        closed(lab, NEW)
        assert lab.link_pins() == link


@tap.test
def link_removed():
    """the link's pin or all pins removed (which opens the gate): status says so, sync mends"""
    with make() as lab:
        for pins in (BPFFS + "/link_*", BPFFS + "/*"):
            lab.mail.run("sh", "-c", f"rm -r {pins}")
            # The kernel frees the link a moment after its pin.
            until(lambda: unlisted_gets_in(lab))
            lab.gate("status", "--check", ok=1)
            assert not any(i["attached"] for i in lab.json("status")["interfaces"])
            lab.gate("sync")
            in_step(lab)
            closed(lab)


@tap.test
def edited():
    """prefixes added and removed behind the back: status notices, sync mends"""
    with make() as lab:
        lab.mail.run(BPFTOOL, "map", "delete", "pinned", MAPS + "/allow4",
                     "key", "hex", "20", "0", "0", "0", "c0", "0", "2", "a",
                     *["0"] * 4)
        lab.gate("status", "--check", ok=1)
        assert lab.json("status")["in_sync"] is False
        lab.gate("sync")
        in_step(lab)
        closed(lab)
        stray = ("map", "update", "pinned", MAPS + "/allow4", "key", "hex", *["0"] * 12,
                 "value", "hex", *["0"] * 24)
        lab.mail.run(BPFTOOL, *stray)
        assert not unlisted_gets_in(lab)    # the summary does not tell of it
        lab.gate("sync")
        in_step(lab)
        lab.gate("-y", "add", "0.0.0.0/0")
        lab.gate("delete", "0.0.0.0/0")
        closed(lab)
        lab.mail.run(BPFTOOL, *stray)
        assert unlisted_gets_in(lab)        # until it is made anew it does
        lab.gate("status", "--check", ok=1)
        assert lab.json("status")["in_sync"] is False
        lab.gate("sync")
        in_step(lab)
        closed(lab)


@tap.test
def other_map():
    """another map in the place of one of ours: status says so, sync makes ours anew"""
    with make() as lab:
        for name, kind in (("allow4", "lpm_trie"), ("blocks", "array")):
            lab.mail.run("rm", f"{MAPS}/{name}")
            lab.mail.run(BPFTOOL, "map", "create", f"{MAPS}/{name}", "type", "hash", "key", "12",
                         "value", "24", "entries", "16", "name", "other")
            assert not unlisted_gets_in(lab)
            lab.gate("status", "--check", ok=1)
            lab.gate("sync")
            assert lab.bpftool("map", "show", "pinned", f"{MAPS}/{name}")["type"] == kind
            in_step(lab)
            closed(lab)


@tap.test
def summary_edited():
    """the summary in front of the tries emptied behind the back: status notices, sync mends"""
    with make() as lab:
        element = 1 + 0xc000 // 512         # where the program looks first for 192.0.0.0/16
        lab.mail.run(BPFTOOL, "map", "update", "pinned", MAPS + "/blocks", "key", "hex",
                     f"{element:02x}", "0", "0", "0", "value", "hex", *["0"] * 64)
        status = lab.json("status")
        assert status["in_sync"] is False, status
        lab.gate("status", "--check", ok=1)
        said = lab.gate("check", "192.0.2.10", ok=1)
        assert "but the kernel drops it" in said.out, said
        lab.gate("sync")
        in_step(lab)
        closed(lab)


def read_head(lab):
    """The words of the summary's head: filled, seed, generation, stale."""
    value = lab.bpftool("map", "lookup", "pinned", MAPS + "/blocks", "key", "hex",
                        "0", "0", "0", "0")["value"]
    return struct.unpack("=4Q", bytes(int(byte, 16) for byte in value[:32]))


@tap.test
def summary_made_anew():
    """what goes raises the generation at once; when much has gone the summary is made anew"""
    with make() as lab:
        lab.gate("set", "limit", "none")
        many = "".join(f"100.64.{i // 200}.{i % 200}\n" for i in range(2000))
        lab.gate("import", "-", stdin=many)
        filled, seed, generation, stale = read_head(lab)
        assert filled == 1 and seed and stale == 0
        lab.gate("delete", "100.64.0.0")
        assert read_head(lab) == (1, seed, generation + 1, 1)
        lab.gate("edit", "100.64.0.1", "--for", "1h")
        assert read_head(lab) == (1, seed, generation + 2, 1)
        lab.gate("-y", "apply", "-", stdin="192.0.2.10\n")
        filled, again, later, stale = read_head(lab)
        assert (filled, again, stale) == (1, seed, 0) and later >= generation + 2000
        in_step(lab)
        closed(lab)
        generation = read_head(lab)[2]
        lab.gate("sync")                    # a delete may have been killed before it was raised
        assert read_head(lab)[2] > generation


def write_config(lab, offset, data):
    """Overwrites bytes of the pinned settings with bpftool."""
    row = lab.bpftool("map", "dump", "pinned", MAPS + "/config")[0]
    value = [b.removeprefix("0x") for b in row["value"]]
    value[offset:offset + len(data)] = [f"{b:02x}" for b in data]
    batch = MNT + "/batch"
    lab.mail.path(batch).write_text(f"map update pinned {MAPS}/config key hex 0 0 0 0 value hex "
                                    + " ".join(value) + "\n", encoding="ascii")
    done = lab.mail.run(BPFTOOL, "batch", "file", batch, ok=None)
    if done.code:               # a batch line has a limit; an argument list has another
        lab.mail.run(BPFTOOL, "map", "update", "pinned", MAPS + "/config", "key", "hex", "0", "0",
                     "0", "0", "value", "hex", *value)


@tap.test
def settings_edited():
    """mode, ports or ABI number overwritten behind the back: status notices, sync mends"""
    with make() as lab:
        for offset, data, opens in ((24, b"\1", True),          # mode: off
                                    (24, b"\xfe", False),       # mode: unknown, so enforce
                                    (64 + 587, b"\0", True),    # 587 off guard
                                    (0, b"\0" * 24, False),     # as if never filled
                                    (0, b"\x63", False)):       # another ABI
            write_config(lab, offset, data)
            assert unlisted_gets_in(lab) == opens, (offset, data)
            lab.gate("status", "--check", ok=1)
            lab.gate("sync", *(["-y"] if offset == 0 else []))
            in_step(lab)
            closed(lab)


@tap.test
def tries_emptied():
    """an emptied trie never means open"""
    with make() as lab:
        for row in lab.bpftool("map", "dump", "pinned", MAPS + "/allow4"):
            lab.mail.run(BPFTOOL, "map", "delete", "pinned", MAPS + "/allow4", "key", "hex",
                         *(b.removeprefix("0x") for b in row["key"]))
        expect(lab.client, [(s, MAIL, 25, "timeout") for s in (LISTED, UNLISTED)])
        lab.gate("status", "--check", ok=1)
        lab.gate("sync")
        in_step(lab)
        closed(lab)


@tap.test
def transient_enomem():
    """one ENOMEM of the trie is retried and nobody notices"""
    with make() as lab:
        number = next(c for c in calls(lab, "add", NEW) if "BPF_MAP_UPDATE" in c[2])[1]
        lab.gate("delete", NEW)
        traced(lab, "add", NEW, inject=f"bpf:error=ENOMEM:when={number}", ok=0)
        in_step(lab)
        closed(lab, NEW)


@tap.test
def lasting_enomem():
    """lasting ENOMEM: the whole command is taken back, exit 5, store and kernel as before"""
    with make() as lab:
        whole = "203.0.113.1-203.0.113.254"
        numbers = [c[1] for c in calls(lab, "add", whole) if "BPF_MAP_UPDATE" in c[2]]
        assert len(numbers) == 14
        lab.gate("delete", whole)
        before = snapshot(lab)
        for first in (numbers[0], numbers[5], numbers[-1]):
            done = traced(lab, "add", whole,
                          inject=f"bpf:error=ENOMEM:when={first}..{first + TRIES - 1}", ok=5)
            assert "memory" in done.err and done.err.startswith("smtpgate: "), done
            assert snapshot(lab) == before
            in_step(lab)
            closed(lab)
        # Not even the taking back works: said by status, mended by sync.
        traced(lab, "add", whole, inject=f"bpf:error=ENOMEM:when={numbers[5]}+", ok=5)
        lab.gate("status", "--check", ok=1)
        assert not unlisted_gets_in(lab)
        lab.gate("sync")
        assert snapshot(lab) == before
        in_step(lab)


@tap.test
def disk_errors():
    """every write and sync of the store failing (ENOSPC, EIO): exit 5, nothing changed"""
    with make() as lab:
        found = [c for c in calls(lab, "add", NEW)
                 if c[0] in ("pwrite64", "fdatasync", "fsync", "ftruncate")
                 and "/lock" not in c[2]]
        lab.gate("delete", NEW)
        before = snapshot(lab)
        refusals = 0
        for name, number, text in found:
            for error in ("ENOSPC", "EIO"):
                done = traced(lab, "add", NEW, inject=f"{name}:error={error}:when={number}",
                              ok=(0, 5))
                listed = NEW in [e["who"] for e in lab.json("list")["entries"]]
                assert listed == (done.code == 0), \
                    f"{name} {number} ({text[:80]}) {error}: exit {done.code}, listed: {listed}"
                refusals += done.code == 5
                lab.gate("status", "--check")
                equal(lab)
                if done.code == 0:
                    lab.gate("delete", NEW)
                assert snapshot(lab)[1:] == before[1:], f"{name} {number} {error}"
        assert refusals, "nothing was refused"
        closed(lab)


@tap.test
def full_disk():
    """a full disk: exit 5, nothing changed, the list can still be read"""
    with make(state_size="256k") as lab:
        before = snapshot(lab)
        with open(lab.mail.path(STATE + "/ballast"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass
        for args in (("add", NEW), ("delete", LISTED), ("disable", "-y"), ("set", "limit", "20"),
                     ("edit", LISTED, "--remark", "x" * 200)):
            done = lab.gate(*args, ok=5)
            assert "full" in done.err, done
            assert lab.json(*args, ok=5)["ok"] is False
            assert snapshot(lab) == before
            lab.gate("status", "--check")
        closed(lab)
        lab.mail.path(STATE + "/ballast").unlink()
        lab.gate("add", NEW)
        in_step(lab)


@tap.test
def read_only():
    """a read-only store: exit 5, nothing changed, what only reads still works"""
    with make(state_size="1m") as lab:
        before = snapshot(lab)
        lab.mail.run("mount", "-o", "remount,ro", STATE)
        for args in (("add", NEW), ("delete", LISTED), ("disable", "-y"), ("set", "ports", "25")):
            done = lab.gate(*args, ok=5)
            assert "read-only" in done.err.lower(), done
            assert snapshot(lab) == before
        lab.gate("check", LISTED)
        lab.gate("check", UNLISTED, ok=1)
        lab.gate("stats")
        lab.gate("status", "--check")
        closed(lab)
        lab.mail.run("mount", "-o", "remount,rw", STATE)
        lab.gate("add", NEW)
        in_step(lab)


MUTATING = (("add", NEW), ("delete", LISTED), ("disable", "-y"), ("set", "ports", "25"),
            ("set", "limit", "none"), ("edit", LISTED, "--remark", "x"), ("sync",),
            ("attach", "eth0"))


def store_broken(lab, spoil, words, commands=(*MUTATING, ("list",)), seen=True):
    """With the store spoilt every command is refused, nothing changes; put back, all is well.

    `seen`: status, which reads no entries, must see it too."""
    path, copy = lab.mail.path(DATABASE), lab.mail.path(MNT + "/copy.db")
    shutil.copy(path, copy)
    kernel = (lab.kernel_prefixes(), lab.config(), lab.link_pins())
    spoil(path)
    wrong = []
    for args in commands:
        # With the store gone or emptied, sync asks before it starts anew.
        code = (3, 5) if args == ("sync",) and "missing" in words else (5,)
        plain, machine = lab.gate(*args, ok=None), lab.gate("-j", *args, ok=None)
        if plain.code not in code or not plain.err.startswith("smtpgate: ") \
                or (plain.out and args != ("list",)) \
                or not any(word in plain.err for word in words):
            wrong.append(f"not a refusal with one of {words}:\n{plain}")
        if machine.code not in code or '"ok":false' not in machine.out \
                or machine.out.count("\n") > 1:
            wrong.append(f"not one JSON error:\n{machine}")
        if (lab.kernel_prefixes(), lab.config(), lab.link_pins()) != kernel:
            wrong.append(f"{args} changed the kernel")
    if seen and lab.gate("status", "--check", ok=None).code not in (1, 5):
        wrong.append("status --check says that all is well")
    if unlisted_gets_in(lab):
        wrong.append("the gate is open")
    shutil.copy(copy, path)
    assert not wrong, "\n".join(wrong)
    in_step(lab)
    closed(lab)


@tap.test
def corrupt():
    """a damaged store: exit 5, the gate stays as it is"""
    def overwrite(offset, data):
        def spoil(path):
            with open(path, "r+b") as file:
                file.seek(offset)
                file.write(data)
        return spoil
    words = ("damaged",)
    with make() as lab:
        size = lab.mail.path(DATABASE).stat().st_size
        store_broken(lab, overwrite(0, b"not a database at all"), words)
        store_broken(lab, overwrite(4096, os.urandom(size - 4096)), words)
        store_broken(lab, overwrite(100, b"\xff" * 900), words)


@tap.test
def truncated():
    """a truncated or emptied store: exit 5, the gate stays as it is"""
    with make() as lab:
        size = lab.mail.path(DATABASE).stat().st_size
        for length in (0, 1, 50, 4096, size - 4096):
            store_broken(lab, lambda path, n=length: os.truncate(path, n),
                         ("damaged", "missing", "another store"))


@tap.test
def foreign_rows():
    """rows that make no sense: exit 5, never a wrong list"""
    with make() as lab:
        wrong = []
        for statement, commands in (
                ("UPDATE entry SET first = x'00' WHERE id = 1", [("list",), ("delete", "#1")]),
                ("UPDATE entry SET family = 9 WHERE id = 1", [("list",), ("delete", "#1")]),
                ("UPDATE entry SET first = last, last = first WHERE id = 2", [("list",)]),
                ("UPDATE prefix SET len = 33 WHERE family = 4", [("sync",)]),
                ("UPDATE prefix SET addr = x'0102' WHERE entry = 1", [("sync",)]),
                ("UPDATE port SET port = 70000 WHERE port = 25", MUTATING),
                ("UPDATE setting SET mode = 77", MUTATING),
                ("DELETE FROM setting", MUTATING),
                ("DROP TABLE prefix", [("add", NEW), ("delete", RANGE), ("sync",)])):
            def spoil(_, sql=statement):
                lab.mail.run("sqlite3", DATABASE, "PRAGMA ignore_check_constraints = ON;" + sql)
            try:
                store_broken(lab, spoil, ("damaged",), commands,
                             seen="UPDATE entry" not in statement)
            except AssertionError as error:
                wrong.append(f"{statement}: {error}")
        assert not wrong, "\n".join(wrong)


@tap.test
def newer():
    """a store written by a newer version: exit 5, says so"""
    with make() as lab:
        store_broken(lab, lambda _: lab.mail.run("sqlite3", DATABASE, "PRAGMA user_version = 999"),
                     ("newer",))


@tap.test
def store_deleted():
    """the store deleted under a gate: exit 5, the gate stays closed"""
    with make() as lab:
        store_broken(lab, lambda path: path.unlink(), ("missing", "another store"))
        copy = lab.mail.path(MNT + "/state.copy")
        shutil.copytree(lab.mail.path(STATE), copy)
        shutil.rmtree(lab.mail.path(STATE))
        lab.gate("add", UNLISTED, ok=5)
        lab.gate("sync", ok=(3, 5))
        assert not unlisted_gets_in(lab)


@tap.test
def other_store():
    """a gate made from another store is not taken over by accident"""
    with make() as lab:
        kernel = (lab.kernel_prefixes(), lab.config())
        lab.env["SMTPGATE_STATE"] = MNT + "/other"
        lab.gate("add", UNLISTED, ok=5)
        lab.gate("sync", ok=(3, 5))
        lab.gate("status", "--check", ok=(1, 5))
        assert (lab.kernel_prefixes(), lab.config()) == kernel
        assert not unlisted_gets_in(lab)


@tap.test
def two_at_once():
    """the lock held by another: exit 6 and nothing changed; what only reads does not wait"""
    with make() as lab:
        before = snapshot(lab)
        with open(lab.mail.path(STATE + "/lock"), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            running = [(args, subprocess.Popen(lab.command(*args), env=lab.env, text=True,
                                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                               stderr=subprocess.PIPE))
                       for args in (*MUTATING, ("detach", "eth0"), ("-j", "add", NEW))]
            for args in (("list",), ("check", LISTED), ("stats",)):
                lab.gate(*args)
            for args, process in running:
                out, err = process.communicate(timeout=30)
                assert process.returncode == 6, (args, process.returncode, out, err)
                assert '"ok":false' in out.replace(" ", "") if "-j" in args \
                    else err.startswith("smtpgate: "), (args, out, err)
        assert snapshot(lab) == before
        in_step(lab)


@tap.test
def parallel():
    """eight adds and deletes at once: each succeeds or is busy, and the list is consistent"""
    with make() as lab:
        lab.gate("set", "limit", "none")
        for word, code in (("add", 0), ("delete", 0)):
            running = {f"203.0.113.{n}": subprocess.Popen(
                lab.command(word, f"203.0.113.{n}"), env=lab.env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for n in range(8)}
            done = {}
            for who, process in running.items():
                process.communicate(timeout=30)
                done[who] = process.returncode
            assert set(done.values()) <= {code, 6}, done
            listed = {e["who"] for e in lab.json("list")["entries"]} - {LISTED, RANGE, SEGMENT6}
            if word == "add":
                assert listed == {who for who, got in done.items() if got == 0}
            in_step(lab)
        closed(lab)


@tap.test
def overlapping():
    """nested and overlapping entries: deleting one never removes what another still allows"""
    with make() as lab:
        lab.gate("set", "limit", "none")
        entries = ("192.0.2.76-192.0.2.78", "192.0.2.64/27", NEW, "192.0.2.77-192.0.2.77",
                   "192.0.2.77/32", "192.0.2.0/24")
        lab.gate("delete", LISTED)
        for who in entries:
            lab.gate("add", who)
            equal(lab)
        for number, who in enumerate(entries):
            assert connect_all(lab.client, [(NEW, MAIL, 25, "open")]) == ["open"]
            lab.gate("delete", who)
            equal(lab)
            if number < len(entries) - 1:
                assert connect_all(lab.client, [(NEW, MAIL, 25, "open")]) == ["open"], who
        expect(lab.client, [(NEW, MAIL, 25, "timeout")])
        in_step(lab)


if __name__ == "__main__":
    tap.main()
