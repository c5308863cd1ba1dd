#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""undo over a real wire, and killed (SIGKILL) at its system calls.

Taking a change back lets in whom it had cut off and cuts off whom it had let in, at once; nobody else
notices. Killed anywhere, list and history are those before or those after, never a mixture, and sync
makes the kernel equal.
"""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import tap
from healing import calls, moments, traced
from lab import connect_all, expect
from steady import MAIL, Steady, boot_ms, during, expires, make, mode_word, version, wait_past

STAYS = ("192.0.2.10", "2001:db8::10")
GOES = ("192.0.2.20", "2001:db8::20")
NEVER = ("192.0.2.66", "2001:db8::66")
EVERYONE = STAYS + GOES + NEVER
RANGE = "198.51.100.3-198.51.100.97"


def gate_is(lab, *open_to, port=587):
    """Exactly these sources can connect."""
    expect(lab.client, [(source, MAIL[version(source)], port,
                         "open" if source in open_to else "timeout") for source in EVERYONE])


def state(lab):
    """All of the list and the settings, by what is shown; use and what is remembered of the times
    of commands left out."""
    entries = lab.json("list")["entries"]
    chosen = ("id", "who", "account", "remark", "created", "expires")
    settings = {k: v for k, v in lab.json("set").items() if k in ("ports", "limit", "others",
                                                                  "realm")}
    status = lab.json("status")
    return ([tuple(e[k] for k in chosen) for e in entries], settings, status["mode"],
            status["mode_until"])


def history(lab):
    """[(number, command, taken back by)], newest first."""
    return [(c["id"], c["command"], c["undone_by"]) for c in lab.json("history")["changes"]]


def in_step(lab):
    """The kernel holds what is shown, read without smtpgate."""
    lab.gate("status", "--check")
    assert lab.kernel_prefixes() == lab.stored_prefixes()
    mode, then, deadline = mode_word(lab)
    mode = then if deadline and boot_ms() >= deadline else mode
    assert ("enforce", "off", "observe", "paused")[mode] == lab.json("status")["mode"]


# What is changed and who can connect then.
CHANGES = (
    (("delete", *GOES), STAYS),
    (("add", *NEVER), EVERYONE),
    (("add", "192.0.2.64/28", "2001:db8::60/124"), EVERYONE),
    (("disable", "-y"), EVERYONE),
    (("observe",), EVERYONE),
    (("pause", "1h"), EVERYONE),
    (("set", "ports", "25,465"), EVERYONE),
    (("import", "-"), EVERYONE),
    (("add", NEVER[0], "--account", "alice"), STAYS + GOES + NEVER[:1]),
    (("edit", GOES[0], "--for", "1s"), STAYS + GOES[1:]),
)


@tap.test
def over_the_wire():
    """each kind of change: made, taken back, and that taken back too"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS, *GOES)
        before = state(lab)
        for command, opens in CHANGES:
            lab.gate(*command, stdin="\n".join(NEVER))
            if "--for" in command:
                wait_past(expires(lab, command[1]))
            gate_is(lab, *opens)
            after = state(lab)
            assert after != before, command
            lab.gate("-y", "undo")
            gate_is(lab, *STAYS, *GOES)
            assert state(lab) == before, command
            in_step(lab)
            lab.gate("-y", "undo", f"#{history(lab)[0][0]}")
            gate_is(lab, *opens)
            assert state(lab) == after, command
            in_step(lab)
            lab.gate("-y", "undo")
            assert state(lab) == before, command
        gate_is(lab, *STAYS, *GOES)
        in_step(lab)


@tap.test
def all_at_once():
    """many changes taken back in one, asked first where the gate opens"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        first = history(lab)[0][0]
        before = state(lab)
        for command, _ in CHANGES[1:]:
            if command[0] != "disable" and GOES[0] not in command:
                lab.gate("-y", *command, stdin="\n".join(GOES))
        after = state(lab)
        lab.gate("undo", str(len(CHANGES) - 3), "-y")
        assert state(lab) == before
        gate_is(lab, *STAYS)
        lab.gate("undo", f"#{first}", ok=3)
        gate_is(lab, *STAYS)
        lab.gate("-y", "undo", f"#{first}")
        gate_is(lab, *EVERYONE)
        lab.gate("-y", "undo", f"#{history(lab)[1][0]}")
        assert state(lab) == after
        in_step(lab)


@tap.test
def under_a_stream():
    """taken back and forth eighty times: who is let in before and after loses no packet"""
    with make(*EVERYONE) as lab:
        lab.gate("set", "limit", "none")
        lab.gate("add", *STAYS)
        lab.gate("add", *GOES, "--for", "1h")
        lab.gate("add", "192.0.2.16/29", "2001:db8::/122")
        # Others cover them afterwards, with other ends, in other lists; what is beside comes and goes.
        lab.gate("delete", *GOES)
        lab.gate("add", *GOES, "--account", "alice")
        lab.gate("delete", "192.0.2.16/29", "2001:db8::/122")
        lab.gate("edit", STAYS[0], "--for", "2h")
        lab.gate("add", "192.0.2.67", "2001:db8::67", "192.0.2.65")
        with Steady(lab, *EVERYONE, every=0.002) as steady:
            lab.gate("-y", "undo", "5")
            for _ in range(40):         # of the last hundred changes
                lab.gate("-y", "undo", f"#{history(lab)[0][0]}")
                lab.gate("-y", "undo", "3")
        for source in EVERYONE:
            steady.always(source, source not in NEVER)


@tap.test
def ends_come_back():
    """what comes back has the rest of its time, and what had ended meanwhile has ended"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        lab.gate("add", *GOES, "--for", "6s")
        moment = expires(lab, GOES[0])
        lab.gate("delete", *GOES)
        with Steady(lab, *EVERYONE) as steady:
            steady.go_on()
            back = during(lab, "undo")
            assert expires(lab, GOES[0]) == moment
            wait_past(moment)
            lab.gate("delete", *GOES)
            lab.gate("undo")
            lab.gate("edit", GOES[0], "--forever")
            again = time.time()
            steady.go_on()
            gone = during(lab, "undo")
            steady.go_on()
        steady.turns(GOES[0], False, back, moment, (moment, again), gone)
        steady.turns(GOES[1], False, back, moment)
        for source in STAYS:
            steady.always(source)
        # A pause that was over by then: the gate stays closed.
        lab.gate("pause", "1s")
        lab.gate("observe")
        wait_past(time.time() + 1)
        lab.gate("undo")
        gate_is(lab, *STAYS)
        in_step(lab)


# ---- killed ----

def killed(changes, undo, may_open=False):
    """undo killed at many points: the state before it or after it, and the history says which."""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        for change in changes:
            lab.gate("-y", *change, stdin=f"{GOES[0]} # from a file\n{STAYS[0]} # too\n{RANGE}\n")

        def restore():
            lab.gate("-y", "undo", f"#{history(lab)[0][0]}")

        before = state(lab)
        found = calls(lab, "-y", *undo)
        after = state(lab)
        assert after != before, "nothing was taken back"
        kills = 0
        for name, number, text in moments(found):
            restore()
            assert state(lab) == before
            past = history(lab)
            # They are in force again, under their numbers; so is what took back that they were.
            args = ("undo", f"#{past[0][0]}") if kills % 2 else undo
            done = traced(lab, "-y", *args, inject=f"{name}:signal=KILL:when={number}",
                          ok=(0, -9))
            kills += done.code == -9
            try:
                done = after_kill(lab, before, after, past, may_open)
            except Exception as error:
                raise AssertionError(f"{args} killed at {name} number {number} ({text[:100]}):"
                                     f" {error}") from error
            if not done:
                lab.gate("-y", *args)
                assert state(lab) == after
        assert kills >= 4, f"only {kills} kills"


def after_kill(lab, before, after, past, may_open):
    """What has to hold; returns whether it was done before the kill."""
    opened = connect_all(lab.client, [(NEVER[0], MAIL[4], 587, "timeout"),
                                      (STAYS[0], MAIL[4], 587, "open")], quiet=0.15)
    assert may_open or opened == ["timeout", "open"], opened
    assert not lab.json("status")["in_sync"] or lab.kernel_prefixes() == lab.stored_prefixes(), \
        "status says in sync, and it is not"
    lab.gate("sync")
    in_step(lab)
    found, now = state(lab), history(lab)
    assert found in (before, after), f"neither before nor after: {found}"
    if found == before:
        assert now == past, f"nothing was taken back, and the history says {now[:3]}"
        return False
    assert len(now) == len(past) + 1 and now[0][1].startswith("-y undo"), now[:3]
    assert [row[:2] for row in now[1:]] == [row[:2] for row in past], "the past has changed"
    return True


@tap.test
def kill_undo_delete():
    """undo of a delete killed anywhere"""
    killed([("add", RANGE, "--for", "1h"), ("delete", RANGE)], ("undo",))


@tap.test
def kill_undo_add():
    """undo of an add killed anywhere"""
    killed([("add", RANGE)], ("undo",))


@tap.test
def kill_undo_import():
    """undo of an import, a setting and an edit at once killed anywhere"""
    killed([("import", "-"), ("set", "ports", "25,587"), ("edit", STAYS[1], "--for", "1h")],
           ("undo", "3"))


@tap.test
def kill_undo_disable():
    """undo of disable killed anywhere: open before, closed after"""
    killed([("add", RANGE), ("disable",)], ("undo",), may_open=True)


@tap.test
def kill_undo_mode():
    """undo of a pause killed anywhere"""
    killed([("pause", "1h")], ("undo",), may_open=True)


if __name__ == "__main__":
    tap.main()
