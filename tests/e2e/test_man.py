#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What stands in the man page under EXAMPLES works, in that order, on a host with an eth0."""
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import lab  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

PAGE = lab.ROOT / "docs" / "smtpgate.8.scd"


def literals(section):
    """The literal blocks of a section, each a list of lines."""
    text = PAGE.read_text(encoding="utf-8")
    body = re.search(rf"^# {section}\n(.*?)(?=^# [A-Z ]+$|\Z)", text, re.M | re.S).group(1)
    blocks = re.findall(r"^```\n(.*?)^```$", body, re.M | re.S)
    return [block.strip().split("\n") for block in blocks]


def host(stand):
    """A directory with the program in it, and an interface."""
    mail = stand.mail
    mail.ip("link add eth0 type veth peer name p0", "link set eth0 up", "link set p0 up")
    mail.path(lab.MNT + "/bin").mkdir()
    mail.path(lab.MNT + "/bin/smtpgate").symlink_to(lab.PROGRAM)
    return dict(stand.env, PATH=f"{lab.MNT}/bin:{stand.env['PATH']}")


@tap.test
def examples():
    """every line of EXAMPLES ends with 0"""
    blocks = literals("EXAMPLES")
    lines = [line for block in blocks for line in block]
    assert len(blocks) > 3 and len(lines) > 10, lines
    with lab.Lab() as stand:
        env = host(stand)
        for line in lines:
            assert re.match(r"smtpgate( -|\b)", line), line
            stand.mail.run("bash", "-c", f"cd {lab.MNT} && {line}", env=env, ok=0)


@tap.test
def list_file():
    """the list file that is shown can be imported, and says what it seems to"""
    form, file = literals("LIST FILES")
    assert form[0].startswith("WHO  [until=TIME]"), form
    with lab.Lab() as stand:
        env = host(stand)
        stand.mail.run("smtpgate", "-q", "import", "-", stdin="\n".join(file) + "\n", env=env)
        seen = stand.mail.run("smtpgate", "-j", "list", env=env).json["entries"]
    assert [(e["who"], e["remark"], e["account"], e["expires"]) for e in seen] == [
        ("198.51.100.0/24", "Hamburg", None, None),
        ("2001:db8:7::/48", "", None, None),
        ("192.0.2.10-192.0.2.40", "", None, "2099-12-01T17:00:00Z"),
        ("203.0.113.7", "her server", "alice", None)], seen


if __name__ == "__main__":
    tap.main()
