#compdef moctl
# SPDX-License-Identifier: MIT OR Apache-2.0
# moctl completion for zsh.
#
# The first line of moctl's answer says what the others are: a word, perhaps a tab and its meaning.

_moctl() {
    local -a answer values shown
    local line program=${(Q)words[1]}
    [[ $program == '~/'* ]] && program=$HOME/${program#??}
    answer=("${(@f)$(command "$program" completions zsh --words -- \
        "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    case $answer[1] in
    (words)
        for line in "${(@)answer[2,-1]}"; do
            values+=("${line%%$'\t'*}")
            shown+=("${line/$'\t'/  -- }")
        done
        compadd -l -d shown -a values
        ;;
    (files) _files ;;
    (folders)
        compset -P '--*='
        _files -/
        ;;
    esac
}

if [[ $funcstack[1] == _moctl ]]; then
    _moctl "$@"
else
    compdef _moctl moctl
fi
