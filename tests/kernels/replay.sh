#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# In the guest: asks progrun there what was asked here, and tells whether the answers are the same.
#
#   replay.sh RECORDING [frags]
#
# Times differ from one kernel to the next; that there is one does not. In older recordings "first"
# and "last" are numbers, too.
times='s/^seen=[1-9][0-9]*/seen=some/; s/first=[1-9][0-9]* last=[1-9][0-9]*$/first=some last=some/'

sed -n 's/^> //p' "$1" | progrun ${2:+"$2"} stats 2>/tmp/replay.err | sed "$times" >/tmp/got
sed -n 's/^< //p' "$1" | sed "$times" >/tmp/want
grep '^processed' /tmp/replay.err
if cmp -s /tmp/want /tmp/got; then
    echo "same $(wc -l </tmp/want)"
else
    echo "different"
    tail -n 5 /tmp/replay.err
    diff /tmp/want /tmp/got | head -n 10 | cut -c 1-200
    exit 1
fi
