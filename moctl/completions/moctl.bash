# SPDX-License-Identifier: MIT OR Apache-2.0
# moctl completion for bash 4.4 and newer.
#
# moctl itself takes the line apart: it knows bash's quotes and word breaks, and answers with what
# stands in the line afterwards, quoted. The first line of its answer says what the others are.

_moctl() {
    local -a answer
    local program=$1
    [[ $program == '~/'* ]] && program=$HOME/${program:2}
    COMPREPLY=()
    mapfile -t answer < <(
        command "$program" completions bash --line "${COMP_LINE:0:COMP_POINT}" \
            --breaks "$COMP_WORDBREAKS" 2>/dev/null
    )
    case ${answer[0]-} in
    words) COMPREPLY=("${answer[@]:1}") ;;
    files) compopt -o default 2>/dev/null ;;
    folders) compopt -o dirnames 2>/dev/null ;;
    esac
}

complete -F _moctl moctl
