#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Installs what building, testing and the demo need (Debian 12 and later), if it is missing.
# Further packages may be named: what only some targets want. --build in front: only what building
# needs, as the tests' Postfix would take another relay off the host.
# Never starts a service: Postfix and Dovecot are run by the tests from private directories.
set -euo pipefail

build=(
    gcc make clang llvm libbpf-dev libelf-dev zlib1g-dev bpftool libsqlite3-dev libjansson-dev
    libcurl4-openssl-dev libmicrohttpd-dev libncurses-dev pkg-config libc6-dev linux-libc-dev
    scdoc python3 git
)
packages=(
    "${build[@]}"
    # tests
    # libclang-rt-dev goes with the version that clang is, as both come from the same defaults
    libcmocka-dev libclang-rt-dev clang-format clang-tidy cppcheck shellcheck strace valgrind sqlite3
    iproute2 ethtool procps util-linux ca-certificates nftables iptables tmux
    # benches
    ipset xdp-tools
    # man page, completions, JSON Schemas
    mandoc zsh fish bash-completion python3-jsonschema
    # metrics as others read them
    prometheus python3-prometheus-client
    # the Ansible role and cloud-init's user-data
    ansible-core python3-yaml
    # demo: the throw-away mail host and its clients; systemd's tools make its user and check
    # units, and its udevd finds cards
    postfix dovecot-core sasl2-bin libsasl2-modules openssl swaks libnet-ssleay-perl
    libio-socket-inet6-perl systemd udev
)

if [ "${1:-}" = --build ]; then
    shift
    packages=("${build[@]}")
fi
packages+=("$@")

missing=()
for package in "${packages[@]}"; do
    # shellcheck disable=SC2016 # the format is dpkg-query's
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "missing packages: ${missing[*]}" >&2
    echo "run this as root once: sudo make deps" >&2
    exit 1
fi

policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() {
    if [ -n "$made_policy" ]; then
        rm -f "$policy"
    fi
}
trap cleanup EXIT
if [ ! -e "$policy" ]; then
    made_policy=1
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
log=$(mktemp)
if ! { apt-get -q update && apt-get -q install -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
