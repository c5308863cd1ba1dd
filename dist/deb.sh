#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# dist/deb.sh TREE: builds Debian's package from a copy of the sources in TREE, whose name ends in
# the version; the results lie beside TREE. A copy, because packaging wants a directory debian/ at
# the top, and must not see what else lies around in a working tree.
# Beside TREE is the original archive too, so that dpkg-source makes a source package of both.
# DEB_ARCH=arm64 cross-builds; LOG=FILE is where what was said goes.
set -euo pipefail

tree=$1
arch=${DEB_ARCH:-$(dpkg --print-architecture)}
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

files() {
    cd "$top"
    git ls-files -z --cached --others --exclude-standard 2>/dev/null ||
        find bpf user include docs dist relay tests vmlinux ./*.md LICENSE Makefile -type f -print0
}

# "make -s deb" would keep the compiler's calls out of the log, and its variables get in.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

rm -rf "$tree"
rm -f "$(dirname "$tree")"/smtpgate*_"$arch".deb # or an older one would be installed along
mkdir -p "$tree"
tree=$(cd "$tree" && pwd)
files | (cd "$top" && while IFS= read -r -d '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file"
done | tar --null -T - -cf -) | tar -xf - -C "$tree"
version=$(dpkg-parsechangelog -l "$tree/dist/debian/changelog" -S Version)
date=$(dpkg-parsechangelog -l "$tree/dist/debian/changelog" -S Timestamp)
tar -C "$(dirname "$tree")" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$date" \
    -cf - "$(basename "$tree")" | gzip -n >"$(dirname "$tree")/smtpgate_${version%-*}.orig.tar.gz"
cp -r "$tree/dist/debian" "$tree/debian"

log=${LOG:-$(dirname "$tree")/smtpgate_${version}_$arch.build}
options=(-b -us -uc)
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
    options+=("-a$arch" "-Pcross,nocheck")
fi
if ! (cd "$tree" && dpkg-buildpackage "${options[@]}") >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "the package was not built; all that was said: $log" >&2
    exit 1
fi
echo "$(dirname "$tree")/smtpgate_${version}_$arch.deb"
