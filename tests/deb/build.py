#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Builds the package for $SUITE, by that suite's own tools, and says where it lies: "make deb SUITE=trixie"."""
import guest

if __name__ == "__main__":
    print(guest.package())
