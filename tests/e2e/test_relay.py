#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A real Postfix behind the gate: the address has to be listed and the password has to be right.

The two factors are only worth something together, so this is tried with the real relay, on both
families and both submission ports, and with the same sources before there is a gate.
"""
import concurrent.futures
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import relay as mail_relay
import tap
from lab import Lab, until
from relay import REFUSED, SENT, SILENT, USERS, WRONG

MAIL = {4: "192.0.2.25", 6: "2001:db8::25"}
LISTED = {4: "192.0.2.10", 6: "2001:db8::10"}
UNLISTED = {4: "192.0.2.66", 6: "2001:db8::66"}
RIGHT = USERS["alice"]


def make(sasl="dovecot"):
    """A relay and a client with a listed and an unlisted address of each family."""
    lab = Lab()
    try:
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        for host, table in ((lab.mail, MAIL), (lab.client, LISTED), (lab.client, UNLISTED)):
            host.address("eth0", table[4] + "/24", table[6] + "/64")
        lab.relay = mail_relay.Relay(lab.mail, sasl)
    except BaseException:
        lab.__exit__()
        raise
    return lab


def sends(lab, *rows):
    """Sends all at once, over both ports; rows are (family, sources, password, expected)."""
    jobs = [(*row, port) for row in rows for port in (587, 465)]

    def one(job):
        family, sources, password, expected, port = job
        return mail_relay.send(lab.client, MAIL[family], sources[family], "alice", password, port,
                               2 if expected == SILENT else 15)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, jobs))
    wrong = [f"IPv{family} {sources[family]} {'right' if password == RIGHT else 'wrong'} password,"
             f" port {port}: expected {expected}, got {got}"
             for (family, sources, password, expected, port), got in zip(jobs, found)
             if got != expected]
    assert not wrong, "\n".join(wrong)
    return sum(got == SENT for got in found)


def family_matrix(family):
    """The four-way matrix, before, with and after the entry."""
    with make() as lab:
        sent = sends(lab, (family, LISTED, RIGHT, SENT), (family, UNLISTED, RIGHT, SENT),
                     (family, UNLISTED, WRONG, REFUSED))
        lab.gate("attach", "eth0")
        lab.gate("add", LISTED[family], "198.51.100.7")
        known = len(lab.relay.log())
        sent += sends(lab, (family, LISTED, RIGHT, SENT), (family, LISTED, WRONG, REFUSED),
                      (family, UNLISTED, RIGHT, SILENT), (family, UNLISTED, WRONG, SILENT))
        assert lab.json("status")["counters"]["dropped"] > 0
        log = lab.relay.log()[known:]
        assert f"connect from unknown[{LISTED[family]}]" in log
        assert UNLISTED[family] not in log, "the relay has seen the unlisted source"
        lab.gate("delete", LISTED[family])
        sends(lab, (family, LISTED, RIGHT, SILENT), (family, UNLISTED, RIGHT, SILENT))
        lab.gate("disable", "-y")
        sent += sends(lab, (family, LISTED, RIGHT, SENT), (family, LISTED, WRONG, REFUSED))
        until(lambda: lab.relay.delivered() >= sent)
        assert lab.relay.delivered() == sent


@tap.test
def matrix4():
    """IPv4: listed or not, password right or wrong, 587 and 465; then deleted, then disabled"""
    family_matrix(4)


@tap.test
def matrix6():
    """IPv6: the same"""
    family_matrix(6)


@tap.test
def only_tls():
    """the test's own relay takes a password over TLS only, and none on port 25"""
    with make() as lab:
        for port, extra in ((25, ("-tls",)), (25, ()), (587, ())):
            done = lab.client.run("swaks", "--server", MAIL[4], "--port", port, *extra,
                                  "--local-interface", LISTED[4], "--auth", "PLAIN",
                                  "--auth-user", "alice", "--auth-password", RIGHT, "--from",
                                  "alice@mail.example", "--to", "x@elsewhere.example", ok=None)
            assert done.code == 28 and "did not advertise authentication" in done.out + done.err, \
                done
        lab.relay.stop()


@tap.test
def port_25():
    """port 25 takes mail for the host itself, relays for nobody, lets no one use our addresses"""
    with make() as lab:
        for sender, recipient, expected in (
                ("x@other.example", "postmaster@relay.mail.example", SENT),
                ("", "postmaster@relay.mail.example", SENT),
                ("x@other.example", "postmaster", SENT),
                ("x@other.example", "no-one@relay.mail.example",
                 "550 5.1.1 <no-one@relay.mail.example>: Recipient address rejected: User unknown "
                 "in local recipient table"),
                ("x@other.example", "y@elsewhere.example",
                 "554 5.7.1 <y@elsewhere.example>: Relay access denied"),
                ("x@other.example", "alice@mail.example",
                 "554 5.7.1 <alice@mail.example>: Relay access denied"),
                *((sender, "postmaster@relay.mail.example",
                   f"554 5.7.1 <{sender}>: Sender address rejected: to send as this domain, log in "
                   "on port 465 or 587")
                  for sender in ("alice@mail.example", "no-one@mail.example", "x@a.mail.example"))):
            with mail_relay.Session(lab.client, MAIL[4], LISTED[4], 25) as session:
                said = session.mail(sender, recipient)
                assert said == expected, f"<{sender}>: expected {expected!r}, got {said!r}"


@tap.test
def settings():
    """Postfix and Dovecot find nothing to complain about in the files of relay/"""
    for sasl in ("dovecot", "cyrus"):
        with make(sasl) as lab:
            said = mail_relay.attempt(lab.client, MAIL[4], LISTED[4], "alice", RIGHT, 587)
            assert said == SENT, said
            for command in (("postconf", "-n"), ("postconf", "-M"), ("postconf", "-P"),
                            *([("doveconf", "-n")] if sasl == "dovecot" else [])):
                done = lab.mail.run(*command)
                assert not done.err, done
            assert not re.search("warning|error|fatal", lab.relay.log()), lab.relay.log()


@tap.test
def example_users():
    """nobody logs in with the example of a users file as it is"""
    with make() as lab:
        lab.relay.file("/etc/dovecot/users", mail_relay.shipped("relay/dovecot/users.example"),
                       group="dovecot", mode=0o640)
        for password in ("*", "", RIGHT):
            with mail_relay.Session(lab.client, MAIL[4], LISTED[4], 587) as session:
                said = session.login("alice", password)
                assert said == REFUSED, (password, said)


if __name__ == "__main__":
    tap.main()
