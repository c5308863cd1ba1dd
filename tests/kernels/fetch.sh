#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Fetches what "make check-kernels" runs: Debian's kernels, and for arm64 the libraries to build
# with and the emulator where there is none. All of it goes below one directory and nothing is
# installed: apt gets a configuration of its own. The archives are those that this
# machine's own apt is told of, so that its mirror is used.
#
#   tests/kernels/fetch.sh DIR
#
# KERNELS, ARM64_KERNELS: beginnings of versions, or "newest": the newest of all suites asked.
# Leaves DIR/index, a line for each: ARCH WANTED PACKAGE VERSION DIRECTORY, the last two "-" for a
# kernel that the archive did not give; and DIR/sysroot, DIR/qemu.
set -euo pipefail

dir=$1
suites="bullseye bullseye-security bookworm bookworm-security trixie trixie-security
    trixie-backports sid"
# shellcheck source=/dev/null
. /etc/os-release
own=${VERSION_CODENAME:-trixie}
[ "${ID:-}" = debian ] || own=trixie
mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/debs" "$dir/kernels"
dir=$(cd "$dir" && pwd)
log=$dir/fetch.log
: >"$log"

# The archive that the machine takes a suite from: both kinds of files that apt reads.
archive_of() {
    find /etc/apt -maxdepth 2 \( -name '*.list' -o -name '*.sources' \) \
        -exec awk 1 {} + | awk -v suite="$1" '
        /^[[:space:]]*#/ { next }
        $1 == "deb" {
            sub(/\[[^]]*\]/, "")
            if ($3 == suite) found = $2
        }
        $1 == "URIs:" { uri = $2 }
        $1 == "Suites:" { for (i = 2; i <= NF; i++) if ($i == suite) found = uri }
        END { print found }'
}

# The machine's apt may be told to keep no cache (container images are), and would read all lists
# anew for each question.
from_cache() {
    apt-cache -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin "$@"
}

set_up_apt() {
    local main security suite uri
    main=$(archive_of "$own")
    security=$(archive_of "$own-security")
    [ -n "$main" ] || { echo "apt here has no archive of Debian $own" >&2; exit 1; }
    for suite in $suites; do
        uri=$main
        case $suite in *-security) uri=$security ;; esac
        [ -z "$uri" ] ||
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
    done >"$dir/apt/sources.list"
    : >"$dir/apt/status"
    cat >"$dir/apt/conf" <<END
Dir::Etc::sourcelist "$dir/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$dir/apt/lists";
Dir::State::status "$dir/apt/status";
Dir::Cache "$dir/apt/cache";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Install-Recommends "0";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
END
    export APT_CONFIG=$dir/apt/conf
    # A suite that has gone is no reason to go without the others.
    if [ -z "$(find "$dir/apt/updated" -mmin -720 2>/dev/null)" ]; then
        timeout 300 apt-get -q update >>"$log" 2>&1 || true
        touch "$dir/apt/updated"
    fi
}

# PACKAGE VERSION ARCH: prints the file, which is fetched if it is not here yet.
deb() {
    local name
    name=$dir/debs/$1_${2//:/%3a}_$3.deb
    if [ ! -s "$name" ]; then
        (cd "$dir/debs" && timeout 300 apt-get -q download "$1:$3=$2") >>"$log" 2>&1 || return 1
    fi
    [ -s "$name" ] && echo "$name"
}

# META ARCH WANTED: versions of the package that stands for a flavour, best first.
versions() {
    from_cache madison "$1:$2" | awk '{print $3}' | sort -ruV |
        { [ "$3" = newest ] && cat || grep "^${3//./\\.}\." || true; } | head -n 3
}

# PACKAGE VERSION ARCH: what it is made of: itself, or since 7.3 the two that hold its files.
parts() {
    echo "$1"
    from_cache show "$1:$3=$2" | sed -n 's/^Depends: //p' | tr ',' '\n' |
        grep -oE 'linux-(binary|modules)-[^ ]+' | sort -u || true
}

# Of a kernel's thousands of modules, the few that a machine as run.py makes it can want.
needed=('*/vmlinu[xz]*' '*/virtio*.ko*' '*/*failover.ko*' '*/e1000.ko*' '*/*_diag.ko*')

# META ARCH WANTED: a line of the index.
kernel() {
    local version image place part file
    for version in $(versions "$@"); do
        image=$(from_cache show "$1:$2=$version" | sed -n 's/^Depends: //p' |
            grep -oE 'linux-image-[0-9][^ ]*' | head -n 1)
        place=$dir/kernels/$image
        if [ ! -e "$place/complete" ]; then
            rm -rf "$place"
            mkdir -p "$place"
            for part in $(parts "$image" "$version" "$2"); do
                file=$(deb "$part" "$version" "$2") || continue 2
                dpkg-deb --fsys-tarfile "$file" | tar -x -C "$place" --wildcards "${needed[@]}" \
                    2>>"$log" || true # a part does not have all of them
            done
            touch "$place/complete"
        fi
        echo "$2 $3 $image $version $place"
        return
    done
    echo "$2 $3 $1 - -"
}

# What arm64 programs are built with: never run here.
sysroot() {
    local file
    local wanted=(-o APT::Architecture=arm64 -o APT::Architectures=arm64
        -o APT::Default-Release="$own" -o Dir::Cache::archives="$dir/debs" -q --yes install
        libbpf-dev libsqlite3-dev libjansson-dev libncurses-dev libcurl4-openssl-dev
        libmicrohttpd-dev libgcc-12-dev busybox-static)
    [ ! -e "$dir/sysroot/complete" ] || return 0
    apt-get --print-uris "${wanted[@]}" 2>>"$log" | sed -n "s/^'.*' \([^ ]*\.deb\) .*/\1/p" \
        >"$dir/sysroot.list" || return 1
    timeout 300 apt-get --download-only "${wanted[@]}" >>"$log" 2>&1 || return 1
    while read -r file; do
        dpkg-deb -x "$dir/debs/$file" "$dir/sysroot"
    done <"$dir/sysroot.list"
    touch "$dir/sysroot/complete"
}

# The emulator's libraries are those of the one for x86-64, which is a tool that must be there.
qemu() {
    local version file
    [ ! -x "$dir/qemu/usr/bin/qemu-system-aarch64" ] || return 0
    version=$(dpkg-query -W -f '${Version}' qemu-system-x86)
    file=$(deb qemu-system-arm "$version" amd64) || return 1
    dpkg-deb -x "$file" "$dir/qemu"
}

set_up_apt
for wanted in ${KERNELS:-5.10 6.1 6.12 newest}; do
    kernel linux-image-amd64 amd64 "$wanted"
done >"$dir/index"
for wanted in ${ARM64_KERNELS:-5.10 newest}; do
    kernel linux-image-cloud-arm64 arm64 "$wanted"
done >>"$dir/index"
if grep -q '^arm64 .* /' "$dir/index"; then
    sysroot || echo "no libraries for arm64: see $log" >&2
    command -v qemu-system-aarch64 >/dev/null || qemu ||
        echo "no emulator for arm64: see $log" >&2
fi
