#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What documents say to type works. docs/EMERGENCY.md: the first block of a section lets in who is
locked out, the second one goes back; who reads that page has no time for one that is out of date.
docs/QUICKSTART.md: its lines, in order, end with 0, and what they lead to is the case."""
import contextlib
import os
import re
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import lab  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

PINS, STORED = "/sys/fs/bpf/smtpgate", "/var/lib/smtpgate"
MAIL, LISTED, LOCKED_OUT = "203.0.113.25", "203.0.113.7", "203.0.113.66"
SAYS_NO = "smtpgate check "
NOT_HERE = ("systemctl ", "ln -s ", "mv ")     # what is for the boot
# Not on this stage; doctor would wait for a server that says nothing (test_doctor.py has one that does).
ELSEWHERE = ("systemctl ", "make ", "apt ", "swaks ", "smtpgate doctor")


def sections(page="EMERGENCY"):
    """[(title, [blocks of lines])] of those with commands."""
    found = []
    text = (lab.ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        blocks = [[line.strip() for line in block.strip().splitlines()]
                  for block in re.findall(r"(?:^    .*\n)+", body, re.M)]
        if blocks:
            found.append((title, blocks))
    return found


class Stage:
    """A mail host that keeps one client out, with a gate of its own for each section."""

    def __init__(self, stand):
        self.mail, self.client = stand.mail, stand.host("client")
        stand.link(self.mail, "eth0", self.client, "eth0")
        self.mail.address("eth0", MAIL + "/24")
        self.client.address("eth0", LISTED + "/24", LOCKED_OUT + "/24")
        self.server = self.mail.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.server.bind((MAIL, 587))
        self.server.listen(64)
        self.server.setblocking(False)
        (self.mail.path(lab.MNT) / "bin").mkdir()
        (self.mail.path(lab.MNT) / "bin" / "smtpgate").symlink_to(lab.PROGRAM)
        self.env = dict(stand.env, PATH=f"{lab.MNT}/bin:{stand.env['PATH']}")

    def run(self, line, ok=0):
        """Types a line, with the directories of this stage."""
        line = line.replace(PINS, self.env["SMTPGATE_BPFFS"]).replace("/root/", lab.MNT + "/")
        line = line.replace(STORED, self.env["SMTPGATE_STATE"])
        self.mail.run("bash", "-c", line, env=self.env, ok=ok)

    def begin(self, name):
        """As it is before a section."""
        self.env.update(SMTPGATE_STATE=f"{lab.MNT}/{name}", SMTPGATE_BPFFS=f"{lab.MNT}/bpf/{name}")
        for line in (f"add {LISTED} {LOCKED_OUT}", "attach eth0", f"-y delete {LOCKED_OUT}"):
            self.run("smtpgate -q " + line)
        self.expect("timeout")

    def expect(self, outcome):
        """What becomes of a connection of who was locked out; who is listed gets in always."""
        lab.expect(self.client, [(LOCKED_OUT, MAIL, 587, outcome), (LISTED, MAIL, 587, "open")])
        with contextlib.suppress(BlockingIOError):
            while True:     # or the host would say that they are connected
                self.server.accept()[0].close()


@tap.test
def commands():
    """each section's commands let in who is locked out, and go back"""
    tried = 0
    with lab.Lab() as stand:
        stage = Stage(stand)
        for number, (title, blocks) in enumerate(sections()):
            if title == "Not at the next boot":
                continue
            stage.begin(f"s{number}")
            for turn, block in enumerate(blocks):
                assert not any(line.startswith(NOT_HERE) for line in block), block
                for line in block:
                    stage.run(line, ok=1 if line.startswith(SAYS_NO) else 0)
                stage.expect("timeout" if turn % 2 else "open")
                tried += 1
            stage.run("smtpgate detach --all")
    assert tried >= 14, tried


@tap.test
def boot():
    """without a store nothing is attached, and sync says so"""
    blocks = dict(sections())["Not at the next boot"]
    assert all(line.startswith(NOT_HERE) for block in blocks for line in block), blocks
    with lab.Lab() as stand:
        stage = Stage(stand)
        stage.begin("boot")
        stage.run(f"rm -r {PINS}; {blocks[-1][0]}")     # as a boot leaves the kernel
        stage.run("smtpgate sync", ok=5)
        stage.expect("open")
        stage.run(f"mv /root/smtpgate.db {STORED}/ && smtpgate sync")
        stage.expect("timeout")


@tap.test
def resists():
    """ip link set xdp off does not take the gate off"""
    with lab.Lab() as stand:
        stage = Stage(stand)
        stage.begin("resists")
        stage.run("ip link set dev eth0 xdp off", ok=(0, 2))
        stage.expect("timeout")


@tap.test
def quick_start():
    """the lines of the quick start end with 0: first nobody is dropped, then who is not listed"""
    with lab.Lab() as stand:
        stage = Stage(stand)
        stage.mail.ip("route add default dev eth0")
        for title, blocks in sections("QUICKSTART"):
            for line in (line for block in blocks for line in block):
                if not line.startswith(ELSEWHERE):
                    stage.run(line)
                if line.startswith("smtpgate detach"):
                    stage.expect("open")
            if title.startswith(("4", "5")):
                stage.expect("open")
            if title.startswith(("6", "7", "8", "10")):
                stage.expect("timeout")


if __name__ == "__main__":
    tap.main()
