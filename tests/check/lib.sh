# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What the check scripts share: the repository's root as working directory, a scratch directory,
# and TAP. Knows no tool.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tap_number=0
tap_failed=0

# tap NAME COMMAND...: passes if the command does; what it printed is shown if it does not.
tap() {
    local name=$1 out=$scratch/tap.out
    shift
    tap_number=$((tap_number + 1))
    if "$@" >"$out" 2>&1; then
        echo "ok $tap_number - $name"
    else
        tap_failed=1
        echo "not ok $tap_number - $name"
        sed 's/^/# /' "$out"
    fi
}

# Prints the files in git that match the patterns and are there, one a line.
tracked() {
    # The tree may belong to someone else when root runs the tests.
    git -c safe.directory='*' ls-files -- "$@" | while IFS= read -r file; do
        [ ! -f "$file" ] || printf '%s\n' "$file"
    done
}

# A check that looks at nothing must not pass.
some() {
    [ -s "$1" ] || { echo "no files to look at: is this a git checkout?"; return 1; }
}

finish() {
    exit "$tap_failed"
}
