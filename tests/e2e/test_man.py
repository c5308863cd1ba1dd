#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What stands in smtpgate(8) under EXAMPLES works, in that order, on a host with an eth0, and the
files that smtpgate(8) and smtpgate-list(5) show are read, or refused, as they say."""
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import lab  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

PAGE = lab.ROOT / "docs" / "smtpgate.8.scd"
LIST = lab.ROOT / "docs" / "smtpgate-list.5.scd"
END = "2099-12-01T17:00:00Z"


def literals(section, page=PAGE):
    """The literal blocks of a section, each a list of lines."""
    text = page.read_text(encoding="utf-8")
    body = re.search(rf"^# {section}\n(.*?)(?=^# [A-Z ]+$|\Z)", text, re.M | re.S).group(1)
    blocks = re.findall(r"^```\n(.*?)^```$", body, re.M | re.S)
    return [block.strip("\n").split("\n") for block in blocks]


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
        seen = imported(stand.mail, host(stand), 0, file)
    assert seen == OFFICES, seen


OFFICES = [("198.51.100.0/24", "Hamburg", None, None),
           ("2001:db8:7::/48", "", None, None),
           ("192.0.2.10-192.0.2.40", "", None, END),
           ("203.0.113.7", "her server", "alice", None)]

# Of each block in turn; ends that are counted from now are only said to be there.
BLOCKS = [
    OFFICES,
    [("203.0.113.1", 'a "remark", with # in it', "new name%", END),
     ("203.0.113.1/32", "", None, None), ("2001:db8::1", "", None, None)],
    [("198.51.100.0/24", "Hamburg, 2nd floor", None, None),
     ("203.0.113.7", "her server", "alice", END)],
    [("198.51.100.0/24", "Hamburg, 2nd floor", None, None),
     ("203.0.113.7", "her server", "alice", END)],
    [("198.51.100.0/24", "Hamburg, 2nd floor", None, None), ("203.0.113.7", "", None, "some")],
    [("198.51.100.0/24", "Hamburg, 2nd floor", None, None),
     ("192.0.2.10-192.0.2.40", "", None, "some")],
    [("198.51.100.0/24", "Hamburg, 2nd floor", None, None), ("203.0.113.7", "", None, None)],
]


def imported(mail, env, number, lines):
    """What is in an empty list when these lines have been imported into it."""
    env = dict(env, SMTPGATE_STATE=f"{lab.MNT}/state{number}")
    mail.run("smtpgate", "-q", "import", "-", stdin="\n".join(lines) + "\n", env=env, ok=0)
    seen = mail.run("smtpgate", "-j", "list", env=env).json["entries"]
    copied = mail.run("smtpgate", "export", env=env, ok=0).out
    assert mail.run("smtpgate", "-q", "diff", "-", stdin=copied, env=env, ok=0).out == "", copied
    return [(e["who"], e["remark"], e["account"], e["expires"]) for e in seen]


@tap.test
def list_page():
    """smtpgate-list(5): files of every format that are shown are read, and say what they seem to"""
    blocks = [block for section in ("DESCRIPTION", "LINES", "OTHER FORMATS")
              for block in literals(section, LIST)]
    assert len(blocks) == len(BLOCKS), blocks
    with lab.Lab() as stand:
        env = host(stand)
        for number, (lines, want) in enumerate(zip(blocks, BLOCKS)):
            seen = imported(stand.mail, env, number, lines)
            seen = [(*e[:3], "some" if e[3] and w[3] == "some" else e[3])
                    for e, w in zip(seen, want)]
            assert seen == want, (lines, seen)


@tap.test
def list_refused():
    """smtpgate-list(5): what is refused is, with these words, and told as it is shown"""
    lines, told = literals("REFUSED", LIST)
    pairs = list(zip(lines[::2], lines[1::2]))
    assert len(pairs) > 10 and all(text.startswith("\t") for _, text in pairs), pairs
    with lab.Lab() as stand:
        env = host(stand)
        for line, text in pairs:
            said = stand.mail.run("smtpgate", "import", "-", stdin=line + "\n", env=env, ok=2)
            assert "standard input:1:" in said.err and text.strip() in said.err, (line, said.err)
        stand.mail.path(f"{lab.MNT}/offices.list").write_text("192.0.2.1\n192.0.2.300 # typo\n",
                                                              encoding="utf-8")
        said = stand.mail.run("bash", "-c", f"cd {lab.MNT} && smtpgate import offices.list",
                              env=env, ok=2)
        form = ".*".join(map(re.escape, "\n".join(told).split(" ...")))
        assert re.fullmatch(form + "\n", said.err), said.err


if __name__ == "__main__":
    tap.main()
