#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""observe, pause and trials: what was promised happens, by the kernel and at its moment.

A steady stream of attempts from a listed and from an unlisted source goes on while modes change by
command, by themselves, and while commands are killed. Nobody sees half a change: not one attempt of
the listed source is lost, and those of the unlisted one do what the mode says.

SEED=N repeats the moments of the kills.
"""
import os
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import tap
from healing import calls, moments, traced
from lab import PROGRAM, connect_all, expect
from steady import (ENFORCE, MAIL, OBSERVE, OFF, PAUSED, Steady, ask_policy, boot_ms, during, make,
                    mode_word, reboot, running, shifted, unix, wait_past)

LISTED, UNLISTED, OTHER = "192.0.2.10", "192.0.2.66", "192.0.2.77"
BOTH = (LISTED, UNLISTED)
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
HOUR, YEAR = 3600, 365 * 24 * 3600
KILLS = 128 + 9, -9             # what timeout(1) ends with
NAMES = {ENFORCE: "enforce", OFF: "off", OBSERVE: "observe", PAUSED: "paused"}


def gated(mode="native", listed=True):
    """A mail host with one listed source."""
    lab = make(*BOTH, OTHER, mode=mode)
    if listed:
        lab.gate("add", LISTED)
    return lab


def ends(lab):
    """When the mode that is in force ends, in Unix seconds; as the kernel keeps it, too."""
    said = lab.json("status")
    moment = unix(said["mode_until"])
    kernel = mode_word(lab)[2] - boot_ms() + time.time() * 1000
    assert abs(kernel - moment * 1000) < 500, f"{kernel} in the kernel, {moment} was said"
    return moment


def mode_is(lab, mode, then=None):
    """status, the kernel's word and check agree."""
    said = lab.json("status")
    found = (said["mode"], said["mode_then"], said["in_sync"])
    wanted = (NAMES[mode], None if then is None else NAMES[then], True)
    assert found == wanted, f"{found}, expected {wanted}"
    drops = mode == ENFORCE
    checked = lab.json("check", *BOTH, ok=(0, 1))
    allowed = [row["allowed"] for row in checked["results"]]
    assert allowed == [True, not drops] and not checked["disagree"], checked
    expect(lab.client, [(LISTED, MAIL[4], 587, "open"),
                        (UNLISTED, MAIL[4], 587, "timeout" if drops else "open")])


def reasons(lab):
    """Packets by reason and verdict, of those that there were any of."""
    return {(r["reason"], r["verdict"]): r["packets"] for r in lab.json("stats")["reasons"]
            if r["packets"]}


def passes(lab, *sources):
    """Each of these can connect, right now."""
    return connect_all(lab.client, [(s, MAIL[4], 587, "open") for s in sources]) \
        == ["open"] * len(sources)


@tap.test
def observe():
    """observe passes everything and counts what would be dropped; enforce drops"""
    for mode in ("native", "generic"):
        with gated(mode) as lab, Steady(lab, *BOTH) as steady:
            steady.go_on()
            moment = during(lab, "observe")
            mode_is(lab, OBSERVE)
            steady.go_on()
            again = during(lab, "enforce", "-y")
            mode_is(lab, ENFORCE)
            steady.go_on()
            steady.always(LISTED)
            steady.turns(UNLISTED, False, moment, again)
            counted = reasons(lab)
            passed = sum(shot.passed for shot in steady.of(UNLISTED))
            assert counted["unlisted", "would_drop"] >= passed, counted
            assert ("unlisted", "pass") not in counted, counted


@tap.test
def pause():
    """pause 3s lets all pass, then drops by itself, with nothing running"""
    for mode in ("native", "generic"):
        with gated(mode) as lab, Steady(lab, *BOTH) as steady:
            steady.go_on()
            begun = during(lab, "pause", "3s")
            over = ends(lab)
            assert begun[0] + 1 < over <= begun[1] + 3
            assert not running(lab)
            mode_is(lab, PAUSED, ENFORCE)
            wait_past(over)
            mode_is(lab, ENFORCE)
            steady.always(LISTED)
            steady.turns(UNLISTED, False, begun, over)
            assert ("unlisted", "would_drop") not in reasons(lab)


@tap.test
def trial():
    """enforce --confirm 3s drops, then passes by itself: unless it is confirmed; too late is no"""
    with gated() as lab:
        lab.gate("observe")
        with Steady(lab, *BOTH) as steady:
            steady.go_on()
            begun = during(lab, "-y", "enforce", "--confirm", "3s")
            over = ends(lab)
            mode_is(lab, ENFORCE, OBSERVE)
            wait_past(over)
            mode_is(lab, OBSERVE)
            said = lab.gate("confirm", ok=1)
            assert "over" in said.err and "nothing changed" in said.err, said
            mode_is(lab, OBSERVE)
            again = during(lab, "-y", "enforce", "--confirm", "3s")
            lab.gate("confirm")
            mode_is(lab, ENFORCE)
            wait_past(again[1] + 3)
            lab.gate("confirm", ok=1)
            mode_is(lab, ENFORCE)
        steady.always(LISTED)
        steady.turns(UNLISTED, True, begun, over, again)


@tap.test
def one_after_the_other():
    """a pause in a trial, a longer and a shorter pause, observe and enforce in a pause"""
    with gated() as lab:
        lab.gate("observe")
        with Steady(lab, *BOTH) as steady:
            steady.go_on()
            closed = during(lab, "-y", "enforce", "--confirm", "1h")
            steady.go_on()
            opened = during(lab, "pause", "1s")
            wait_past(ends_or(lab, opened))
            mode_is(lab, OBSERVE)           # which would have come anyway
            lab.gate("confirm", ok=1)
            again = during(lab, "-y", "enforce")
            steady.go_on()
            paused = during(lab, "pause", "1h")
            lab.gate("pause", "2h")
            lab.gate("-y", "enforce", "--confirm", "1h", ok=1)
            lab.gate("pause", "3s")
            mode_is(lab, PAUSED, ENFORCE)
            over = ends(lab)
            wait_past(over)
            mode_is(lab, ENFORCE)
            once_more = during(lab, "pause", "1h")
            steady.go_on()
            cut = during(lab, "-y", "enforce")
            mode_is(lab, ENFORCE)
            lab.gate("pause", "1h")
            lab.gate("observe")
            mode_is(lab, OBSERVE)
        steady.always(LISTED)
        steady.turns(UNLISTED, True, closed, opened, again, paused, over, once_more, cut,
                     (cut[1], time.time()))


def ends_or(lab, otherwise):
    """When the mode ends; it may have just now."""
    until = lab.json("status")["mode_until"]
    return unix(until) if until else otherwise[1] + 1


@tap.test
def before_the_first_entry():
    """observe set before the first entry: the first add drops nobody; a trial begins after it"""
    with gated(listed=False) as lab, Steady(lab, *BOTH) as steady:
        lab.gate("pause", "1h", ok=1)
        lab.gate("-y", "enforce", "--confirm", "1h", ok=1)
        lab.gate("observe")
        lab.gate("-y", "enforce", "--confirm", "1h", ok=1)
        assert lab.json("status")["mode"] == "off"
        said = lab.gate("add", LISTED)
        assert "drops nothing" in said.err, said
        mode_is(lab, OBSERVE)
        steady.go_on()
        begun = during(lab, "-y", "enforce", "--confirm", "3s")
        over = ends(lab)
        # Deleting the last entry and adding one makes no real thing of a trial.
        lab.gate("-y", "delete", LISTED)
        off = time.time()
        assert passes(lab, *BOTH)
        lab.gate("add", LISTED)
        mode_is(lab, ENFORCE, OBSERVE)
        wait_past(over)
        mode_is(lab, OBSERVE)
        steady.always(LISTED)
        steady.turns(UNLISTED, True, begun, (begun[1], off), (off, over), over)


@tap.test
def expired_and_observed():
    """entries that have ended count as would_drop in observe, and pass in a pause"""
    with gated() as lab:
        lab.gate("add", OTHER, "--for", "1s")
        lab.gate("observe")
        wait_past(time.time() + 1)
        assert passes(lab, OTHER, UNLISTED)
        counted = reasons(lab)
        assert counted["expired", "would_drop"] >= 1 and counted["unlisted", "would_drop"] >= 1
        lab.gate("pause", "1h")
        assert passes(lab, OTHER)
        assert reasons(lab)["expired", "pass"] >= 1
        lab.gate("-y", "enforce")
        expect(lab.client, [(OTHER, MAIL[4], 587, "timeout")])
        # All have ended: the gate stays what it is, in every mode.
        lab.gate("edit", LISTED, "--for", "1s")
        lab.gate("pause", "2s")
        wait_past(time.time() + 2)
        said = lab.json("status")
        assert said["mode"] == "enforce" and said["expired"] == 2, said
        expect(lab.client, [(s, MAIL[4], 587, "timeout") for s in (LISTED, OTHER, UNLISTED)])


@tap.test
def in_between():
    """sync, attach and changes of the list in between: what was promised happens at its moment"""
    def disturb(lab, over):
        while time.time() < over:
            lab.gate("sync")
            lab.gate("add", OTHER)
            lab.gate("attach", "eth0")
            lab.gate("set", "ports", "25,465,587,2525")
            lab.gate("delete", OTHER)
            lab.gate("set", "ports", "25,465,587")
        wait_past(over)
        lab.gate("sync")

    with gated() as lab, Steady(lab, *BOTH) as steady:
        begun = during(lab, "pause", "4s")
        over = ends(lab)
        disturb(lab, over)
        mode_is(lab, ENFORCE)
        lab.gate("observe")
        observed = time.time()
        steady.go_on()
        tried = during(lab, "-y", "enforce", "--confirm", "4s")
        back = ends(lab)
        disturb(lab, back)
        mode_is(lab, OBSERVE)
        steady.always(LISTED)
        steady.turns(UNLISTED, False, begun, over, (over, observed), tried, back)


@tap.test
def after_a_boot():
    """after a boot a pause or a trial has what was left of its time, or is over"""
    for command, before, after in ((("pause", "6s"), PAUSED, ENFORCE),
                                   (("-y", "enforce", "--confirm", "6s"), ENFORCE, OBSERVE)):
        with gated() as lab:
            if before == ENFORCE:
                lab.gate("observe")
            lab.gate(*command)
            over = ends(lab)
            reboot(lab)
            lab.gate("sync")
            with Steady(lab, *BOTH) as steady:
                mode_is(lab, before, after)
                assert ends(lab) == over
                wait_past(over)
            steady.always(LISTED)
            steady.turns(UNLISTED, before == PAUSED, over)
            mode_is(lab, after)
            reboot(lab)
            lab.gate("sync")
            mode_is(lab, after)
            if after == OBSERVE:
                lab.gate("confirm", ok=1)


@tap.test
def clock_is_set():
    """the clock is set back, forward, or dead after a boot: no pause gets longer"""
    with gated() as lab:
        lab.gate("pause", "3s")
        over = ends(lab)
        with Steady(lab, *BOTH) as steady:
            lab.gate("sync", env=shifted(-HOUR))
            lab.gate("edit", LISTED, "--remark", "x", env=shifted(-HOUR))
            lab.gate("status", "--check", env=shifted(-HOUR))
            wait_past(over)
        steady.turns(UNLISTED, True, over)
        # One that was set back an hour knows how long two seconds are.
        begun = during(lab, "pause", "3s", env=shifted(-HOUR))
        over = ends(lab)
        assert begun[0] + 1 < over <= begun[1] + 3
        # Forward: what should be over is not yet, status says so, sync ends it.
        lab.gate("pause", "30m")
        lab.gate("status", "--check", ok=1, env=shifted(HOUR))
        mode_is(lab, PAUSED, ENFORCE)
        lab.gate("sync", env=shifted(HOUR))
        mode_is(lab, ENFORCE)
        # And after a boot with a dead clock: it had been over by the last change.
        lab.gate("edit", LISTED, "--remark", "y")
        reboot(lab)
        lab.gate("sync", env=shifted(-50 * YEAR))
        expect(lab.client, [(LISTED, MAIL[4], 587, "open"), (UNLISTED, MAIL[4], 587, "timeout")])


@tap.test
def others_and_accounts():
    """lists of accounts alone, with others anywhere and nowhere: kernel and policy service agree"""
    with gated(listed=False) as lab:
        def policy(**answers):
            for account, wanted in answers.items():
                for source, allowed in zip(BOTH, wanted):
                    said = ask_policy(lab, account, source)
                    assert said == ("DUNNO" if allowed else "REJECT"), (account, source, said)

        lab.gate("add", LISTED, "--account", "alice")
        held, free = (True, False), (True, True)
        policy(alice=held, bob=free)
        lab.gate("observe")
        policy(alice=free, bob=free)
        lab.gate("-y", "enforce", "--confirm", "2s")
        wait_past(time.time() + 2)
        policy(alice=free, bob=free)
        lab.gate("-y", "enforce")
        policy(alice=held, bob=free)
        assert passes(lab, *BOTH)
        # The kernel closes.
        lab.gate("set", "others", "nowhere")
        mode_is(lab, ENFORCE)
        policy(alice=held, bob=(False, False))
        lab.gate("observe")
        mode_is(lab, OBSERVE)
        policy(alice=free, bob=free)
        lab.gate("-y", "enforce")
        with Steady(lab, *BOTH) as steady:
            steady.go_on()
            begun = during(lab, "pause", "3s")
            over = ends(lab)
            policy(alice=free, bob=free)
            assert time.time() < over, "the machine is too busy for this test"
            wait_past(over)
            policy(alice=held, bob=(False, False))
        steady.always(LISTED)
        steady.turns(UNLISTED, False, begun, over)
        # A pause while the kernel half is off, and then it is not.
        lab.gate("set", "others", "anywhere", "-y")
        lab.gate("pause", "1h")
        lab.gate("set", "others", "nowhere")
        mode_is(lab, PAUSED, ENFORCE)
        policy(alice=free, bob=free)


def toggled(first, second, dropping):
    """Two commands in turn, a hundred times each, and every attempt is judged."""
    with gated() as lab:
        lab.gate(*first)
        with Steady(lab, *BOTH, every=0.001) as steady:
            windows = []
            for _ in range(100):
                for command in (second, first):
                    windows.append(during(lab, *command))
                    steady.go_on(2)
        steady.always(LISTED)
        seen = sum(steady.within(UNLISTED, which is not dropping, now[1], following[0])
                   for which, now, following in zip([second, first] * 100, windows, windows[1:]))
        print(f"# {len(steady.shots)} attempts, {seen} of the unlisted between the commands")
        assert len(steady.shots) > 1000, "hardly a stream"


@tap.test
def pause_and_enforce():
    """pause and enforce in turn, 200 commands: a listed source loses nothing"""
    enforce = ("-y", "enforce")
    toggled(enforce, ("pause", "1h"), enforce)


@tap.test
def trial_and_observe():
    """a trial and observe in turn, 200 commands: a listed source loses nothing"""
    enforce = ("-y", "enforce", "--confirm", "1h")
    toggled(("observe",), enforce, enforce)


# ---- killed ----

KILLED = {
    # what is killed: (what comes before, word before, word after)
    ("pause", "1h"): ((("-y", "enforce"),), (ENFORCE, 0, False), (PAUSED, ENFORCE, True)),
    ("-y", "enforce", "--confirm", "1h"): ((("observe",),), (OBSERVE, 0, False),
                                           (ENFORCE, OBSERVE, True)),
    ("confirm",): ((("observe",), ("-y", "enforce", "--confirm", "1h")),
                   (ENFORCE, OBSERVE, True), (ENFORCE, 0, False)),
    ("-y", "enforce"): ((("-y", "enforce"), ("pause", "1h")), (PAUSED, ENFORCE, True),
                        (ENFORCE, 0, False)),
    ("observe",): ((("-y", "enforce"), ("pause", "1h")), (PAUSED, ENFORCE, True),
                   (OBSERVE, 0, False)),
}


def plan(lab):
    """What the kernel holds; a deadline is there or not."""
    mode, then, deadline = mode_word(lab)
    assert not deadline or 3400000 < deadline - boot_ms() < 3700000, f"{deadline} is no hour away"
    return mode, then, bool(deadline)


def after_kill(lab, before, after):
    """The old plan or the new one, and sync makes the kernel what the store says."""
    found = plan(lab)
    assert found in (before, after), f"{found} is neither {before} nor {after}"
    status = lab.json("status")
    assert status["mode"] == NAMES[found[0]], status
    lab.gate("sync")
    found = plan(lab)
    assert found in (before, after), f"after sync {found} is neither {before} nor {after}"
    status = lab.json("status")
    assert (status["mode"], status["mode_then"], status["in_sync"]) == \
        (NAMES[found[0]], NAMES[found[1]] if found[2] else None, True), status
    if found[2]:
        ends(lab)
    opened = connect_all(lab.client, [(UNLISTED, MAIL[4], 587, "open" if found[0] != ENFORCE
                                       else "timeout")], quiet=0.1) == ["open"]
    assert opened == (found[0] != ENFORCE), f"{found}, and an unlisted source: {opened}"


@tap.test
def killed_at_calls():
    """pause, enforce, confirm, observe killed at their system calls: the old plan or the new one"""
    with gated() as lab:
        for command, (prepare, before, after) in KILLED.items():
            def start_over(prepare=prepare):
                for one in prepare:
                    lab.gate(*one)

            start_over()
            found = calls(lab, *command)
            kills = 0
            for name, number, text in moments(found):
                start_over()
                assert plan(lab) == before
                done = traced(lab, *command, inject=f"{name}:signal=KILL:when={number}",
                              ok=(0, -9))
                kills += done.code == -9
                try:
                    after_kill(lab, before, after)
                except Exception as error:
                    raise AssertionError(f"{command} killed at {name} number {number} "
                                         f"({text[:100]}): {error}") from error
            assert kills >= 4, f"{command} was killed {kills} times"


@tap.test
def killed_at_random():
    """the same killed at random moments, under a stream: a listed source loses nothing"""
    print(f"# SEED={SEED}", flush=True)
    rng = random.Random(SEED)
    kills = 0
    with gated() as lab, Steady(lab, LISTED) as steady:
        for _ in range(40):
            command = rng.choice(list(KILLED))
            prepare, before, after = KILLED[command]
            for one in prepare:
                lab.gate(*one)
            done = lab.mail.run("timeout", "-s", "KILL", f"{rng.uniform(0.0005, 0.012):.4f}",
                                PROGRAM, *command, env=lab.env, ok=(0, *KILLS))
            kills += done.code in KILLS
            try:
                after_kill(lab, before, after)
            except Exception as error:
                raise AssertionError(f"SEED={SEED}: {command}: {error}") from error
        steady.always(LISTED)
    print(f"# {kills} of 40 killed", flush=True)


if __name__ == "__main__":
    tap.main()
