#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The demonstration: a real Postfix is protected by smtpgate, before the reader's eyes.

A mail administrator should see in half a minute what the gate does and what it does not, with the
commands to type. It is also a test: exit 0 only if every cell of every table was as it must be.
"""
import concurrent.futures
import ipaddress
import os
import pathlib
import shlex
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import lab as laboratory
import relay as mail_relay
from relay import REFUSED, SENT, SILENT, USERS, WRONG

MAIL = "192.0.2.25"
OFFICE = "192.0.2.64/26"
LISTED = "198.51.100.10"
NEWSLETTER = "198.51.100.130"
UNLISTED = "203.0.113.66"
PORTS = (587, 465)
USER, OTHER = "alice", "bob"
BARRED_FROM_SHOP = mail_relay.barred(OTHER, LISTED)
BARRED_FROM_NEWSLETTER = mail_relay.barred(USER, NEWSLETTER)
WORDS = {SENT: "250 accepted", REFUSED: "535 refused", SILENT: "no connection",
         BARRED_FROM_SHOP: "554 refused", BARRED_FROM_NEWSLETTER: "554 refused"}


class Demo:
    """The stage and what has gone wrong on it."""

    def __init__(self, lab):
        self.lab = lab
        self.wrong = 0
        self.clients = {}
        internet = lab.host("internet")
        internet.sysctl("ipv4/ip_forward", 1)
        for host, device, address in ((lab.mail, "eth0", MAIL),
                                      (lab.host("shop"), "eth0", LISTED),
                                      (lab.host("newsletter"), "eth0", NEWSLETTER),
                                      (lab.host("stranger"), "eth0", UNLISTED)):
            lab.link(host, device, internet, "to_" + host.name)
            router = str(next(ipaddress.ip_interface(address + "/25").network.hosts()))
            host.address(device, address + "/25")
            internet.address("to_" + host.name, router + "/25")
            host.ip(f"route add default via {router}")
            self.clients[address] = host
        self.relay = mail_relay.Relay(lab.mail)

    def shell(self, *args):
        """Runs smtpgate as the administrator of the mail host would, and shows both."""
        print("\n   $ smtpgate " + shlex.join(args))
        done = self.lab.gate(*args, ok=None)
        for line in (done.out + done.err).rstrip().splitlines():
            print("     " + line)
        if done.code:
            self.wrong += 1
            print(f"   ^ ended with exit code {done.code}: this should have worked")
        sys.stdout.flush()

    def table(self, rows):
        """Sends each mail (all at once) and prints what became of it.

        `rows` is [(source, remark, password, expected)], with an account's name behind it where
        it is not alice's."""
        def one(job):
            (source, _, password, expected, *user), port = job
            return mail_relay.send(self.clients[source], MAIL, source, *(user or [USER]), password,
                                   port, 2 if expected == SILENT else 10)

        jobs = [(row, port) for row in rows for port in PORTS]
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            found = dict(zip(jobs, pool.map(one, jobs)))
        print(f"\n   {'from':<32}{'password':<11}"
              + "".join(f"port {port:<17}" for port in PORTS).rstrip())
        for row in rows:
            source, remark, password, expected, *user = row
            cells = []
            for port in PORTS:
                got = found[row, port]
                cells.append(WORDS.get(got, "something else"))
                if got != expected:
                    self.wrong += 1
                    cells[-1] += " (WRONG)"
                    print(f"   expected {WORDS[expected]}, but: {got}", file=sys.stderr)
            print(f"   {source + ' ' + remark:<32}"
                  f"{'wrong' if password == WRONG else 'right':<11}"
                  + "".join(f"{cell:<22}" for cell in cells).rstrip())
        sys.stdout.flush()

    def must(self, true, what):
        """Something else that has to hold."""
        if not true:
            self.wrong += 1
            print(f"   WRONG: {what}")


def say(text):
    """A paragraph."""
    print("\n" + text, flush=True)


def play(demo):
    """The demonstration itself."""
    right = USERS[USER]
    print(f"""A throw-away mail host and three clients on a network of their own:

   mail host   {MAIL:<15} Postfix with password check (Dovecot) and TLS
   shop        {LISTED:<15} a server that sends mail with {USER}'s password
   newsletter  {NEWSLETTER:<15} a server that sends mail with {OTHER}'s password
   stranger    {UNLISTED:<15} someone who has stolen both passwords""")

    say("1. Without the gate: whoever has the password gets in, wherever from.")
    demo.table([(LISTED, "shop", right, SENT),
                (UNLISTED, "stranger", right, SENT)])

    say("2. On the mail host: put the gate on the network card and list who may come.\n"
        "   The first entry turns it on. (This host takes no mail for a domain from elsewhere,\n"
        "   so port 25 stays guarded.)")
    demo.shell("attach", "eth0")
    demo.shell("add", OFFICE, "--remark", "office network")
    demo.shell("add", LISTED, "--remark", "web shop")
    demo.shell("list")

    say("3. With the gate: the address has to be listed and the password has to be right.\n"
        "   Postfix never even sees the stranger.")
    demo.table([(LISTED, "shop, listed", right, SENT),
                (LISTED, "shop, listed", WRONG, REFUSED),
                (UNLISTED, "stranger", right, SILENT),
                (UNLISTED, "stranger", WRONG, SILENT)])

    say("4. What the gate counted meanwhile.")
    demo.shell("stats")
    demo.shell("blocked")
    demo.shell("status")
    counters = demo.lab.json("status")["counters"]
    demo.must(counters["dropped"] > 0, "no dropped packet was counted")
    demo.must(counters["passed"] > 0, "no passed packet was counted")

    say("5. The shop moves out: its entry is deleted, its next mail is blocked at once.\n"
        "   (The office is still listed. Deleting the last entry would turn the gate off.)")
    demo.shell("delete", LISTED)
    demo.table([(LISTED, "shop, deleted", right, SILENT)])

    say(f"6. The shop is back. And {OTHER} gets a list of his own: his password is good from the\n"
        f"   newsletter server only. {USER.capitalize()} has none and follows the host's list.\n"
        "   The card lets in both servers; Postfix asks `smtpgate policy` which account may\n"
        "   send from which of them.")
    demo.shell("add", LISTED, "--remark", "web shop")
    demo.shell("add", NEWSLETTER, "--account", OTHER, "--remark", "newsletter server")
    demo.shell("list", "--accounts")
    other = USERS[OTHER]
    demo.table([(NEWSLETTER, f"as {OTHER}", other, SENT, OTHER),
                (LISTED, f"shop, as {OTHER}", other, BARRED_FROM_SHOP, OTHER),
                (LISTED, f"shop, as {USER}", right, SENT),
                (NEWSLETTER, f"as {USER}", right, BARRED_FROM_NEWSLETTER),
                (UNLISTED, f"stranger, as {OTHER}", other, SILENT, OTHER)])
    answer, _, why = BARRED_FROM_SHOP.partition("; ")
    print(f"\n   {OTHER.capitalize()}'s password, stolen, is no use even from the shop, which is"
          f" listed:\n     {answer};\n     {why}")


def main():
    """Returns the exit code."""
    if os.geteuid() != 0:
        print("demo: this needs root, because it makes network namespaces and loads a program "
              "into the kernel; run: sudo make demo", file=sys.stderr)
        return 4
    start = time.monotonic()
    with laboratory.Lab() as lab:
        demo = Demo(lab)
        play(demo)
    say(f"All of it has been removed again, but for installed packages ({time.monotonic() - start:.0f} s). "
        + ("Every line was as it must be." if not demo.wrong else
           f"{demo.wrong} things were NOT as they must be (see above)."))
    return 1 if demo.wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything has been removed again", file=sys.stderr)
        sys.exit(130)
    except laboratory.Failed as failure:
        print(f"demo: {failure}", file=sys.stderr)
        sys.exit(1)
