# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of killing and of healing share: a gated mail host, and the oracle.

The oracle is Python's ipaddress module over what `list` shows, against what bpftool reads from the
kernel; neither asks smtpgate whether all is well.
"""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
from lab import BPFFS, GUARDED, MNT, PROGRAM, STATE, Lab, connect_all, expect

MAIL = "192.0.2.25"
LISTED, UNLISTED, NEW = "192.0.2.10", "192.0.2.66", "192.0.2.77"
RANGE = "198.51.100.3-198.51.100.97"
SEGMENT6 = "2001:db8:5::/48"
DATABASE = STATE + "/smtpgate.db"
MAPS = BPFFS + "/abi1"
POINTS = 8                      # kills for each command, unless LONG
LONG = bool(os.environ.get("LONG"))
TELLING = ("BPF_MAP_UPDATE", "BPF_MAP_DELETE", "BPF_LINK_", "BPF_OBJ_PIN", "fdatasync", "fsync",
           "unlink", "pwrite64", "flock", "munmap")


def make(attach=True, list_it=True, state_size=None):
    """A gated mail host with some entries; the unlisted source is never added anywhere."""
    lab = Lab()
    try:
        if state_size:
            lab.mail.run("mkdir", "-m", "700", STATE)
            lab.mail.run("mount", "-t", "tmpfs", "-o", f"size={state_size},mode=700", "tmpfs",
                         STATE)
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        lab.mail.address("eth0", MAIL + "/24")
        lab.client.address("eth0", *(a + "/24" for a in (LISTED, UNLISTED, NEW)))
        lab.mail.listen(*GUARDED)
        if attach:
            lab.gate("attach", "eth0")
        if list_it:
            lab.gate("add", LISTED)
            lab.gate("add", RANGE)
            lab.gate("add", SEGMENT6)
    except BaseException:
        lab.__exit__()
        raise
    return lab


def closed(lab, listed=LISTED):
    """The listed source gets in, the unlisted does not."""
    expect(lab.client, [(listed, MAIL, 587, "open")]
           + [(UNLISTED, MAIL, port, "timeout") for port in GUARDED])


def unlisted_gets_in(lab, port=587):
    """Is the gate open? Not long waited for: this is asked very often."""
    return connect_all(lab.client, [(UNLISTED, MAIL, port, "timeout")], quiet=0.15) == ["open"]


def in_step(lab):
    """status and the oracle agree that all is well."""
    lab.gate("status", "--check")
    assert lab.json("status")["in_sync"] is True
    equal(lab)


def equal(lab):
    """The kernel holds exactly the prefixes of the list as shown."""
    kernel, store = lab.kernel_prefixes(), lab.stored_prefixes()
    assert kernel == store, f"only in the kernel: {kernel - store}, only listed: {store - kernel}"


def snapshot(lab):
    """All that must not change: the list and the kernel's half."""
    return (lab.json("list")["entries"] and
            [(e["id"], e["who"], e["remark"]) for e in lab.json("list")["entries"]],
            lab.kernel_prefixes(), {k: v for k, v in lab.config().items() if k != "applied"},
            lab.link_pins())


def traced(lab, *args, inject, ok):
    """Runs an smtpgate command with something injected into its system calls."""
    return lab.mail.run("strace", "-f", "-qq", "-o", "/dev/null", "-e",
                        f"trace={inject.partition(':')[0]}", "-e", f"inject={inject}", PROGRAM,
                        *args, env=lab.env, ok=ok)


def calls(lab, *args):
    """The system calls of a command: [(name, how many of that name so far, line)]."""
    log = MNT + "/calls"
    lab.mail.run("strace", "-f", "-qq", "-o", log, PROGRAM, *args, env=lab.env)
    seen, found = {}, []
    for line in lab.mail.path(log).read_text("utf-8", "replace").splitlines():
        text = line.partition(" ")[2].lstrip()
        name = text.partition("(")[0]
        if not name.replace("_", "").isalnum() or "resumed>" in text:
            continue
        seen[name] = seen.get(name, 0) + 1
        found.append((name, seen[name], text))
    return found


def moments(found):
    """Where to kill: all calls, or some that lie around a change of store or kernel."""
    if LONG:
        return found[1:]        # not the execve
    start = next(i for i, call in enumerate(found) if call[0] == "flock")
    telling = [call for call in found[start:] if any(t in call[2] for t in TELLING)]
    if len(telling) <= POINTS:
        return telling
    return [telling[i * (len(telling) - 1) // (POINTS - 1)] for i in range(POINTS)]
