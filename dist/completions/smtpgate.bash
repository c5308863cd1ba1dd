# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Completion of smtpgate for bash. Needs nothing but bash; tests/check/check_docs holds what it
# offers against the command table.

_smtpgate_commands="attach detach add edit delete list check disable observe enforce preview confirm
    pause history undo status stats blocked watch import apply diff export set policy metrics
    exporter sync doctor help"
_smtpgate_globals="--json --dry-run --yes --quiet --verbose --state --bpffs --help --version"

# The options of a command.
_smtpgate_options() {
    case $1 in
    add) echo --account --for --remark --until ;;
    apply) echo --format --kick ;;
    attach) echo --mode ;;
    blocked) echo --since --top ;;
    check) echo --account ;;
    delete) echo --account --expired --kick ;;
    detach) echo --all ;;
    diff | export | import) echo --format ;;
    disable) echo --account --all ;;
    doctor) echo --nagios ;;
    edit) echo --account --for --forever --remark --until ;;
    enforce) echo --confirm --kick ;;
    exporter) echo --listen ;;
    list) echo --account --accounts --expired --lint --unused ;;
    metrics) echo --format --textfile ;;
    policy) echo --trouble ;;
    preview) echo --format --names --with ;;
    stats) echo --watch ;;
    status) echo --check ;;
    sync) echo --boot --wait ;;
    watch) echo --every ;;
    esac
}

# Does that option stand before a value?
_smtpgate_takes_value() {
    case $1 in
    --account | --bpffs | --confirm | --every | --for | --format | --listen | --mode | --remark | \
        --since | --state | --textfile | --top | --trouble | --unused | --until | --wait | \
        --with) return 0 ;;
    esac
    return 1
}

# What a list holds, by the key of a member: values that a shell need not quote. Quiet, and cut off
# where a list is very long.
_smtpgate_ask() {
    local key=$1
    shift
    PATH=$PATH:/usr/local/sbin:/usr/sbin command smtpgate -j "$@" 2>/dev/null | head -c 65536 |
        grep -oE "\"$key\":\"[A-Za-z0-9@._:/+-]+\"" | cut -d '"' -f 4
}

# The numbers of the changes that could be taken back, newest first.
_smtpgate_changes() {
    PATH=$PATH:/usr/local/sbin:/usr/sbin command smtpgate -j "$@" history 2>/dev/null |
        head -c 65536 | grep -oE '"id":[0-9]+' | cut -d : -f 2
}

# The interfaces that the gate is to be on; where that cannot be read, all there are.
_smtpgate_attached() {
    local names
    names=$(_smtpgate_ask name status "$@")
    echo "${names:-$(cd /sys/class/net 2>/dev/null && printf '%s\n' *)}"
}

# The values of option $1 for command $2; the rest is which store.
_smtpgate_values() {
    local option=$1 command=$2
    shift 2
    case $option in
    --account) _smtpgate_ask account list --accounts "$@" ;;
    --format)
        case $command in
        metrics) echo prometheus openmetrics ;;
        export) echo list csv json ;;
        *) echo list csv json ipset nft postfix ;;
        esac
        ;;
    --mode) echo auto native generic ;;
    --trouble) echo defer reject dunno ;;
    esac
}

# The words that may follow command $1 and its first argument $2; the rest is which store and list.
_smtpgate_arguments() {
    local command=$1 first=$2
    shift 2
    case $command in
    attach) (cd /sys/class/net 2>/dev/null && printf '%s\n' *) ;;
    detach | sync) _smtpgate_attached "$@" ;;
    delete | edit) _smtpgate_ask who list "$@" ;;
    help) [ -n "$first" ] || echo "$_smtpgate_commands" ;;
    set)
        case $first in
        '') echo ports limit others realm ;;
        limit | realm) echo none ;;
        others) echo anywhere nowhere ;;
        esac
        ;;
    esac
}

# '#12', with the quotes that a shell wants; readline has the one that was typed already.
_smtpgate_undo() {
    local number quote="'"
    [[ $cur != [\'\"]* ]] || quote=
    for number in $(_smtpgate_changes "${where[@]}"); do
        [[ "#$number" != "${cur#[\'\"]}"* ]] || COMPREPLY+=("$quote#$number$quote")
    done
}

_smtpgate() {
    local line=${COMP_LINE:0:COMP_POINT} cur='' command='' first='' option='' prefix='' word offered
    local -a words where=() list=()

    COMPREPLY=()
    read -ra words <<<"$line"
    if [[ $line != *[[:space:]] ]]; then
        cur=${words[-1]}
        unset 'words[-1]'
    fi
    for word in "${words[@]:1}"; do
        case $option in
        --state | --bpffs) where+=("$option" "$word") ;;
        --account) list=(--account "$word") ;;
        esac
        if [ -n "$option" ]; then
            option=
        elif _smtpgate_takes_value "$word"; then
            option=$word
        elif [[ $word == -* ]]; then
            case $word in
            --state=* | --bpffs=*) where+=("$word") ;;
            --account=*) list=("$word") ;;
            esac
        elif [ -z "$command" ]; then
            command=$word
        elif [ -z "$first" ]; then
            first=$word
        fi
    done
    # --option=value: for readline the word begins behind the =, unless it is told otherwise.
    if [ -z "$option" ] && [[ $cur == --*=* ]]; then
        option=${cur%%=*}
        cur=${cur#*=}
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=$option=
    fi

    if [ -n "$option" ]; then
        case $option in
        --state | --bpffs) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
        --textfile | --with) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        esac
        offered=$(_smtpgate_values "$option" "$command" "${where[@]}")
    elif [[ $cur == --* ]]; then
        offered="$_smtpgate_globals $(_smtpgate_options "$command")"
    elif [[ $cur == -* ]]; then
        offered="-j -n -y -q -v -h $_smtpgate_globals $(_smtpgate_options "$command")"
    elif [ -z "$command" ]; then
        offered=$_smtpgate_commands
    else
        case $command in
        import | apply | diff) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        undo) [ -n "$first" ] || _smtpgate_undo ;;
        esac
        offered=$(_smtpgate_arguments "$command" "$first" "${where[@]}" "${list[@]}")
    fi
    if [ "$command" = undo ] && [ -z "$option" ] && [[ $cur != -* ]]; then
        return
    elif [ "${#COMPREPLY[@]}" -gt 0 ]; then
        compopt -o filenames 2>/dev/null
    else
        mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$cur")
        # IPv6: for readline the word begins behind the last colon.
        [[ $cur != *:* || $COMP_WORDBREAKS != *:* ]] ||
            COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*:}"}"}")
    fi
    COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
}

complete -F _smtpgate smtpgate
