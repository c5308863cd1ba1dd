#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares the hand-written vmlinux.h with the kernel's UAPI header, by the compiler."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from tap import main, test  # noqa: E402 pylint: disable=wrong-import-position

HEADER = (ROOT / "vmlinux/vmlinux.h").read_text()


def compile_with(lines):
    """Fails with the compiler's words."""
    source = "#include <stddef.h>\n#include <linux/bpf.h>\n" + "\n".join(lines) + "\n"
    done = subprocess.run(["cc", "-x", "c", "-std=gnu11", "-Wall", "-Werror", "-fsyntax-only", "-"],
                          input=source, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@test
def enumerators():
    """every enumerator of vmlinux.h has the UAPI's value"""
    values = re.findall(r"^\s+(\w+) = (\d+),$", HEADER, re.M)
    assert len(values) >= 7, values
    compile_with(f'_Static_assert({name} == {value}, "{name}");' for name, value in values)


@test
def context():
    """struct xdp_md has the UAPI's fields, in order and size"""
    body = re.search(r"struct xdp_md {(.*?)};", HEADER, re.S).group(1)
    fields = re.findall(r"__u32 (\w+);", body)
    assert fields and len(fields) == body.count(";")
    compile_with(
        [f'_Static_assert(offsetof(struct xdp_md, {field}) == {4 * i}, "{field}");'
         for i, field in enumerate(fields)]
        + [f'_Static_assert(sizeof(struct xdp_md) == {4 * len(fields)}, "size");'])


@test
def types():
    """the integer types have the sizes of the UAPI's"""
    own = re.findall(r"^typedef ([\w ]+) (__\w+);", HEADER, re.M)
    assert len(own) >= 8
    compile_with(
        [f"typedef {kind.replace('__u', 'own__u')} own{name};" for kind, name in own]
        + [f'_Static_assert(sizeof(own{name}) == sizeof({name}), "{name}");' for _, name in own])


main()
