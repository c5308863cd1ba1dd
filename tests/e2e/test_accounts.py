#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Account lists on a real relay: this password only from these addresses.

Postfix asks `smtpgate policy`, with Dovecot and with Cyrus SASL checking the passwords, in the very
configuration that relay/ ships. Every answer is compared word for word. What goes wrong with the
service or the store must end in a temporary error or in the right answer, never in a mail.
"""
import concurrent.futures
import grp
import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import relay as mail_relay
import tap
from lab import BPFFS, MNT, STATE, Lab, until
from relay import (DOMAIN, DOWN, RECIPIENT, REFUSED, SENT, SILENT, TROUBLE, USERS, WRONG, Session,
                   barred)

MAIL = {4: "192.0.2.25", 6: "2001:db8::25"}
# The addresses of the client, by the list that they are in.
PLACES = {"host": {4: "192.0.2.10", 6: "2001:db8::10"},
          "alice": {4: "192.0.2.20", 6: "2001:db8::20"},
          "carol": {4: "192.0.2.30", 6: "2001:db8::30"},
          "none": {4: "192.0.2.66", 6: "2001:db8::66"}}
OWN, OTHER = PLACES["alice"][4], PLACES["carol"][4]
DB = STATE + "/smtpgate.db"
PROGRAM = "/usr/sbin/smtpgate"

BARRED = "barred"
# With the right password. Alice has a list of her own, bob has none, carol has one and never mails.
TABLE = (
    # host list, others   account  from: host    alice   carol   none
    (True, "anywhere", "alice", (BARRED, SENT, BARRED, SILENT)),
    (True, "anywhere", "bob", (SENT, BARRED, BARRED, SILENT)),
    (False, "anywhere", "alice", (BARRED, SENT, BARRED, BARRED)),
    (False, "anywhere", "bob", (SENT, SENT, SENT, SENT)),
    (False, "nowhere", "alice", (SILENT, SENT, BARRED, SILENT)),
    (False, "nowhere", "bob", (SILENT, BARRED, BARRED, SILENT)),
)


class Stage(Lab):
    """A relay behind the gate and a client with an address in each list."""

    def __init__(self, sasl="dovecot", **options):
        super().__init__()
        try:
            self.client = self.host("client")
            self.link(self.mail, "eth0", self.client, "eth0")
            for host, table in ((self.mail, MAIL), *((self.client, p) for p in PLACES.values())):
                host.address("eth0", table[4] + "/24", table[6] + "/64")
            self.gate("attach", "eth0")
            self.relay = mail_relay.Relay(self.mail, sasl, **options)
            # How SASL names an account.
            self.suffix = ""
            if sasl == "cyrus":
                self.suffix = "@" + DOMAIN
                self.gate("set", "realm", DOMAIN)
            for account in ("alice", "carol"):
                self.list(account)
        except BaseException:
            self.__exit__()
            raise

    def list(self, account):
        """Lists an account's place, or with "host" the host list's."""
        for address in PLACES[account].values():
            self.gate("add", address, *(() if account == "host" else ("--account", account)))

    def session(self, source=OWN, user="alice", port=587):
        """A session of a logged-in client."""
        session = Session(self.client, MAIL[4], source, port)
        said = session.login(user, USERS[user])
        assert said == "235", said
        return session

    def barred(self, account, address):
        """The answer that bars an account as this SASL names it."""
        return barred(account + self.suffix, address)

    def pids(self):
        """The policy processes, as numbers of the mail host."""
        done = self.mail.run("pgrep", "-u", "smtpgate", "-x", "smtpgate", ok=(0, 1))
        return done.out.split()

    def signal(self, number, pids):
        """Sends a signal to processes of the mail host."""
        assert pids, "no policy process is there"
        self.mail.run("kill", f"-{int(number)}", *pids)
        if number == signal.SIGKILL:
            until(lambda: not set(pids) & set(self.pids()))

    def waiting(self):
        """Waits until somebody on the mail host has not read what was written to it."""
        until(lambda: re.search(r"^u_str +ESTAB +[1-9]", self.mail.run("ss", "-Hxn").out, re.M))

    def replace_program(self, text):
        """Puts a script in the policy program's place; without text puts the program back."""
        path = self.mail.path(PROGRAM)
        if text:
            path.rename(self.mail.path(PROGRAM + ".real"))
            path.write_text(text, encoding="ascii")
            path.chmod(0o755)
        else:
            self.mail.path(PROGRAM + ".real").rename(path)

    def digest(self):
        """Of the stored list."""
        return hashlib.sha256(self.mail.path(DB).read_bytes()).hexdigest()

    def as_policy(self, *command, **options):
        """Runs a command as the policy service's user."""
        return self.mail.run("setpriv", "--reuid=smtpgate", "--regid=smtpgate", "--clear-groups",
                             *command, **options)


def at_once(jobs):
    """Runs functions at the same time, returns their results."""
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        return [done.result() for done in [pool.submit(job) for job in jobs]]


def rows_of(stage, host_list, others):
    """(family, port, place, account, password, expected) of one state of the lists."""
    for listed, rest, account, cells in TABLE:
        if (listed, rest) != (host_list, others):
            continue
        for place, cell in zip(PLACES, cells):
            for family in (4, 6):
                for port in (587, 465):
                    right = stage.barred(account, PLACES[place][family]) if cell == BARRED else cell
                    yield family, port, place, account, USERS[account], right
                    yield (family, port, place, account, WRONG,
                           SILENT if cell == SILENT else REFUSED)


def check_rows(stage, rows):
    """Sends all at once, compares every answer; returns how many were sent."""
    rows = list(rows)

    def one(row):
        family, port, place, account, password, expected = row
        return mail_relay.attempt(stage.client, MAIL[family], PLACES[place][family], account,
                                  password, port, 1.5 if expected == SILENT else 30)
    found = at_once([lambda r=row: one(r) for row in rows])
    wrong = [f"IPv{family}, {account} with the {'wrong' if password == WRONG else 'right'} password"
             f" from {place}, port {port}: expected {expected!r}, got {got!r}"
             for (family, port, place, account, password, expected), got in zip(rows, found)
             if got != expected]
    assert not wrong, "\n" + "\n".join(wrong)
    return found.count(SENT)


def matrix(sasl):
    """Every cell of TABLE, with both passwords, ports and families."""
    with Stage(sasl) as stage:
        stage.list("host")
        sent = check_rows(stage, rows_of(stage, True, "anywhere"))
        stage.gate("delete", "-y", *PLACES["host"].values())
        sent += check_rows(stage, rows_of(stage, False, "anywhere"))
        stage.gate("set", "others", "nowhere")
        sent += check_rows(stage, rows_of(stage, False, "nowhere"))
        until(lambda: stage.relay.delivered() >= sent)
        assert stage.relay.delivered() == sent
        for account in ("alice", "carol"):
            stage.gate("disable", "-y", "--account", account)
        stage.gate("set", "others", "anywhere")
        check_rows(stage, [(4, 587, place, account, USERS[account], SENT)
                           for place in PLACES for account in USERS])


@tap.test
def matrix_dovecot():
    """Dovecot: list of the host, of the account, none; address; password; port; family"""
    matrix("dovecot")


@tap.test
def matrix_cyrus():
    """Cyrus SASL: the same"""
    matrix("cyrus")


def sender_addresses(sasl):
    """Who may use which sender address, from a place where the account may send."""
    with Stage(sasl) as stage, stage.session() as session:
        login = "alice" + stage.suffix
        for sender, expected in (
                (f"alice@{DOMAIN}", SENT), (f"ALICE@{DOMAIN}", SENT), ("", SENT),
                (f"bob@{DOMAIN}", mail_relay.not_owned(f"bob@{DOMAIN}", login)),
                (f"nobody@{DOMAIN}", mail_relay.not_owned(f"nobody@{DOMAIN}", login)),
                ("alice@other.example", mail_relay.not_owned("alice@other.example", login))):
            said = session.mail(sender)
            assert said == expected, f"<{sender}>: expected {expected!r}, got {said!r}"
        with Session(stage.client, MAIL[4], OWN, 465) as stranger:
            for sender, expected in (
                    (f"alice@{DOMAIN}",
                     f"553 5.7.1 <alice@{DOMAIN}>: Sender address rejected: not logged in"),
                    ("x@other.example",
                     f"554 5.7.1 <{RECIPIENT}>: Recipient address rejected: Access denied")):
                said = stranger.mail(sender)
                assert said == expected, said


@tap.test
def sender_dovecot():
    """Dovecot: an account's sender address is its own"""
    sender_addresses("dovecot")


@tap.test
def sender_cyrus():
    """Cyrus SASL: the same"""
    sender_addresses("cyrus")


def spellings(sasl, forms):
    """No way to write alice's name, or to act as another, gets around alice's list."""
    with Stage(sasl) as stage:
        def one(user, source, acting_as):
            with Session(stage.client, MAIL[4], source, 465) as session:
                said = session.login(user, USERS["alice"], acting_as)
                return session.mail(f"alice@{DOMAIN}") if said == "235" else said

        jobs, expected = [], []
        for user, logs_in in forms.items():
            for source, answer in ((OWN, SENT), (OTHER, stage.barred("alice", OTHER))):
                jobs.append((user, source, ""))
                expected.append(answer if logs_in else REFUSED)
        # Alice's password, but "act as bob", who may send from anywhere.
        for other in ("bob", "bob@" + DOMAIN):
            jobs.append(("alice", OTHER, other))
            expected.append(REFUSED)
        found = at_once([lambda j=job: one(*j) for job in jobs])
        wrong = [f"{job}: expected {want!r}, got {got!r}"
                 for job, want, got in zip(jobs, expected, found) if want != got]
        assert not wrong, "\n" + "\n".join(wrong)
        # The list's spelling does not matter either.
        stage.gate("add", OTHER, "--account", "ALICE")
        assert one("alice", OTHER, "") == SENT
        stage.gate("delete", OTHER, "--account", "Alice")
        assert one("alice", OTHER, "") == stage.barred("alice", OTHER)


@tap.test
def spellings_dovecot():
    """Dovecot: ALICE, alice@mail.example, alice@elsewhere are alice and get alice's list"""
    spellings("dovecot", {"alice": True, "ALICE": True, "alice@" + DOMAIN: True,
                          "Alice@MAIL.example": True, "alice@elsewhere.example": True,
                          "alice@": True, " alice": False})


@tap.test
def spellings_cyrus():
    """Cyrus SASL: alice and alice@mail.example are one account, other spellings do not log in"""
    spellings("cyrus", {"alice": True, "alice@" + DOMAIN: True, "ALICE": False,
                        "Alice@MAIL.example": False, "alice@elsewhere.example": False})


@tap.test
def change_in_session():
    """a list change is seen by the next mail of a session that is already open"""
    with Stage() as stage, stage.session(OWN) as own, stage.session(OTHER) as other:
        def both():
            return own.mail(f"alice@{DOMAIN}"), other.mail(f"alice@{DOMAIN}")

        assert both() == (SENT, stage.barred("alice", OTHER)), both()
        stage.gate("add", OTHER, "--account", "alice")
        assert both() == (SENT, SENT), both()
        stage.gate("delete", OWN, "--account", "alice")
        assert both() == (stage.barred("alice", OWN), SENT), both()
        stage.gate("disable", "-y", "--account", "alice")
        assert both() == (SENT, SENT), both()


@tap.test
def killed():
    """a policy process that is killed, idle or asked, is replaced and the answer is right"""
    with Stage() as stage, stage.session(OWN) as own, stage.session(OTHER) as other:
        answers = {own: SENT, other: stage.barred("alice", OTHER)}

        def all_right():
            found = at_once([lambda s=s: s.mail(f"alice@{DOMAIN}") for s in answers])
            assert found == list(answers.values()), found

        all_right()
        stage.signal(signal.SIGKILL, stage.pids())
        for session, expected in answers.items():
            all_right()
            pids = stage.pids()
            stage.signal(signal.SIGSTOP, pids)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                asked = pool.submit(session.mail, f"alice@{DOMAIN}")
                stage.waiting()
                stage.signal(signal.SIGKILL, pids)
                assert asked.result() == expected, asked.result()
        all_right()


@tap.test
def hung():
    """policy processes that hang are given up, the answer is right; if all hang: 451"""
    with Stage() as stage, stage.session(OWN) as own, stage.session(OTHER) as other:
        def both():
            return at_once([lambda s=s: s.mail(f"alice@{DOMAIN}") for s in (own, other)])

        right = [SENT, stage.barred("alice", OTHER)]
        assert both() == right
        stage.signal(signal.SIGSTOP, stage.pids())
        found = both()
        assert found == right, found
        stage.signal(signal.SIGKILL, stage.pids())
        stage.replace_program("#!/bin/sh\nexec sleep 600\n")
        found = both()
        assert found == [DOWN, DOWN], found
        stage.replace_program(None)
        assert both() == right


@tap.test
def gone():
    """the policy program is missing: 451; back again: 250, in the same session"""
    with Stage() as stage, stage.session() as session:
        path = stage.mail.path(PROGRAM)
        path.rename(stage.mail.path(PROGRAM + ".away"))
        said = session.mail(f"alice@{DOMAIN}")
        assert said == DOWN, said
        stage.mail.path(PROGRAM + ".away").rename(path)
        said = session.mail(f"alice@{DOMAIN}")
        assert said == SENT, said


@tap.test
def store_locked():
    """the store is locked by somebody: 450; let go: 250, in the same session"""
    with Stage() as stage, stage.session() as session:
        assert session.mail(f"alice@{DOMAIN}") == SENT
        base = stage.mail.start("sqlite3", DB, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        base.stdin.write(b"BEGIN EXCLUSIVE; SELECT 'held';\n")
        base.stdin.flush()
        assert base.stdout.readline() == b"held\n"
        said = session.mail(f"alice@{DOMAIN}")
        assert said == TROUBLE, said
        base.communicate(b"ROLLBACK;\n", timeout=10)
        said = session.mail(f"alice@{DOMAIN}")
        assert said == SENT, said


@tap.test
def store_removed():
    """the store is removed in mid-session: 450; put back: 250"""
    with Stage() as stage, stage.session() as session, stage.session(OTHER) as other:
        assert session.mail(f"alice@{DOMAIN}") == SENT
        path, away = stage.mail.path(DB), stage.mail.path(STATE + "/away")
        path.rename(away)
        for each in (session, other):
            said = each.mail(f"alice@{DOMAIN}")
            assert said == TROUBLE, said
        away.rename(path)
        assert session.mail(f"alice@{DOMAIN}") == SENT
        assert other.mail(f"alice@{DOMAIN}") == stage.barred("alice", OTHER)


@tap.test
def store_replaced():
    """another file in the store's place: its list counts; rubbish in its place: 450"""
    with Stage() as stage, stage.session() as own, stage.session(OTHER) as other:
        def both():
            return own.mail(f"alice@{DOMAIN}"), other.mail(f"alice@{DOMAIN}")

        assert both() == (SENT, stage.barred("alice", OTHER))
        elsewhere = MNT + "/elsewhere"
        stage.mail.run("mkdir", elsewhere)
        stage.gate("--state", elsewhere, "--bpffs", MNT + "/bpf/elsewhere", "add", OTHER,
                   "--account", "alice")
        new = stage.mail.path(elsewhere + "/smtpgate.db")

        def put():
            os.chown(new, 0, stage.mail.path(DB).stat().st_gid)
            new.chmod(0o640)
            # As mv between file systems does it: a new file under the old name.
            stage.mail.run("cp", "-p", elsewhere + "/smtpgate.db", STATE + "/new")
            stage.mail.run("mv", STATE + "/new", DB)

        put()
        assert both() == (stage.barred("alice", OWN), SENT), both()
        for rubbish in (b"", b"rubbish\n" * 4096, new.read_bytes()[:5000]):
            new.write_bytes(rubbish)
            put()
            assert both() == (TROUBLE, TROUBLE), (rubbish[:20], both())


@tap.test
def rights():
    """the policy user reads the store and can do nothing else"""
    with Stage() as stage:
        before = stage.digest(), stage.kernel_prefixes()
        question = "request=smtpd_access_policy\nclient_address={}\nsasl_username={}\n\n".format
        done = stage.as_policy(PROGRAM, "policy", stdin=question(OWN, "alice")
                               + question(OTHER, "alice") + question(OTHER, "bob"))
        refused = (f"REJECT 5.7.1 account alice may not send from {OTHER}; ask the mail "
                   "administrator to list it")
        assert done.out == f"action=DUNNO\n\naction={refused}\n\naction=DUNNO\n\n", done
        assert not done.err, done
        assert stage.as_policy("head", "-c", "15", DB).out == "SQLite format 3"
        for command in (("tee", "-a", DB), ("rm", DB), ("mv", DB, DB + "2"), ("chmod", "666", DB),
                        ("touch", STATE + "/new"), ("ls", BPFFS), ("ls", BPFFS + "/abi1"),
                        ("head", "-c", "1", "/etc/dovecot/users"),
                        ("head", "-c", "1", "/etc/postfix/tls/privkey.pem"),
                        ("ls", mail_relay.QUEUE + "/private"), ("ls", mail_relay.QUEUE + "/active"),
                        ("bpftool", "map", "dump", "pinned", BPFFS + "/abi1/allow4")):
            assert stage.as_policy(*command, ok=None).code != 0, command
        for command in (("add", "198.51.100.1"), ("add", "198.51.100.1", "--account", "bob"),
                        ("delete", OWN, "--account", "alice"), ("disable", "-y"),
                        ("detach", "--all"), ("set", "others", "nowhere")):
            done = stage.as_policy(PROGRAM, "--bpffs", BPFFS, *command, ok=None)
            assert done.code == 4, done
        assert (stage.digest(), stage.kernel_prefixes()) == before
        assert list(stage.mail.path(BPFFS).glob("link_*"))


class Socket:
    """`smtpgate policy` at a socket, started as systemd does it."""

    PATH = "/run/smtpgate/policy.sock"

    def __init__(self, stage):
        self.stage = stage
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = stage.mail.path(self.PATH)
        path.parent.mkdir()
        self.listener.bind(str(path))
        os.chown(path, 0, grp.getgrnam("postfix").gr_gid)
        path.chmod(0o660)
        self.listener.listen(512)
        self.process = None

    def start(self):
        """Starts the service, with the socket as descriptor 3."""
        number = self.listener.fileno()
        self.process = self.stage.mail.start(
            "bash", "-c", f"exec 3<&{number} {number}<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec setpriv "
            f"--reuid=smtpgate --regid=smtpgate --clear-groups {PROGRAM} policy",
            pass_fds=(number,), stdin=subprocess.DEVNULL)

    def stop(self):
        """Kills it."""
        self.stage.signal(signal.SIGKILL, self.stage.pids())
        self.process.wait(5)


@tap.test
def at_a_socket():
    """one process at a systemd socket serves all of Postfix, unprivileged"""
    value = re.search(r"^mua_recipient_restrictions =(.*(?:\n +.*)*)",
                      mail_relay.shipped("relay/postfix/main.cf"), re.M).group(1)
    value = " ".join(value.replace("unix:private/smtpgate", "unix:" + Socket.PATH).split())
    with Stage(postconf=[("-e", "mua_recipient_restrictions=" + value),
                         ("-MX", "smtpgate/unix")]) as stage:
        service = Socket(stage)
        service.start()
        stage.list("host")
        check_rows(stage, rows_of(stage, True, "anywhere"))
        assert len(stage.pids()) == 1, stage.pids()
        with stage.session(OWN) as own, stage.session(OTHER) as other:
            def both():
                return own.mail(f"alice@{DOMAIN}"), other.mail(f"alice@{DOMAIN}")

            assert both() == (SENT, stage.barred("alice", OTHER))
            service.stop()
            service.start()
            assert both() == (SENT, stage.barred("alice", OTHER))
            stage.gate("add", OTHER, "--account", "alice")
            assert both() == (SENT, SENT)
        # The queue of the socket is served even where somebody connects and says nothing.
        silent = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(50)]
        for sock in silent:
            sock.connect(str(stage.mail.path(Socket.PATH)))
        said = mail_relay.attempt(stage.client, MAIL[4], OWN, "alice", USERS["alice"], 587)
        assert said == SENT, said
        for sock in silent:
            sock.close()
        service.stop()
        service.listener.close()


if __name__ == "__main__":
    tap.main()
