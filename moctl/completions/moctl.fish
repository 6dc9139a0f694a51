# SPDX-License-Identifier: MIT OR Apache-2.0
# moctl completion for fish 3.1 and newer.
#
# The first line of moctl's answer says what the others are: a word, perhaps a tab and its meaning.

function __moctl_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    # An open quote is no part of the word.
    set -l current (string unescape -- $token; or string replace -r '^["\']' '' -- $token)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    set -l answer (command $program completions fish --words -- $words "$current" 2>/dev/null)
    switch "$answer[1]"
        case words
            set -e answer[1]
            printf '%s\n' $answer
        case files
            __fish_complete_path "$current"
        case folders
            __fish_complete_directories "$current" ''
    end
end

complete -c moctl -f -a '(__moctl_complete)'
