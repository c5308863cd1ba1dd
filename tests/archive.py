# SPDX-License-Identifier: GPL-2.0-only
"""Debian's suites, for tests that make a chroot or a disk of one: where this machine's apt gets them
from, and which one the machine itself is. Nothing of the machine is changed.
"""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

SUITE = os.environ.get("SUITE") or "bookworm"   # the one that is asked for
MAIN, SECURITY = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"


def own():
    """The suite that this machine is of; none where it is no Debian."""
    text = pathlib.Path("/etc/os-release").read_text(encoding="utf-8")
    found = dict(re.findall(r'^(\w+)="?(.*?)"?$', text, re.M))
    return found.get("VERSION_CODENAME", "") if found.get("ID") == "debian" else ""


def foreign():
    """Is the suite that is asked for another one than this machine's?"""
    return SUITE != own()


def place(build, name):
    """Where below `build` the suite has its things: where they always were, or a directory of its own."""
    return build / (f"{name}-{SUITE}" if foreign() else name)


def archive_of(suite, fallback):
    """The archive that this machine's apt takes a suite from."""
    for path in sorted(pathlib.Path("/etc/apt").glob("**/*")):
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        for part in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")):
            listed = re.search(rf"^deb\s+(?:\[.*?\]\s*)?(\S+)\s+{suite}\s", part, re.M)
            uris = re.search(r"^URIs:\s*(\S+)", part, re.M)
            suites = re.search(r"^Suites:(.*)", part, re.M)
            if listed:
                return listed.group(1)
            if uris and suites and suite in suites.group(1).split():
                return uris.group(1)
    return fallback


def lines(suite):
    """What apt has to be told to install from a suite. One that this machine does not use comes from
    where its own does: all suites lie in one archive."""
    main = archive_of(suite, archive_of(own() or suite, MAIN))
    security = archive_of(suite + "-security", archive_of((own() or suite) + "-security", SECURITY))
    return [f"deb {main} {suite} main", f"deb {security} {suite}-security main"]


def chroot(place, name, suite, packages, *options):
    """A directory in `place` with these packages, in which nothing is ever changed: made once, and
    again when what it is made of is something else."""
    wanted = [suite, ",".join(packages), *options, *lines(suite)]
    key = hashlib.sha256("\0".join(wanted).encode()).hexdigest()[:8]
    made = place / f"{name}-{suite}-{key}"
    if made.exists():
        return made
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob(f"{name}-{suite}*"):
        shutil.rmtree(old)
    half = made.with_suffix(".tmp")
    # What it mounts in there goes with it, also where it is killed.
    done = subprocess.run(["unshare", "--mount", "mmdebstrap", "--quiet", "--variant=minbase",
                           "--include=" + wanted[1], *options, suite, str(half), *lines(suite)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=1800, check=False)
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace")
        raise RuntimeError(f"no chroot of {suite} could be made:\n{said[-3000:]}")
    half.rename(made)
    return made
