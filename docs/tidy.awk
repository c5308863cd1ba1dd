# SPDX-License-Identifier: GPL-2.0-only
# Makes what scdoc writes pass mandoc -Tlint: no paragraph without text in it, no long line.

function flush_paragraph() {
    if (pending && !headed)
        print ".P"
    pending = headed = 0
}

# At spaces, but a line never begins with what roff would take for a request.
function wrap(line,    words, n, i, now) {
    n = split(line, words, " ")
    now = words[1]
    for (i = 2; i <= n; i++) {
        if (length(now) + 1 + length(words[i]) > 78 && words[i] !~ /^[.']/) {
            print now
            now = words[i]
        } else {
            now = now " " words[i]
        }
    }
    print now
}

BEGIN { headed = 1 }
# Once more: groff's .TH forgets both.
/^\.TH / { print; print ".nh"; print ".ad l"; next }
$0 == ".P" { pending = 1; next }
# The space behind an indented paragraph comes when it is over.
$0 == ".RE" { print; next }
/^\.S[HS] / { pending = 0; print; headed = 1; next }
$0 == ".nf" { flush_paragraph(); literal = 1; print; next }
$0 == ".fi" { literal = 0; print; next }
/^\./ && !literal && !/^\.RS/ { print; next }
{ flush_paragraph() }
literal || /^\./ { print; next }
{ wrap($0) }
