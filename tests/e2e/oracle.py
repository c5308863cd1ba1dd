# SPDX-License-Identifier: GPL-2.0-only
"""The list as it ought to behave: what each command makes of it, and who is let in then.

A model in Python's own terms (ipaddress, dicts), written from what is promised and not from the
code. It knows no command line, no store and no kernel: the test translates. A list is never changed
in place: each command gives a new one, so that "before" and "after" are there side by side.
"""
import collections
import copy
import ipaddress

Who = collections.namedtuple("Who", "kind first last")      # kind: address, segment, range
Entry = collections.namedtuple("Entry", "id account who remark expires")    # id None: not known yet
Item = collections.namedtuple("Item", "who account remark expires", defaults=("", None, None))
Plan = collections.namedtuple("Plan", "mode then until")    # until 0: the mode stays
NEVER = 0
ENFORCE = Plan("enforce", "enforce", NEVER)
KEPT = 100                      # changes that can be taken back


class About(int):
    """A time that is known to a second or two: so many seconds from when the command ran."""


class Refused(Exception):
    """The command ends with this exit code and changes nothing."""

    def __init__(self, code):
        super().__init__(f"exit {code}")
        self.code = code


def who(text):
    """A WHO from its text."""
    first, dash, last = text.partition("-")
    if dash:
        return Who("range", ipaddress.ip_address(first), ipaddress.ip_address(last))
    network = ipaddress.ip_network(text)
    return Who("segment" if "/" in text else "address", network[0], network[-1])


def prefixes(one):
    """The networks that a WHO stands for."""
    return list(ipaddress.summarize_address_range(one.first, one.last))


def covers(one, address):
    """Is the address in it?"""
    return one.first.version == address.version and one.first <= address <= one.last


class Lists:
    """All lists and their settings."""

    def __init__(self):
        self.entries = {}       # (account in lower case, WHO) -> Entry, in the order of the ids
        self.ports, self.limit = (25, 465, 587), 10
        self.others, self.realm = "anywhere", ""
        self.plan = ENFORCE
        self.counts = collections.Counter()     # what the last command added, deleted, edited

    # What holds.

    def names(self, account):
        """The spellings of an account that are one account."""
        name = account.lower()
        bare, at, realm = name.partition("@")
        if name and self.realm and not at:
            return {name, name + "@" + self.realm}
        return {name, bare} if at and realm == self.realm else {name}

    def of(self, account):
        """The entries of one list."""
        names = self.names(account)
        return [e for key, e in self.entries.items() if key[0] in names]

    def closes(self):
        """May the kernel drop what no list covers?"""
        return bool(self.of("") or (self.entries and self.others == "nowhere"))

    def settings(self):
        """All but the entries, to be compared."""
        return sorted(self.ports), self.limit, self.others, self.realm, self.plan

    def planned(self, now):
        """What is done with the unlisted, wherever the lists close: a Plan."""
        plan = self.plan
        return plan if not plan.until or now < plan.until else Plan(plan.then, plan.then, NEVER)

    def mode(self, now):
        """off, enforce, observe or paused"""
        return self.planned(now).mode if self.closes() else "off"

    def covering(self, address, now, entries=None):
        """The entry that is named for an address: the narrowest that has not expired, or None."""
        found = [e for e in (self.entries.values() if entries is None else entries)
                 if covers(e.who, address) and (e.expires == NEVER or e.expires > now)]
        return min(found, key=lambda e: (-int(e.who.first), int(e.who.last), e.id), default=None)

    def admits(self, account, address, now):
        """May this account send from there, as far as the relay's half is concerned?"""
        if self.planned(now).mode != "enforce":
            return True
        for entries in (self.of(account), self.of("")):
            if entries:
                return self.covering(address, now, entries) is not None
        return not self.entries or self.others == "anywhere"

    # What the commands do. Each returns the lists as they are then, or raises Refused.

    def changed(self, **settings):
        """A copy to work on."""
        new = copy.copy(self)
        new.entries, new.counts = dict(self.entries), collections.Counter()
        new.__dict__.update(settings)
        return new

    def put(self, entry):
        """Adds or replaces an entry."""
        self.entries[entry.account.lower(), entry.who] = entry

    def key(self, one, account):
        """Where that very WHO stands in that list, or None."""
        return next((k for k in ((n, one) for n in self.names(account)) if k in self.entries), None)

    def find(self, what, account):
        """The entry that a person means by a WHO or a number."""
        if isinstance(what, int):
            found = [e for e in (self.of(account) if account else self.entries.values())
                     if e.id == what]
        else:
            found = [e for e in self.of(account) if e.who[1:] == what[1:]]
        if not found:
            raise Refused(1)
        return min(found, key=lambda e: (not isinstance(what, int) and e.who.kind != what.kind,
                                         e.id))

    def revise(self, entry, remark, expires):
        """Gives an entry what was said (None: nothing was)."""
        new = entry._replace(remark=entry.remark if remark is None else remark,
                             expires=entry.expires if expires is None else expires)
        self.put(new)
        self.counts["edited"] += new != entry

    def add(self, items):
        """add, import: what is listed already gets what was said of it."""
        new, grown = self._with(items)
        return new._within_limit(grown)

    def _with(self, items):
        new, grown = self.changed(), set()
        if contradict(items):
            raise Refused(2)
        for item in items:
            key = new.key(item.who, item.account)
            if key:
                new.revise(new.entries[key], item.remark, item.expires)
                continue
            same = new.of(item.account)
            name = same[0].account if same else item.account
            new.put(Entry(None, name, item.who, item.remark or "", item.expires or NEVER))
            new.counts["added"] += 1
            grown.add(name.lower())
        return new, grown

    def _within_limit(self, grown):
        for name in grown:
            if self.limit and sum(key[0] == name for key in self.entries) > self.limit:
                raise Refused(2)
        return self

    def edit(self, what, account, remark, expires):
        """edit"""
        new = self.changed()
        new.revise(new.find(what, account), remark, expires)
        return new

    def remove(self, entries):
        """Those are gone."""
        new = self.changed()
        for entry in entries:
            del new.entries[entry.account.lower(), entry.who]
            new.counts["deleted"] += 1
        return new

    def delete(self, whats, account):
        """delete; what is meant a second time went with the first"""
        new, gone = self, []
        for what in whats:
            try:
                gone.append(new.find(what, account))
            except Refused:
                ids = {e.id for e in gone}
                listed = [e for e in self.of(account) if e.id in ids]
                if what in ids or any(not isinstance(what, int) and e.who[1:] == what[1:]
                                      for e in listed):
                    continue
                raise
            new = new.remove(gone[-1:])
        return self.remove(gone)

    def delete_expired(self, account, now):
        """delete --expired"""
        gone = [e for e in (self.of(account) if account else self.entries.values())
                if e.expires != NEVER and e.expires <= now]
        if not gone:
            raise Refused(1)
        return self.remove(gone)

    # Modes. An end that has passed is forgotten.

    def switched(self, now, plan):
        """That plan from now on."""
        return self.changed(plan=self.plan if plan == self.planned(now) else plan)

    def trial(self, now, end):
        """enforce --confirm"""
        plan = self.planned(now)
        if plan == ENFORCE or plan.mode == "paused" or not self.entries:
            raise Refused(1)
        return self.switched(now, Plan("enforce", "observe", end))

    def confirm(self, now):
        """confirm"""
        plan = self.planned(now)
        if plan.mode != "enforce" or not plan.until:
            raise Refused(1)
        return self.switched(now, ENFORCE)

    def pause(self, now, end):
        """pause: then comes what would have come anyway"""
        plan = self.planned(now)
        if not self.entries:
            raise Refused(1)
        return self.switched(now, Plan("paused", plan.then if plan.until else plan.mode, end))

    def disable(self, account, everything=False):
        """disable: whoever followed the host list may then send from anywhere."""
        gone = list(self.entries.values()) if everything else self.of(account)
        if account and not gone:
            raise Refused(1)
        if not account and not gone and not self.closes():
            return self.changed()
        new = self.remove(gone)
        return new if account else new._also(others="anywhere")

    def _also(self, **settings):
        counts, new = self.counts, self.changed(**settings)
        new.counts = counts
        return new

    def apply(self, items):
        """apply: the lists become what the file says; what stays keeps what is not said of it."""
        new, grown = self._with(items)
        wanted = {new.key(item.who, item.account) for item in items}
        after = new.remove([e for key, e in new.entries.items() if key not in wanted])
        after.counts.update(new.counts)
        return after._within_limit(grown)


def contradict(items):
    """Two of them say different things of one entry; accounts count by their spelling."""
    said = {}
    return any(value and said.setdefault((item.who, item.account.lower(), name), value) != value
               for item in items for name, value in (("remark", item.remark is not None
                                                      and (item.remark,)),
                                                     ("end", item.expires)))


class Change:
    """A row of the history: what was before it, and back to which change it goes (None: it is new)."""

    def __init__(self, number, before, command="", target=None, silent=False):
        self.number, self.before, self.command, self.target = number, before, command, target
        self.silent = silent            # of the interfaces: an undo passes over it


class History:
    """Changes, newest last, and what taking them back leads to."""

    def __init__(self, rows=()):
        self.rows = list(rows)

    def undone(self):
        """Which changes are taken back, and by which: {number: number}. An undo takes back undos too."""
        found, by = {}, None
        for row in self.rows[::-1]:
            if by and by.target <= row.number:
                found.update({} if row.silent else {row.number: by.number})
            elif row.target:
                by = row
        return found

    def in_force(self):
        """The numbers of the changes that make the lists what they are."""
        undone = self.undone()
        return [row.number for row in self.rows
                if not row.target and not row.silent and row.number not in undone]

    def target(self, what):
        """The change that is taken back last: `what` is a count, or "#ID"."""
        numbers = self.in_force()[::-1]
        number = int(what[1:]) if isinstance(what, str) else (numbers[what - 1:what] or [0])[0]
        for i, row in enumerate(self.rows):
            if row.number == number > self.rows[-1].number - KEPT and \
               numbers != History(self.rows[:i]).in_force()[::-1]:
                return row
        raise Refused(1)

    def undo(self, what):
        """The lists as they were before that change."""
        return self.target(what).before.changed()
