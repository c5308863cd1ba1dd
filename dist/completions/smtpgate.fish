# SPDX-License-Identifier: GPL-2.0-only
# Completion of smtpgate for fish. tests/check/check_docs holds what it offers against the command
# table.

# The words of the line that are no options, the program's name first.
function __smtpgate_words
    set -l skip 0
    for word in (commandline -opc)
        if test $skip = 1
            set skip 0
        else if contains -- $word --account --bpffs --confirm --every --for --format --listen \
                --mode --remark --since --state --textfile --top --trouble --unused --until --wait --with
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Is it one of these commands? Without any: is there none yet?
function __smtpgate_is
    set -l words (__smtpgate_words)
    if test (count $argv) = 0
        test (count $words) = 1
    else
        test (count $words) -gt 1; and contains -- $words[2] $argv
    end
end

# So many words after the command.
function __smtpgate_after
    test (count (__smtpgate_words)) = (math 2 + $argv[1])
end

# Is it a value that is wanted, of one of these settings?
function __smtpgate_sets
    set -l words (__smtpgate_words)
    __smtpgate_is set; and __smtpgate_after 1; and contains -- $words[3] $argv
end

# What smtpgate says with -j of the store that is meant. Quiet, and cut off where it is very long.
function __smtpgate_json
    set -l where
    set -l words (commandline -opc)
    for i in (seq (count $words))
        switch $words[$i]
            case --state --bpffs
                set -a where $words[$i] $words[(math $i + 1)]
            case '--state=*' '--bpffs=*'
                set -a where $words[$i]
        end
    end
    set -lx PATH $PATH /usr/local/sbin /usr/sbin
    command smtpgate -j $where $argv 2>/dev/null | head -c 65536
end

# What a list holds, by the key of a member.
function __smtpgate_ask
    set -l key $argv[1]
    __smtpgate_json $argv[2..-1] |
        string match -ar '"'$key'":"[A-Za-z0-9@._:/+-]+"' | string split -f 4 '"'
end

# The changes that could be taken back, newest first.
function __smtpgate_changes
    __smtpgate_json history | string match -ar '"id":[0-9]+' | string replace '"id":' '#'
end

# The interfaces that the gate is to be on; where that cannot be read, all there are.
function __smtpgate_attached
    set -l names (__smtpgate_ask name status)
    test -n "$names"; or set names (path basename /sys/class/net/*)
    printf '%s\n' $names
end

# The entries of the list that is meant.
function __smtpgate_entries
    set -l words (commandline -opc)
    set -l at (contains -i -- --account $words)
    set -l list
    test -n "$at"; and set list --account $words[(math $at + 1)]
    __smtpgate_ask who list $list
end

complete -c smtpgate -f

complete -c smtpgate -s j -l json -d 'one JSON object on standard output'
complete -c smtpgate -s n -l dry-run -d 'show what would change'
complete -c smtpgate -s y -l yes -d 'ask no questions'
complete -c smtpgate -s q -l quiet -d 'only what was asked for'
complete -c smtpgate -s v -l verbose -d 'all lines, and the words of libbpf'
complete -c smtpgate -l state -x -a '(__fish_complete_directories)' -d 'where the list is stored'
complete -c smtpgate -l bpffs -x -a '(__fish_complete_directories)' -d 'where the gate is pinned'
complete -c smtpgate -s h -l help -d 'what help COMMAND shows'
complete -c smtpgate -l version -d 'the program\'s version'

# Commands, and help COMMAND.
for row in \
        'attach:put the gate on interfaces' \
        'detach:take it off' \
        'add:let sources in' \
        'edit:change remark or end' \
        'delete:remove entries' \
        'list:the entries' \
        'check:is it let in, by which?' \
        'disable:clear the list, open' \
        'observe:drop nothing, count' \
        'enforce:drop the unlisted' \
        'preview:who would be cut off' \
        'confirm:stay with enforce --confirm' \
        'pause:let all pass for a while' \
        'history:who changed what, when' \
        'undo:take changes back' \
        'status:state and health' \
        'stats:packets by reason' \
        'blocked:who was dropped' \
        'watch:who is blocked, live' \
        'import:add the entries of a file' \
        'apply:make the list equal to one' \
        'diff:what apply would change' \
        'export:the entries as a file' \
        'set:ports, limit, others, realm' \
        'policy:Postfix\'s policy service' \
        'metrics:counters for Prometheus' \
        'exporter:metrics over HTTP' \
        'sync:make kernel equal to store' \
        'doctor:is every way in guarded?' \
        'help:this, or a command\'s'
    set -l parts (string split -m 1 : $row)
    complete -c smtpgate -n __smtpgate_is -a $parts[1] -d $parts[2]
    complete -c smtpgate -n '__smtpgate_is help; and __smtpgate_after 0' -a $parts[1] -d $parts[2]
end

complete -c smtpgate -n '__smtpgate_is add check delete disable edit list' -l account -x \
    -a '(__smtpgate_ask account list --accounts)' -d 'the list of one SMTP account'
complete -c smtpgate -n '__smtpgate_is list' -l accounts -d 'the lists'
complete -c smtpgate -n '__smtpgate_is detach' -l all -d 'all interfaces'
complete -c smtpgate -n '__smtpgate_is disable' -l all -d 'all lists'
complete -c smtpgate -n '__smtpgate_is status' -l check -d 'exit 1 if not in order'
complete -c smtpgate -n '__smtpgate_is sync' -l boot -d 'one not there yet is no failure'
complete -c smtpgate -n '__smtpgate_is enforce' -l confirm -x -d 'go back by itself'
complete -c smtpgate -n '__smtpgate_is delete list' -l expired -d 'the entries whose time is over'
complete -c smtpgate -n '__smtpgate_is add edit' -l for -x -d 'how long: 90s, 15m, 8h, 7d'
complete -c smtpgate -n '__smtpgate_is edit' -l forever -d 'without an end'
complete -c smtpgate -n '__smtpgate_is apply diff import preview' -l format -x \
    -a 'list csv json ipset nft postfix' -d 'format of the file'
complete -c smtpgate -n '__smtpgate_is export' -l format -x -a 'list csv json' -d format
complete -c smtpgate -n '__smtpgate_is apply delete enforce' -l kick -d 'also end open sessions'
complete -c smtpgate -n '__smtpgate_is list' -l lint -d 'what could be better'
complete -c smtpgate -n '__smtpgate_is metrics' -l format -x -a 'prometheus openmetrics' -d format
complete -c smtpgate -n '__smtpgate_is exporter' -l listen -x -d 'where to listen'
complete -c smtpgate -n '__smtpgate_is attach' -l mode -x -a 'auto native generic' -d how
complete -c smtpgate -n '__smtpgate_is doctor' -l nagios -d 'as a monitoring plugin'
complete -c smtpgate -n '__smtpgate_is preview' -l names -d 'also names, by DNS'
complete -c smtpgate -n '__smtpgate_is add edit' -l remark -x -d 'who or what is behind it'
complete -c smtpgate -n '__smtpgate_is blocked' -l since -x -d 'those that came since'
complete -c smtpgate -n '__smtpgate_is metrics' -l textfile -r -F -d 'into a file'
complete -c smtpgate -n '__smtpgate_is blocked' -l top -x -d 'those with the most packets'
complete -c smtpgate -n '__smtpgate_is policy' -l trouble -x -a 'defer reject dunno' \
    -d 'when the list cannot be read'
complete -c smtpgate -n '__smtpgate_is add edit' -l until -x -d 'until when'
complete -c smtpgate -n '__smtpgate_is list' -l unused -x -d 'let nobody in for'
complete -c smtpgate -n '__smtpgate_is watch' -l every -x -d 'how often'
complete -c smtpgate -n '__smtpgate_is sync' -l wait -x -d 'how long'
complete -c smtpgate -n '__smtpgate_is stats' -l watch -d 'every second, with rates'
complete -c smtpgate -n '__smtpgate_is preview' -l with -r -F -d 'as if that were applied first'

complete -c smtpgate -n '__smtpgate_is attach' -a '(path basename /sys/class/net/*)'
complete -c smtpgate -n '__smtpgate_is detach sync' -a '(__smtpgate_attached)'
complete -c smtpgate -n '__smtpgate_is undo; and __smtpgate_after 0' -k -a '(__smtpgate_changes)'
complete -c smtpgate -n '__smtpgate_is apply diff import' -F
complete -c smtpgate -n '__smtpgate_is delete edit' -a '(__smtpgate_entries)'
complete -c smtpgate -n '__smtpgate_is set; and __smtpgate_after 0' -a 'ports limit others realm'
complete -c smtpgate -n '__smtpgate_sets limit realm' -a none
complete -c smtpgate -n '__smtpgate_sets others' -a 'anywhere nowhere'
