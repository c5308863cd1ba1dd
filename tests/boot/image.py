# SPDX-License-Identifier: GPL-2.0-only
"""The disk that "make check-boot" boots from: Debian (12, or $SUITE) with systemd, Postfix and what
smtpgate's package depends on, without smtpgate.

Made once, and again when what it is made of changes. Nothing of the machine is mounted or changed.
Knows nothing of what is tested.
"""
import hashlib
import pathlib
import re
import shutil
import subprocess

from archive import SUITE, lines

HERE = pathlib.Path(__file__).resolve().parent
MEGABYTES = 1800

PACKAGES = """
    systemd-sysv udev dbus kmod iproute2 nftables procps ifupdown initramfs-tools
    linux-image-cloud-amd64 postfix curl ca-certificates python3-minimal
    libbpf1 libelf1 zlib1g libsqlite3-0 libjansson4 libncursesw6 libtinfo6 libcurl4 libmicrohttpd12
    adduser dbus-user-session
""".split()


def key():
    """Names what the image is made of."""
    digest = hashlib.sha256()
    for path in [pathlib.Path(__file__), *sorted((HERE / "root").rglob("*"))]:
        if path.is_file():
            digest.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def build(place):
    """Makes disk, kernel and initrd in a folder."""
    tree = place / "tree"
    tree.mkdir()
    command = ["mmdebstrap", "--mode=root", "--variant=minbase",
               "--include=" + ",".join(PACKAGES), "--aptopt=Acquire::Languages none",
               "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
               "--dpkgopt=path-exclude=/usr/share/locale/*",
               "--essential-hook=echo postfix postfix/main_mailer_type select Internet Site | "
               "chroot \"$1\" debconf-set-selections",
               f"--customize-hook=cp -a {HERE}/root/. \"$1\"; chown -R root: \"$1/etc\" \"$1/usr\"",
               "--customize-hook=chroot \"$1\" sh /usr/lib/test/set-up",
               "--skip=cleanup/apt", SUITE, str(tree), *lines(SUITE)]
    with open(place / "log", "wb") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False,
                              stdin=subprocess.DEVNULL, timeout=900)
    if done.returncode:
        said = (place / "log").read_text(errors="replace")
        raise RuntimeError(f"the image could not be made:\n{said[-3000:]}")
    for name, pattern in (("kernel", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        shutil.copy(sorted((tree / "boot").glob(pattern))[-1], place / name)
    disk = place / "disk"
    with open(disk, "wb") as file:
        file.truncate(MEGABYTES << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(disk)], check=True, timeout=300)
    shutil.rmtree(tree)


def make(root):
    """The folder with disk, kernel and initrd."""
    place = root / key()
    if (place / "complete").exists():
        return place
    root.mkdir(parents=True, exist_ok=True)
    for old in root.glob("*"):
        if re.fullmatch("[0-9a-f]{16}", old.name):
            shutil.rmtree(old)
    place.mkdir()
    build(place)
    (place / "complete").touch()
    return place
