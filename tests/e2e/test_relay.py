#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A real Postfix behind the gate: the address has to be listed and the password has to be right.

The two factors are only worth something together, so this is tried with the real relay, on both
families and both submission ports, and with the same sources before there is a gate.
"""
import concurrent.futures
import pathlib
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


def make():
    """A relay and a client with a listed and an unlisted address of each family."""
    lab = Lab()
    try:
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        for host, table in ((lab.mail, MAIL), (lab.client, LISTED), (lab.client, UNLISTED)):
            host.address("eth0", table[4] + "/24", table[6] + "/64")
        lab.relay = mail_relay.Relay(lab.mail)
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


if __name__ == "__main__":
    tap.main()
