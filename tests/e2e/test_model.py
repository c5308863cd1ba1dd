#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Random sequences of list commands against a model of the list (oracle.py).

After each command: `list` and `check` say what the model says, and so does the kernel, asked for its
verdict on the addresses in, at and beside the borders of every prefix there is or just was. Some
commands are killed (SIGKILL) at a random moment: then the list is the one before or the one after,
the kernel already errs in nothing that both agree on, and the next change or sync mends the rest.

Entries and modes end while this runs. Around such a moment (SLACK) both answers are right.

SEED=N repeats a sequence (but for kills and ends), STEPS=N sets its length (500); a long one is
cut into several.
"""
import collections
import csv
import datetime
import functools
import io
import ipaddress
import json
import os
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import frames
import tap
from lab import BPFFS, PROGRAM, Lab
from oracle import (ENFORCE, NEVER, About, Change, History, Item, Lists, Plan, Refused, Who, prefixes,
                    who)
from runner import Runner
from verdicts import Verdicts, trie, value

STEPS = int(os.environ.get("STEPS", "500"))
AT_MOST = 2500                  # steps of one sequence
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
SLACK = 1.0                     # seconds around a deadline in which both answers are right
PROBES = 900                    # verdicts asked for after each step
SHOWN = 15                      # commands that are shown where it fails
ACCOUNTS = ("", "", "", "", "alice", "ALICE", "alice@mail.example", "bob", "Größe")
REMARKS = (None, None, None, "", "web shop", "a # b", "Grüße", " x", "r" * 200)
PORTS = ((25, 465, 587), (25, 465, 587), (465, 587), (25,), (2525, 25, 587))
HELD = 10                       # the interval between the longer looks
APPLIED = slice(16, 24)         # of the config map's element: the revision that is in force


# Thousands of addresses are worked on after each step: here they are (version, number).

@functools.lru_cache(100000)
def span(one):
    """A WHO as (version, first number, last number)."""
    return one.first.version, int(one.first), int(one.last)


@functools.lru_cache(100000)
def networks(one):
    """A WHO as [(version, first number, last number)] of its networks."""
    return [(n.version, int(n[0]), int(n[-1])) for n in prefixes(one)]


@functools.lru_cache(100000)
def spread(version, first, last):
    """The addresses in, at and beside the borders of a network."""
    top = (1 << (32 if version == 4 else 128)) - 1
    return [(version, n) for n in {first - 1, first, (first + last) // 2, last, last + 1}
            if 0 <= n <= top]


def unix(text):
    """A time of an answer in Unix seconds; NEVER for none."""
    return NEVER if text is None else \
        int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def rfc3339(seconds):
    """A time as one may write it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ")


def near(end, early, late):
    """Does a time lie between, or so close that nobody can tell?"""
    slack = SLACK + 2 * isinstance(end, About)
    return end != NEVER and early - slack <= end <= late + slack


def address_of(version, number):
    """The address."""
    return (ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)(number)


class Command:
    """One command, and what the model makes of it."""

    def __init__(self, *args, after=None, stdin=None, timed=False, target=None):
        self.args, self.stdin = [str(a) for a in args], stdin
        self.after = after or (lambda lists: lists.changed())
        self.timed = timed      # whether it edits anything depends on the second it runs in
        self.target = target    # what undo was told
        self.only_says = False  # what would be, and changes nothing: exit 1 if there is anything


class Choice:
    """What to do next: random, but such that commands meet each other's entries."""

    def __init__(self, rng, history, can):
        self.rng, self.history = rng, history
        self.lost = collections.deque(maxlen=6)         # (account, WHO) that was listed
        self.weights = {
            self.add: 26, self.delete: 18, self.edit: 8, self.bulk: 8, self.disable: 2,
            self.settings: 6, self.sync: 3, self.attach: 1, self.wrong: 4}
        self.can = can
        if "undo" in can:
            self.weights[self.undo] = 8
        if "--expired" in can:
            self.weights[self.purge] = 3
        if "pause" in can:
            self.weights[self.mode] = 7
        if "apply" in can:
            self.weights[self.apply] = 9

    def next(self, lists):
        """A Command for these lists. One undo is often followed by another."""
        if self.history.rows and self.history.rows[-1].target and self.rng.random() < 0.25:
            return self.undo(lists)
        make = self.rng.choices(list(self.weights), self.weights.values())[0]
        return make(lists)

    # WHO.

    def number(self, version):
        """An address, nearly always out of a few."""
        base = int(ipaddress.ip_address("198.51.100.0" if version == 4 else "2001:db8::"))
        top = (1 << (32 if version == 4 else 128)) - 1
        if self.rng.random() < 0.06:
            return self.rng.choice((0, 1, top, top - 1))
        if self.rng.random() < 0.08:
            return self.rng.randrange(1 << (32 if version == 4 else 125))
        return base + self.rng.randrange(64)

    def who(self, kind=None):
        """A new WHO."""
        rng = self.rng
        version = rng.choice((4, 4, 6))
        make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        kind = kind or rng.choice(("address", "address", "segment", "range"))
        number = self.number(version)
        if kind == "address":
            return Who(kind, make(number), make(number))
        if kind == "segment":
            bits = 32 if version == 4 else 128
            host = rng.choices((rng.randrange(7), rng.randrange(bits - 7), rng.randrange(bits + 1)),
                               (80, 15, 5))[0]
            network = ipaddress.ip_network((number >> host << host, bits - host))
            return Who(kind, network[0], network[-1])
        other = self.number(version)
        return Who(kind, make(min(number, other)), make(max(number, other)))

    def twin(self, one):
        """The same set in another format, where there is one."""
        nets = prefixes(one)
        kinds = ["range"] + ["segment"] * (len(nets) == 1) + ["address"] * (one.first == one.last)
        return one._replace(kind=self.rng.choice(kinds))

    def known(self, lists, kind=None):
        """A WHO that is listed somewhere, most of the time; or the like."""
        there = [e.who for e in lists.entries.values() if kind in (None, e.who.kind)]
        if not there or self.rng.random() < 0.25:
            return self.who(kind)
        one = self.rng.choice(there)
        return self.twin(one) if kind is None and self.rng.random() < 0.15 else one

    def spell(self, one):
        """A WHO as somebody may type it."""
        def text(address):
            form = self.rng.randrange(4) if address.version == 6 else 0
            return (str(address), str(address).upper(), address.exploded, str(address))[form]

        if one.kind == "address":
            return text(one.first)
        if one.kind == "segment":
            return f"{text(one.first)}/{prefixes(one)[0].prefixlen}"
        return f"{text(one.first)}-{text(one.last)}"

    # Options.

    def account(self, lists):
        """--account, sometimes; spelled anyhow."""
        name = self.rng.choice(ACCOUNTS)
        if self.rng.random() < 0.3 and lists.entries:
            name = self.rng.choice(list(lists.entries.values())).account
        return name, ["--account", name] if name else []

    def remark(self):
        """--remark, sometimes."""
        text = self.rng.choice(REMARKS)
        return text, [] if text is None else ["--remark", text]

    def end(self, forever=False):
        """--for or --until, sometimes, nearly always one that soon comes: (when or None, words)."""
        if "--for" not in self.can or self.rng.random() < 0.6:
            return None, []
        if forever and self.rng.random() < 0.4:
            return NEVER, ["--forever"]
        seconds = self.rng.choice((1, 1, 2, 3, 5, 3600))
        if self.rng.random() < 0.6:
            return About(time.time() + seconds), ["--for", f"{seconds}s"]
        end = int(time.time()) + seconds + 1
        return end, ["--until", rfc3339(end)]

    # Commands.

    def add(self, lists):
        """add"""
        rng = self.rng
        kind = rng.choice(("address", "segment", "range"))
        values = [self.who(kind) if rng.random() < 0.7 else self.known(lists, kind)
                  for _ in range(rng.choice((1, 1, 1, 2, 4)))]
        account, where = self.account(lists)
        if self.lost and rng.random() < 0.2:
            account, values = rng.choice(self.lost)
            where, values = ["--account", account] if account else [], [values]
        (remark, said), (end, until) = self.remark(), self.end()
        items = [Item(one, account, remark, end) for one in values]
        words, given = list(map(self.spell, values)), None
        if "apply" in self.can and rng.random() < 0.15:
            words, given = ["-"], "".join(word + "\n" for word in words)
        return Command("add", *words, *where, *said, *until, stdin=given,
                       after=lambda lists: lists.add(items), timed=isinstance(end, About))

    def meant(self, lists):
        """An entry as one names it: by number, or by WHO and account. (number or WHO, account)"""
        entries = list(lists.entries.values())
        if entries and self.rng.random() < 0.35:
            entry = self.rng.choice(entries)
            return entry.id, "" if self.rng.random() < 0.8 else self.account(lists)[0]
        if entries and self.rng.random() < 0.8:
            entry = self.rng.choice(entries)
            same = self.twin(entry.who) if self.rng.random() < 0.2 else entry.who
            return same, entry.account
        if self.rng.random() < 0.1:
            return self.rng.randrange(1, 1000), ""
        return self.known(lists), self.account(lists)[0]

    def name(self, what):
        """As one types it."""
        return f"#{what}" if isinstance(what, int) else self.spell(what)

    def delete(self, lists):
        """delete"""
        what, account = self.meant(lists)
        whats = [what]
        while self.rng.random() < 0.3:
            more, where = self.meant(lists)
            if where == account:
                whats.append(more)
        return Command("delete", *map(self.name, whats), *(["--account", account] if account else []),
                       after=lambda lists: lists.delete(whats, account))

    def edit(self, lists):
        """edit"""
        what, account = self.meant(lists)
        (remark, said), (end, until) = self.remark(), self.end(forever=True)
        if not said and not until:
            remark, said = "x", ["--remark", "x"]
        return Command("edit", self.name(what), *(["--account", account] if account else []),
                       *said, *until, timed=isinstance(end, About),
                       after=lambda lists: lists.edit(what, account, remark, end))

    def purge(self, lists):
        """delete --expired, if there is no doubt which those are"""
        now = time.time()
        if any(near(e.expires, now, now + 1) for e in lists.entries.values()):
            return self.sync(lists)
        account, where = self.account(lists)
        return Command("delete", "--expired", *where,
                       after=lambda lists: lists.delete_expired(account, time.time()))

    def mode(self, lists):
        """observe, enforce, confirm, pause, unless a mode is just about to end"""
        now = int(time.time())
        if near(lists.plan.until, now, now + 1):
            return self.sync(lists)
        seconds = self.rng.choice((1, 1, 2, 3, 3600))
        end = About(now + seconds)
        return self.rng.choice((
            Command("observe", after=lambda lists: lists.switched(
                now, Plan("observe", "observe", NEVER))),
            Command("enforce", after=lambda lists: lists.switched(now, ENFORCE)),
            Command("enforce", after=lambda lists: lists.switched(now, ENFORCE)),
            Command("enforce", "--confirm", f"{seconds}s", timed=True,
                    after=lambda lists: lists.trial(now, end)),
            Command("confirm", after=lambda lists: lists.confirm(now)),
            Command("pause", f"{seconds}s", timed=True,
                    after=lambda lists: lists.pause(now, end))))

    def undo(self, _):
        """undo: one, some, or back to a change that is not long ago"""
        rng, rows = self.rng, self.history.rows
        what = rng.choice((1, 1, 1, 2, 3, "#", "#"))
        if rows and rows[-1].target and rng.random() < 0.5:
            what = f"#{rows[-1].number}"
        elif what == "#":
            what = f"#{rng.choice(rows[-12:]).number if rows and rng.random() < 0.95 else 999999}"
        elif rng.random() < 0.03:
            what = 100000
        return Command("undo", *([] if what == 1 and rng.random() < 0.5 else [what]), target=what,
                       after=lambda _: self.history.undo(what))

    def items(self, lists):
        """What a file may hold beside what it is to keep."""
        items = []
        for _ in range(self.rng.randrange(9)):
            end = int(time.time()) + self.rng.choice((2, 3, 5, 3600)) \
                if "until=" in self.can and self.rng.random() < 0.2 else None
            items.append(Item(self.known(lists) if self.rng.random() < 0.6 else self.who(),
                              self.account(lists)[0], self.rng.choice(REMARKS), end))
        return items

    def lines(self, items):
        """A file of that, in the list format; some of its lines say nothing."""
        found = []
        for one, account, remark, end in items:
            found.append(self.spell(one) + (f"  account={account}" if account else "")
                         + (f" until={rfc3339(end)}" if end else "")
                         + ("" if remark is None else f" # {remark}"))
            if self.rng.random() < 0.1:
                found.append(self.rng.choice(("", "  ", "# a comment")))
        return found

    def file(self, items):
        """A file of that, in any format: (what it says then, its text)."""
        form = self.rng.choice(("list", "list", "csv", "json")) if "apply" in self.can else "list"
        if form == "list":
            return items, "".join(line + "\n" for line in self.lines(items)) or "\n"
        items = [i._replace(remark=i.remark or None) for i in items]    # no remark is none given
        rows = [{"who": self.spell(i.who), "account": i.account or None, "remark": i.remark,
                 "until": rfc3339(i.expires) if i.expires else None} for i in items]
        if form == "json":
            return items, "".join(json.dumps({k: v for k, v in row.items() if v is not None},
                                      ensure_ascii=False) + "\n" for row in rows) or "\n"
        text = io.StringIO()
        table = csv.DictWriter(text, ("remark", "who", "until", "account"), lineterminator="\n",
                               quoting=csv.QUOTE_ALL)
        table.writeheader()
        table.writerows(rows)
        return items, text.getvalue()

    def bulk(self, lists):
        """import"""
        items, text = self.file(self.items(lists))
        return Command("import", "-", stdin=text, after=lambda lists: lists.add(items))

    def apply(self, lists):
        """apply, diff: most of what there is, some of it otherwise, and something new"""
        rng, items = self.rng, []
        for entry in lists.entries.values():
            if rng.random() < 0.8:
                items.append(Item(entry.who, entry.account,
                                  entry.remark if rng.random() < 0.8 else rng.choice(REMARKS),
                                  entry.expires or None))
        items += self.items(lists) if rng.random() < 0.7 else []
        rng.shuffle(items)
        verb = rng.choice(("apply", "apply", "diff"))
        items, text = self.file(items)
        command = Command(verb, "-", stdin=text, after=lambda lists: lists.apply(items))
        command.only_says = verb == "diff"
        return command

    def disable(self, lists):
        """disable"""
        account = self.rng.choice(("", "", self.account(lists)[0]))
        if account:
            return Command("disable", "--account", account,
                           after=lambda lists: lists.disable(account))
        everything = self.rng.random() < 0.3
        return Command("disable", *(["--all"] if everything else []),
                       after=lambda lists: lists.disable("", everything))

    def settings(self, lists):
        """set"""
        name = self.rng.choice(("ports", "limit", "others", "others", "realm"))
        if name == "ports":
            ports = self.rng.choice(PORTS)
            return Command("set", name, ",".join(map(str, ports)),
                           after=lambda lists: lists.changed(ports=ports))
        if name == "limit":
            limit = self.rng.choice((3, 10, 10, 25, None))
            return Command("set", name, limit or "none",
                           after=lambda lists: lists.changed(limit=limit))
        if name == "others":
            others = self.rng.choice(("anywhere", "nowhere"))
            return Command("set", name, others, after=lambda lists: lists.changed(others=others))
        # Two lists do not become one here: which of them is meant where is not promised.
        realm = "" if lists.realm else "mail.example"
        trial = lists.changed(realm=realm)
        if any(len({e.account.lower() for e in trial.of(name)}) > 1 for name in ACCOUNTS):
            return self.sync(lists)
        return Command("set", name, realm or "none",
                       after=lambda lists: lists.changed(realm=realm))

    def sync(self, _):
        """sync"""
        return Command("sync")

    def attach(self, _):
        """attach, once more: the program is replaced"""
        return Command("attach", "eth0")

    def wrong(self, lists):
        """What changes nothing."""
        def refused(code):
            def after(_):
                raise Refused(code)
            return after

        listed = self.spell(self.known(lists, "address"))
        lines = self.lines(self.items(lists))
        lines.insert(self.rng.randrange(len(lines) + 1), self.rng.choice(
            ("192.0.2.1/24", "mail.example", "192.0.2.1 account=", f"{listed} # a\tb")))
        return self.rng.choice((
            Command("add", listed, "192.0.2.0/24", after=refused(2)),
            Command("add", listed, "192.0.2.300", after=refused(2)),
            Command("add", listed, "--remark", "a\nb", after=refused(2)),
            Command("add", listed, "--account", "-x", after=refused(2)),
            Command("delete", listed, "192.0.2.1/24", after=refused(2)),
            Command("edit", listed, after=refused(2)),
            Command("set", "ports", "0", after=refused(2)),
            Command("set", "limit", "-1", after=refused(2)),
            Command("import", "-", stdin="\n".join(lines), after=refused(2)),
        ))


class Bench:
    """A gated host beside the model, and the comparison of the two."""

    def __init__(self, lab, seed):
        self.lab, self.rng, self.moments = lab, random.Random(seed), random.Random(~seed)
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        self.run = Runner(lab, PROGRAM)
        self.lists, self.history = Lists(), History()
        self.said = collections.deque(maxlen=SHOWN)
        self.highest = 0                # entry's number ever given
        self.created = {}               # id -> when, as listed
        self.gone = []                  # networks that were listed a moment ago
        self.hits = {}                  # network -> [connections let in, the last one's time]
        self.usual, self.stops = {}, {}         # command -> seconds it takes, stops at calls
        self.count = collections.Counter()
        answer = self.ask("attach", "eth0")
        assert answer.code == 0, answer
        pin, = lab.link_pins()
        self.verdicts = Verdicts(lab.mail.path(f"{BPFFS}/{pin}"))
        self.verdicts.refresh()
        self.choice = Choice(self.rng, self.history, self.abilities())
        if "history" in self.choice.can:
            for row in self.quietly("history")["changes"][::-1]:
                self.history.rows.append(Change(row["id"], self.lists, row["command"], silent=True))

    def close(self):
        """Lets go of what it holds."""
        self.verdicts.close()
        self.run.close()

    def abilities(self):
        """Commands and options that this smtpgate has."""
        found = {word for word in ("undo", "history", "pause", "apply", "diff")
                 if self.run("help", word).code == 0}
        found |= {word for word in ("--for", "--expired")
                  if word in self.run("help", "add").out + self.run("help", "delete").out}
        line = "192.0.2.1 until=2099-01-01T00:00:00Z\n"
        if self.run("-n", "import", "-", stdin=line).code == 0:
            found.add("until=")
        return found

    def ask(self, *args, stdin=None, **kill):
        """Runs a command and remembers it."""
        start = time.time()
        answer = self.run(*args, stdin=stdin, **kill)
        self.said.append(f"{start:.3f}  {' '.join(map(repr, answer.argv))}"
                         + (f" <<< {stdin!r}" if stdin is not None else "")
                         + f"  -> {answer.code}" + (f", killed: {kill}" if answer.killed else ""))
        return answer

    def quietly(self, *args, ok=(0,)):
        """The object that a command answers with; it is no news."""
        answer = self.ask("-j", *args)
        assert answer.code in ok, answer
        self.said.pop()
        return answer.json

    # Steps.

    def step(self):
        """One command, and all comparisons."""
        command = self.choice.next(self.lists)
        verb, before = command.args[0], self.lists
        dry, sure = self.rng.random() < 0.03, self.rng.random() < 0.95
        code, after = 0, before
        try:
            after = command.after(before)
            code = int(command.only_says and sum(after.counts.values()) > 0)
        except Refused as refused:
            code = refused.code
        dry |= command.only_says
        kill = self.aim(verb) if not dry and self.moments.random() < 0.2 else {}
        start = time.time()
        answer = self.ask("-j", *["-n"] * dry, *["-y"] * sure, *command.args, stdin=command.stdin,
                          **kill)
        self.count[verb, answer.code] += 1
        if answer.killed:
            self.killed(command, before, after, start)
            return
        if answer.stops:
            self.stops[verb, kill["call"][0]] = answer.stops + 10
        elif not kill:
            self.usual[verb] = answer.seconds
        self.judge(answer, command, code, after, sure or dry)
        self.remember(command, before, after, not dry and answer.code == 0)
        self.settle(before if dry or answer.code else after, start)
        self.compare()

    def aim(self, verb):
        """When to kill a command: while it stores and puts in force, or at any time."""
        if self.moments.random() < 0.75:
            first = self.moments.choice(("pwrite", "fdatasync"))
            usual = self.stops.get((verb, first), 100)
            return {"call": (first, 1 + int(usual * self.moments.random()))}
        return {"after": self.usual.get(verb, 0.003) * self.moments.uniform(0.3, 1.1)}

    def judge(self, answer, command, code, after, sure):
        """Did the command end as it had to, and say what it did?"""
        unsure = not sure and answer.code == 3
        assert answer.code == code or unsure, f"expected exit {code}\n{answer}"
        assert sure or answer.code or not self.lists.closes() or after.closes(), \
            f"opened without having asked\n{answer}"
        said = answer.json
        assert answer.code == 1 or said["ok"] == (answer.code == 0), answer
        if answer.code > command.only_says or "added" not in said or command.target:
            return
        found = {k: said[k] for k in ("added", "deleted", "edited")}
        wanted = {k: after.counts[k] for k in found}
        if command.timed:
            del found["edited"], wanted["edited"]
        assert found == wanted, f"expected {wanted}\n{answer}"

    def killed(self, command, before, after, start):
        """What has to hold after a kill: before or after, and the kernel is nowhere wrong in both."""
        self.count["killed under way"] += \
            value(self.lab.mail.path(f"{BPFFS}/abi1/config"))[APPLIED] == bytes(8)
        self.verdicts.refresh()
        self.kernel(before, after)
        shown = self.shown()
        done = self.differs(after, shown) is None
        if "history" in self.choice.can:
            done = self.remember(command, before, after, None)
        self.settle(after if done else before, start, shown)
        self.count["killed, done" if done else "killed, not done"] += 1
        healer = self.moments.choice((("sync",), ("set", "limit", self.lists.limit or "none")))
        answer = self.ask("-j", *healer)
        assert answer.code == 0, answer
        self.compare()

    # The history.

    def remember(self, command, before, after, done):
        """The history has a new row if anything was changed, and only then; None: it is to tell.

        Returns whether there is a new one."""
        if "history" not in self.choice.can:
            return False
        rows = self.quietly("history")["changes"]
        last = max([0] + [row.number for row in self.history.rows[-1:]])
        new = [row for row in rows if row["id"] > last]
        changed = bool(command.target or before.settings() != after.settings()
                       or sum(after.counts.values()))
        wanted = changed if done or done is None else False
        sure = done is not None and not (command.timed and wanted)
        assert len(new) <= wanted, f"in the history: {new}"
        assert new or not (sure and wanted), "not in the history"
        target = self.history.target(command.target) if new and command.target else None
        for row in new:
            assert command.args[0] in row["command"].split(), row
            if not target:
                assert (row["added"], row["deleted"]) == \
                    (after.counts["added"], after.counts["deleted"]), row
            self.history.rows.append(Change(row["id"], before, row["command"],
                                            target and target.number))
        undone = self.history.undone()
        found = [(row["id"], row["undone_by"], row["command"]) for row in rows[::-1]]
        known = [(row.number, undone.get(row.number), row.command) for row in self.history.rows]
        assert found == known, f"history: {set(found) ^ set(known)}"
        return bool(new)

    # The list.

    def shown(self):
        """What `list` and `set` show: {(account, WHO): row}, settings."""
        settings = self.quietly("set")
        rows = {}
        for row in self.quietly("list")["entries"]:
            key = row["account"] or "", who(row["who"])
            assert row["kind"] == key[1].kind, row
            assert key not in rows, f"listed twice: {row}"
            rows[key] = row
        return rows, settings

    @staticmethod
    def differs(lists, shown):
        """None, or what is shown otherwise than these lists have it."""
        rows, settings = shown
        for name in ("limit", "others"):
            if settings[name] != getattr(lists, name):
                return f"{name} is {settings[name]}, not {getattr(lists, name)}"
        if (settings["realm"] or "") != lists.realm or \
           sorted(settings["ports"]) != sorted(lists.ports):
            return f"realm and ports: {settings}"
        wanted = {(e.account, e.who): e for e in lists.entries.values()}
        if wanted.keys() != rows.keys():
            return f"listed only: {rows.keys() - wanted.keys()}," \
                f" missing: {wanted.keys() - rows.keys()}"
        for key, entry in wanted.items():
            row = rows[key]
            if entry.id not in (None, row["id"]):
                return f"{row}: was #{entry.id}"
            if entry.remark != row["remark"]:
                return f"{row}: the remark is {entry.remark!r}"
            if abs(unix(row["expires"]) - entry.expires) > 2 * isinstance(entry.expires, About):
                return f"{row}: ends {rfc3339(entry.expires)}"
        return None

    def settle(self, lists, start, shown=None):
        """The lists are these now, says the model; `list` has to agree, and tells numbers and ends."""
        end = time.time()
        shown = shown or self.shown()
        rows = shown[0]
        different = self.differs(lists, shown)
        assert different is None, different
        gone = self.lists.entries.keys() - lists.entries.keys()
        if gone:
            self.gone = [n for key in gone for n in networks(key[1])]
            self.choice.lost.extend(sorted(gone, key=str))
        new = []
        for entry in list(lists.entries.values()):
            row = rows[entry.account, entry.who]
            created = unix(row["created"])
            if entry.id is None:
                new.append(row["id"])
                assert start - 2 <= created <= end + 1, f"{row}: it was added now"
            assert self.created.setdefault(row["id"], created) == created, f"{row}: it was there"
            lists.put(entry._replace(id=row["id"], expires=unix(row["expires"])))
        assert new == sorted(set(new)) and (not new or new[0] > self.highest), f"numbers: {new}"
        self.highest = max([self.highest] + new)
        self.lists = lists
        there = {n for e in lists.entries.values() for n in networks(e.who)}
        self.hits = {n: hit for n, hit in self.hits.items() if n in there}
        for entry in lists.entries.values():
            self.used(entry, rows[entry.account, entry.who])

    def used(self, entry, row):
        """An entry's connections are those that its networks let in since it was added."""
        hits = [self.hits[n] for n in networks(entry.who) if n in self.hits]
        created = self.created[entry.id]
        most = sum(number for number, last in hits if last >= created - 1)
        least = sum(number for number, last in hits if last > created + 1)
        assert least <= row["connections"] <= most, f"{row}: expected {least} to {most} connections"
        assert (row["last_seen"] is None) == (row["connections"] == 0), row

    # Who gets in.

    def probes(self, *versions):
        """Addresses worth asking for, with these lists."""
        nets = {n for lists in versions for e in lists.entries.values() for n in networks(e.who)}
        found = sorted({a for n in nets.union(self.gone) for a in spread(*n)})
        return found if len(found) <= PROBES else self.rng.sample(found, PROBES)

    @staticmethod
    def bounds(lists, addresses, early, late):
        """For each address whether it is covered: (surely, perhaps)."""
        alive = [(*span(e.who), e.expires == NEVER or e.expires > late + SLACK)
                 for e in lists.entries.values()
                 if e.expires == NEVER or e.expires > early or near(e.expires, early, late)]
        for version, number in addresses:
            found = [sure for kind, first, last, sure in alive
                     if kind == version and first <= number <= last]
            yield any(found), bool(found)

    @staticmethod
    def modes(lists, early, late):
        """The modes that may be in force: one, or two around an end."""
        slack = SLACK + 2 * isinstance(lists.plan.until, About)
        return {lists.mode(early - slack), lists.mode(late + slack)}

    def kernel(self, *versions):
        """The kernel's verdicts are those of the lists; with two, where they agree."""
        addresses = self.probes(*versions)
        start = time.time()
        passed = []
        for address in addresses:
            port = self.rng.choice(versions[0].ports + (80,)) if self.rng.random() < 0.3 else 587
            passed.append((address, port, self.verdicts.passes(*address, port)))
        end = time.time()
        covered = [list(self.bounds(lists, addresses, start, end)) for lists in versions]
        modes = [self.modes(lists, start, end) for lists in versions]
        drops = [(v.ports if "enforce" in m else ()) for v, m in zip(versions, modes)]
        surely = [(v.ports if m == {"enforce"} else ()) for v, m in zip(versions, modes)]
        for i, (address, port, found) in enumerate(passed):
            must = all(port not in ports or known[i][0] for ports, known in zip(drops, covered))
            may = any(port not in ports or known[i][1] for ports, known in zip(surely, covered))
            assert found or not must, f"{address_of(*address)} to port {port} is dropped"
            assert may or not found, f"{address_of(*address)} to port {port} is let in"
        self.count["verdicts"] += len(passed)

    def connect(self):
        """Some connections, each counted by the longest network that lets it in."""
        addresses = self.probes(self.lists)
        for address in self.rng.sample(addresses, min(5, len(addresses))):
            now = time.time()
            covering = [(n, e.expires) for e in self.lists.entries.values()
                        for n in networks(e.who) if n[0] == address[0]
                        and n[1] <= address[1] <= n[2]]
            if any(near(end, now, now) for _, end in covering):
                continue
            alive = [n for n, end in covering if end == NEVER or end > now]
            passed = self.verdicts.passes(*address, self.lists.ports[0], frames.SYN)
            if alive:
                assert passed, f"{address_of(*address)} is dropped"
                hit = self.hits.setdefault(min(alive, key=lambda n: n[2] - n[1]), [0, 0])
                hit[:] = hit[0] + 1, now

    def check(self):
        """check agrees, and names the entry."""
        lists = self.lists
        numbers = [(v, n) for v, n in self.probes(lists) if v == 4 or n >> 32 != 0xffff]
        numbers = self.rng.sample(numbers, min(12, len(numbers))) or [(4, 1)]
        addresses = [address_of(*a) for a in numbers]
        account = self.rng.choice(("", "", "", "alice", "alice@mail.example", "bob", "carol"))
        start = time.time()
        answer = self.ask("-j", "check", *addresses, *(["--account", account] if account else []))
        end = time.time()
        known = list(self.bounds(lists, numbers, start, end))
        modes = self.modes(lists, start, end)
        said = answer.json
        assert answer.code in (0, 1) and len(said["results"]) == len(addresses), answer
        assert answer.code == (0 if all(row["allowed"] for row in said["results"]) else 1), answer
        for address, row, (sure, perhaps) in zip(addresses, said["results"], known):
            assert ipaddress.ip_address(row["address"]) == address, row
            if sure == perhaps and len(modes) == 1:
                self.check_row(row, address, account, sure or modes != {"enforce"}, start)
        self.said.pop()

    def check_row(self, row, address, account, gate, now):
        """One address of check."""
        lists = self.lists
        assert not row["disagree"], row
        if account:
            ends = [e.expires for e in lists.entries.values() if near(e.expires, now, now)]
            assert ends or row["policy"] == lists.admits(account, address, now), row
            assert row["gate"] == gate, row
            assert row["allowed"] == (row["gate"] and row["policy"]), row
            return
        assert row["allowed"] == gate, row
        if not any(near(e.expires, now, now) for e in lists.entries.values()):
            best = lists.covering(address, now)
            assert (row["entry"] or {}).get("id") == (best and best.id), f"{row}: it is {best}"

    def longer(self):
        """What is not asked each time: status, what ends, the tries themselves."""
        lists = self.lists
        nets = {}
        for entry in lists.entries.values():
            for net in networks(entry.who):
                nets[net] = max(nets.get(net, 0), entry.expires or 1 << 40)
        start = time.time()
        said = self.quietly("status", "--check")
        assert said["in_sync"] is True and said["entries"] == len(lists.entries), said
        assert said["mode"] in self.modes(lists, start, time.time()), said
        assert said["prefixes"] == len(nets), said
        assert sorted(said["ports"]) == sorted(lists.ports), said
        kernel = {}
        for version in (4, 6):
            kernel |= trie(self.lab.mail.path(f"{BPFFS}/abi1/allow{version}"), version)
        assert kernel.keys() == nets.keys(), f"only in the kernel: {kernel.keys() - nets.keys()}," \
            f" missing: {nets.keys() - kernel.keys()}"
        for net, until in kernel.items():
            assert until is None and nets[net] == 1 << 40 or \
                until is not None and abs(until - nets[net]) < SLACK, f"{net} ends at {until}"
        if "--expired" in self.choice.can:
            start = time.time()
            rows = self.quietly("list", "--expired", ok=(0, 1))["entries"]
            end = time.time()
            if not any(near(e.expires, start, end) for e in lists.entries.values()):
                assert {row["id"] for row in rows} == \
                    {e.id for e in lists.entries.values() if e.expires and e.expires < start}, rows

    def compare(self):
        """Everything that can be asked says what the model says."""
        self.verdicts.refresh()
        self.kernel(self.lists)
        self.check()
        self.connect()
        if self.rng.randrange(HELD) == 0:
            self.longer()


def sequence(seed, steps, count):
    """One sequence on a host of its own."""
    print(f"# SEED={seed} STEPS={steps}", flush=True)
    with Lab() as lab:
        bench = Bench(lab, seed)
        number = 0
        try:
            for number in range(steps):
                bench.step()
        except Exception as error:
            said = "\n  ".join(bench.said)
            raise AssertionError(f"SEED={seed}, step {number}: {error}\nthe last commands:\n"
                                 f"  {said}") from error
        finally:
            bench.close()
        count.update(bench.count)


@tap.test
def model():
    """random sequences of list commands do what the model does"""
    count = collections.Counter()
    for begin in range(0, STEPS, AT_MOST):
        sequence(SEED + begin // AT_MOST, min(AT_MOST, STEPS - begin), count)
    for what, times in sorted(count.items(), key=str):
        print(f"# {times:8} {what}")


if __name__ == "__main__":
    tap.main()
