#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Entries that end: the kernel keeps the moment, with nothing running, whatever happens meanwhile.

A steady stream of attempts goes on while an end comes: the change has to come at the promised moment
and once, and nobody else may notice it. The machine's own clock is never set: commands are told
another time by a library that is preloaded (shift_clock.c), the kernel half is not.
"""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import tap
from lab import BPFFS, connect_all, expect
from steady import (MAIL, Steady, ask_policy, boot_ms, expires, make, reboot, running, shifted, unix,
                    version, wait_past)

STAYS = ("192.0.2.10", "2001:db8::10")          # listed throughout
ENDS = ("192.0.2.20", "2001:db8::20")           # has an end
OTHER = ("192.0.2.30", "2001:db8::30")          # has another
NEVER = ("192.0.2.66", "2001:db8::66")          # is never listed
EVERYONE = STAYS + ENDS + OTHER + NEVER
HOUR, YEAR = 3600, 365 * 24 * 3600
ENFORCE = {"mode": "enforce", "mode_until": None, "in_sync": True}


def gate_is(lab, *open_to):
    """Exactly these sources can connect."""
    expect(lab.client, [(source, MAIL[version(source)], 587,
                         "open" if source in open_to else "timeout") for source in EVERYONE])


def check_is(lab, open_to, shift=0):
    """And `check` says the same."""
    said = lab.gate("-j", "check", *EVERYONE, ok=(0, 1), env=shifted(shift) if shift else None).json
    found = {row["address"] for row in said["results"] if row["allowed"]}
    assert found == set(open_to) and not said["disagree"], said


def status_is(lab, **wanted):
    """Some keys of it."""
    status = lab.json("status")
    found = {key: status[key] for key in wanted}
    assert found == wanted, f"{found}, expected {wanted}"


def uses(lab, who):
    """How often an entry let somebody in, and when last."""
    entry, = (e for e in lab.json("list")["entries"] if e["who"] == who)
    return entry["connections"], entry["last_seen"]


def add_two(lab, duration="3s"):
    """Both families: one entry that stays, one that ends. Returns the moment."""
    lab.gate("add", *STAYS)
    before = int(time.time())
    lab.gate("add", *ENDS, "--for", duration)
    moment = expires(lab, ENDS[0])
    assert expires(lab, ENDS[1]) == moment and expires(lab, STAYS[0]) is None
    assert before + int(duration[:-1]) <= moment <= time.time() + int(duration[:-1]), moment
    return moment


def ends_by_itself(mode):
    """Open before, dropped after."""
    with make(*EVERYONE, mode=mode) as lab:
        moment = add_two(lab)
        with Steady(lab, *EVERYONE) as steady:
            gate_is(lab, *STAYS, *ENDS)
            check_is(lab, STAYS + ENDS)
            assert not running(lab), "a process of smtpgate is there"
            wait_past(moment)
        for source in EVERYONE:
            if source in ENDS:
                steady.turns(source, True, moment)
            else:
                steady.always(source, source in STAYS)
        gate_is(lab, *STAYS)
        check_is(lab, STAYS)
        status_is(lab, entries=4, temporary=2, prefixes=4, **ENFORCE)
        dropped = {r["reason"]: r["packets"] for r in lab.json("stats")["reasons"]
                   if r["verdict"] == "drop"}
        assert dropped["expired"] >= sum(not shot.passed for s in ENDS for shot in steady.of(s))
        assert dropped["unlisted"] >= sum(map(len, map(steady.of, OTHER + NEVER)))


@tap.test
def native():
    """--for 3s, native: open before, dropped after, once and at the moment, with nothing running"""
    ends_by_itself("native")


@tap.test
def generic():
    """--for 3s, generic: the same"""
    ends_by_itself("generic")


@tap.test
def nested():
    """inside a wider entry that has not ended: open until that one ends; the other way round too"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        lab.gate("add", *ENDS, *OTHER, "--for", "1s")
        lab.gate("add", "192.0.2.16/29", "2001:db8::/123", "--for", "1s")
        lab.gate("add", "192.0.2.0-192.0.2.31", "2001:db8::-2001:db8::3f", "--for", "4s")
        first, last = expires(lab, ENDS[0]), expires(lab, "192.0.2.0-192.0.2.31")
        assert last > first
        with Steady(lab, *EVERYONE) as steady:
            wait_past(max(first, expires(lab, "192.0.2.16/29")))
            check_is(lab, STAYS + ENDS + OTHER)
            gate_is(lab, *STAYS, *ENDS, *OTHER)
            wait_past(last)
        for source in ENDS + OTHER:
            steady.turns(source, True, last)
        for source in STAYS:                # of its own, inside ones that have ended
            steady.always(source)
        for source in NEVER:
            steady.never(source)
        gate_is(lab, *STAYS)
        check_is(lab, STAYS)
        # One that is still listed, and lets nobody in, is no hindrance to a new wider one.
        lab.gate("set", "limit", "none")
        lab.gate("add", "192.0.2.0/25", "2001:db8::/64")
        gate_is(lab, *EVERYONE)


@tap.test
def all_ended():
    """when all have ended everything is dropped, and nothing but a person's word opens the gate"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *ENDS, *OTHER, "--for", "3s")
        moment = expires(lab, ENDS[0])
        with Steady(lab, *EVERYONE) as steady:
            wait_past(moment)
            status_is(lab, entries=4, **ENFORCE)
            check_is(lab, ())
            for command in (("sync",), ("attach", "eth0"), ("set", "limit", "11"),
                            ("edit", ENDS[0], "--remark", "x"), ("delete", OTHER[0])):
                lab.gate(*command)
            for command in (("delete", "--expired"), ("disable",)):
                lab.gate(*command, ok=3)    # asks, and nobody answers
            status_is(lab, entries=3, **ENFORCE)
        for source in ENDS + OTHER:
            steady.turns(source, True, moment)
        for source in STAYS + NEVER:
            steady.never(source)
        reboot(lab)
        lab.gate("sync")
        status_is(lab, entries=3, **ENFORCE)
        gate_is(lab)
        lab.gate("-y", "delete", "--expired")
        status_is(lab, entries=0, prefixes=0, mode="off", in_sync=True)
        gate_is(lab, *EVERYONE)


@tap.test
def two_lists():
    """one address in two lists: open until the last of them ends; shortened: until the other"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        lab.gate("add", *ENDS, "--for", "2s")
        lab.gate("add", *ENDS, "--for", "4s", "--account", "alice")
        lab.gate("add", *OTHER, "--for", "1h")
        lab.gate("add", *OTHER, "--for", "4s", "--account", "alice")
        lab.gate("edit", OTHER[0], "--until", iso(expires(lab, OTHER[0], "alice") - 1))
        lab.gate("delete", OTHER[1])
        last = expires(lab, ENDS[0], "alice"), expires(lab, OTHER[0], "alice")
        with Steady(lab, *EVERYONE) as steady:
            wait_past(max(last))
        for source, moment in zip(ENDS + OTHER, (last[0], last[0], last[1], last[1])):
            steady.turns(source, True, moment)
        for source in STAYS:
            steady.always(source)
        gate_is(lab, *STAYS)
        # Prolonged in one list: open again, whatever the other says.
        lab.gate("edit", ENDS[0], "--forever", "--account", "alice")
        gate_is(lab, *STAYS, ENDS[0])
        lab.gate("delete", ENDS[0], "--account", "alice")
        gate_is(lab, *STAYS)
        lab.gate("edit", ENDS[0], "--for", "1h")
        gate_is(lab, *STAYS, ENDS[0])


def iso(seconds):
    """As --until takes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@tap.test
def edited():
    """edit prolongs, shortens, opens again, for ever; nobody else notices, counts are kept"""
    with make(*EVERYONE) as lab:
        def tries(count):
            states = connect_all(lab.client, [(ENDS[0], MAIL[4], 587, "open")] * count)
            assert states == ["open"] * count

        lab.gate("add", *STAYS)
        lab.gate("add", *ENDS, *OTHER, "--for", "2s")
        tries(3)
        first = uses(lab, ENDS[0])
        assert first[0] == 3 and first[1]
        with Steady(lab, *STAYS, *OTHER, *NEVER) as steady:
            cut = expires(lab, ENDS[0])
            lab.gate("edit", OTHER[0], "--forever")
            lab.gate("edit", OTHER[1], "--for", "1h")
            wait_past(cut)
            check_is(lab, STAYS + OTHER)
            assert uses(lab, ENDS[0]) == first
            lab.gate("edit", ENDS[0], "--for", "1h")
            tries(2)
            assert uses(lab, ENDS[0])[0] == 5
            lab.gate("edit", ENDS[0], "--forever")
            tries(1)
            lab.gate("edit", ENDS[0], "--for", "1s")
            again = expires(lab, ENDS[0])
            wait_past(again)
            check_is(lab, STAYS + OTHER)
            lab.gate("edit", ENDS[0], "--forever")
            tries(1)
            assert uses(lab, ENDS[0])[0] == 7
        for source in STAYS + OTHER:
            steady.always(source)
        for source in NEVER:
            steady.never(source)


@tap.test
def moved_back_and_forth():
    """an entry whose end is moved a hundred times loses no packet meanwhile"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        lab.gate("add", *ENDS, "--for", "1h")
        lab.gate("add", "192.0.2.64/26", "--for", "1s")
        lab.gate("add", OTHER[0], "--for", "1h", "--account", "alice")
        wait_past(expires(lab, "192.0.2.64/26"))
        with Steady(lab, *STAYS, *ENDS, OTHER[0], NEVER[0], every=0.002) as steady:
            for turn in range(25):
                lab.gate("edit", ENDS[0], "--for", f"{turn + 5}m")
                lab.gate("edit", ENDS[1], "--forever" if turn % 2 else "--for=1h")
                lab.gate("add", OTHER[0], "--for", f"{turn + 1}m")      # the other list's is longer
                lab.gate("delete", OTHER[0])
        for source in STAYS + ENDS + OTHER[:1]:
            steady.always(source)
        steady.never(NEVER[0])              # covered by one that has ended


@tap.test
def delete_expired():
    """delete --expired takes what has ended out of the kernel too, and nothing else"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        lab.gate("add", *OTHER, "--for", "1h")
        lab.gate("add", *ENDS, "--for", "1s")
        lab.gate("add", *ENDS, "192.0.2.67", "--for", "1s", "--account", "alice")
        lab.gate("add", NEVER[0], "--account", "alice")
        wait_past(expires(lab, ENDS[0], "alice"))
        with Steady(lab, *EVERYONE) as steady:
            steady.go_on()
            said = lab.json("delete", "--expired")
            steady.go_on()
        assert said["deleted"] == 5, said
        left = {(e["who"], e["account"]) for e in lab.json("list")["entries"]}
        assert left == {(who, None) for who in STAYS + OTHER} | {(NEVER[0], "alice")}, left
        assert lab.kernel_prefixes() == lab.stored_prefixes()
        for source in EVERYONE:
            steady.always(source, source not in ENDS and source != NEVER[1])
        lab.gate("delete", "--expired", ok=1)


@tap.test
def sync_prolongs_nothing():
    """sync, attach and changes of others in between move no end"""
    with make(*EVERYONE) as lab:
        moment = add_two(lab, "3s")
        with Steady(lab, *EVERYONE) as steady:
            while time.time() < moment:
                lab.gate("sync")
                lab.gate("add", OTHER[0])
                lab.gate("attach", "eth0")
                lab.gate("edit", ENDS[0], "--remark", str(time.time()))
                lab.gate("delete", OTHER[0])
            wait_past(moment)
            lab.gate("sync")
        assert expires(lab, ENDS[0]) == moment
        for source in ENDS:
            steady.turns(source, True, moment)
        for source in STAYS:
            steady.always(source)


@tap.test
def after_a_boot():
    """after a boot what had ended stays so, the rest has what was left of its time"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *ENDS, "--for", "1s")
        lab.gate("add", *OTHER, "--for", "6s")
        lab.gate("add", *STAYS)
        gone, moment = expires(lab, ENDS[0]), expires(lab, OTHER[0])
        wait_past(gone)
        reboot(lab)
        gate_is(lab, *EVERYONE)             # nothing is attached
        lab.gate("sync")
        with Steady(lab, *EVERYONE) as steady:
            check_is(lab, STAYS + OTHER)
            wait_past(moment)
        for source in OTHER:
            steady.turns(source, True, moment)
        for source in STAYS:
            steady.always(source)
        for source in ENDS + NEVER:
            steady.never(source)
        status_is(lab, entries=6, **ENFORCE)
        # Only the maps are lost: the next change makes them anew, with the same ends.
        lab.mail.run("rm", "-r", BPFFS + "/abi1")
        lab.gate("add", NEVER[0])
        gate_is(lab, *STAYS, NEVER[0])


# ---- the clock is set ----

def deadlines(lab):
    """(prefix length, deadline) of each element in the kernel."""
    for name in ("allow4", "allow6"):
        for row in lab.bpftool("map", "dump", "pinned", f"{BPFFS}/abi1/{name}"):
            until = int.from_bytes(bytes(int(b, 16) for b in row["value"][:8]), "little")
            yield until & 0xff, until >> 8



@tap.test
def clock_back():
    """the clock is set back an hour: nothing is prolonged, new entries last as long as was said"""
    with make(*EVERYONE) as lab:
        moment = add_two(lab, "4s")
        back = shifted(-HOUR)
        lab.gate("status", "--check", env=back)
        lab.gate("add", *OTHER, "--for", "5s", env=back)
        last = expires(lab, OTHER[0])
        assert abs(last - moment - 1) <= 1, "the end is by the clock that was set back"
        with Steady(lab, *EVERYONE) as steady:
            gate_is(lab, *STAYS, *ENDS, *OTHER)
            lab.gate("sync", env=back)
            lab.gate("status", "--check", env=back)
            wait_past(moment)
            lab.gate("sync", env=back)
            check_is(lab, STAYS + OTHER, -HOUR)
            lab.gate("edit", STAYS[0], "--remark", "x", env=back)
            wait_past(last)
            check_is(lab, STAYS, -HOUR)
        for source in EVERYONE:
            if source in ENDS + OTHER:
                steady.turns(source, True, moment if source in ENDS else last)
            else:
                steady.always(source, source in STAYS)
        # Whoever was let in was counted, by whatever clock.
        said = lab.gate("-j", "list", "192.0.2.30", env=back).json["entries"][0]
        assert said["connections"] > 0 and said["expired"], said
        assert abs(unix(said["last_seen"]) - last) <= 2, said
        # An end between the two clocks has passed.
        lab.gate("edit", ENDS[0], "--until", iso(time.time() - HOUR / 2), ok=2, env=back)


@tap.test
def clock_dead_at_boot():
    """the clock stands in 1976 after a boot: what had ended by the last change stays ended"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *ENDS, "--for", "1s")
        lab.gate("add", *OTHER, "--for", "1h")
        wait_past(expires(lab, ENDS[0]))
        lab.gate("add", *STAYS)
        reboot(lab)
        dead = shifted(-50 * YEAR)
        lab.gate("sync", env=dead)
        gate_is(lab, *STAYS, *OTHER)
        check_is(lab, STAYS + OTHER, -50 * YEAR)
        lab.gate("status", "--check", env=dead)
        lab.gate("edit", OTHER[0], "--for", "1s", env=dead)
        end = expires(lab, OTHER[0])
        assert abs(end - time.time()) < 60, f"{end} is not by the last change"
        wait_past(time.time() + 1)
        check_is(lab, STAYS + OTHER[1:], -50 * YEAR)
        # Then the time server is reached.
        lab.gate("sync")
        lab.gate("status", "--check")
        gate_is(lab, *STAYS, OTHER[1])


@tap.test
def ended_before_the_boot():
    """the clock began with 1970 at the boot, and then the time server is reached"""
    with make(*EVERYONE, attach=False) as lab:
        dead = shifted(boot_ms() // 1000 + 60 - time.time())
        lab.gate("attach", "eth0", env=dead)
        lab.gate("add", *ENDS, "--for", "1h", env=dead)
        lab.gate("add", *STAYS, env=dead)
        lab.gate("add", *OTHER, "--until", iso(time.time() + HOUR), env=dead)
        gate_is(lab, *STAYS, *ENDS, *OTHER)
        assert lab.gate("-j", "list", ENDS[0], env=dead).json["entries"][0]["connections"] == 1
        lab.gate("status", "--check", ok=1)
        gate_is(lab, *STAYS, *ENDS, *OTHER)     # until somebody says that time has passed
        lab.gate("sync")
        lab.gate("status", "--check")
        check_is(lab, STAYS + OTHER)
        gate_is(lab, *STAYS, *OTHER)
        until = {deadline for _, deadline in deadlines(lab)}
        assert 1 in until, f"none that had ended before the boot: {until}"
        reboot(lab)
        lab.gate("sync")
        gate_is(lab, *STAYS, *OTHER)


@tap.test
def clock_forward():
    """the clock is set forward: status says so, the next change or sync follows; back: as it was"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        lab.gate("add", *ENDS, "--for", "30m")
        lab.gate("add", *OTHER, "--for", "2h")
        ahead, back = shifted(HOUR), shifted(-HOUR)
        said = lab.gate("-j", "status", env=ahead).json
        assert not said["in_sync"] and "clock" in said["step"], said
        lab.gate("status", "--check", ok=1, env=ahead)
        gate_is(lab, *STAYS, *ENDS, *OTHER)
        # A change that has nothing to do with it follows the clock first.
        done = lab.gate("edit", STAYS[0], "--remark", "x", env=ahead)
        assert "in step" in done.err, done
        lab.gate("status", "--check", env=ahead)
        check_is(lab, STAYS + OTHER, HOUR)
        gate_is(lab, *STAYS, *OTHER)
        # And back: nothing begins again.
        for env in (None, back):
            lab.gate("sync", env=env)
            lab.gate("status", "--check", env=env)
            lab.gate("edit", STAYS[0], "--remark", str(env), env=env)
        check_is(lab, STAYS + OTHER)
        gate_is(lab, *STAYS, *OTHER)
        reboot(lab)
        lab.gate("sync")
        gate_is(lab, *STAYS, *OTHER)


@tap.test
def clock_was_wrong():
    """sync -y takes the clock as it is, for the day on which it had been a year ahead"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        lab.gate("add", *ENDS, "--for", "2h")
        lab.gate("sync", env=shifted(YEAR))
        gate_is(lab, *STAYS)
        said = lab.gate("add", *OTHER, "--until", iso(time.time() + HOUR), ok=2)
        assert "sync -y" in said.err, said
        assert "\nclock " in lab.gate("status").out
        assert lab.gate("sync").err == ""
        gate_is(lab, *STAYS)
        said = lab.gate("sync", "-y")
        assert "the clock is taken as it is" in said.err, said
        assert "\nclock " not in lab.gate("status").out
        lab.gate("status", "--check")
        check_is(lab, STAYS + ENDS)
        gate_is(lab, *STAYS, *ENDS)
        lab.gate("add", *OTHER, "--until", iso(time.time() + HOUR))
        gate_is(lab, *STAYS, *ENDS, *OTHER)
        assert lab.gate("sync", "-y").err == "", "there is nothing more to say"


@tap.test
def past_ends():
    """--until in the past is refused, also where the clock was set back"""
    with make(*EVERYONE) as lab:
        lab.gate("add", *STAYS)
        before = lab.kernel_prefixes()
        for moment in (time.time() - 1, time.time() - HOUR, 1, time.time() - 30 * YEAR):
            for command in (("add", OTHER[0]), ("edit", STAYS[0]), ("add", STAYS[0])):
                lab.gate(*command, "--until", iso(moment), ok=2)
        lab.gate("add", OTHER[0], "--until", iso(time.time() - 60), ok=2, env=shifted(-HOUR))
        assert lab.kernel_prefixes() == before and lab.json("status")["temporary"] == 0


@tap.test
def policy():
    """the policy service judges ends too, by the clock or by the last change if that was later"""
    with make(*EVERYONE) as lab:
        lab.gate("add", STAYS[0], OTHER[0])
        lab.gate("add", STAYS[0], "--account", "alice", "--for", "1h")
        lab.gate("add", OTHER[0], ENDS[0], "--for", "3s", "--account", "alice")
        moment = expires(lab, ENDS[0], "alice")
        with Steady(lab, ENDS[0], OTHER[0]) as steady:
            assert ask_policy(lab, "alice", ENDS[0]) == "DUNNO" or time.time() >= moment
            wait_past(moment)
        steady.turns(ENDS[0], True, moment)
        steady.always(OTHER[0])             # by the host list: only the policy service knows alice
        for address, answer in ((ENDS[0], "REJECT"), (OTHER[0], "REJECT"), (STAYS[0], "DUNNO")):
            assert ask_policy(lab, "alice", address) == answer, address
        assert ask_policy(lab, "bob", OTHER[0]) == "DUNNO"
        assert ask_policy(lab, "alice", STAYS[0], shift=2 * HOUR) == "REJECT"
        lab.gate("edit", STAYS[0], "--remark", "a change")
        assert ask_policy(lab, "alice", OTHER[0], shift=-HOUR) == "REJECT"
        assert ask_policy(lab, "alice", OTHER[0], shift=-50 * YEAR) == "REJECT"
        # All of the account's have ended: its list goes on being one.
        lab.gate("edit", STAYS[0], "--account", "alice", "--for", "1s")
        wait_past(expires(lab, STAYS[0], "alice"))
        assert ask_policy(lab, "alice", STAYS[0]) == "REJECT"
        lab.gate("-y", "delete", "--expired")
        assert ask_policy(lab, "alice", STAYS[0]) == "DUNNO"


if __name__ == "__main__":
    tap.main()
