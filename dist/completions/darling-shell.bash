# bash completion for darling-shell(1)

_darling_shell_flags=(
    -S
    --socket
    -c
    --command
    -l
    --login
    --shell
    -t
    --tty
    -T
    --no-tty
    -C
    --chdir
    -e
    --env
    -E
    --preserve-env
    -i
    --clean-env
    -u
    --user
    --connect-timeout
    --wait
    --legacy
    -v
    --verbose
    --version
    -h
    --help
)

# _darling_shell_reply fills COMPREPLY from compgen with these arguments.
_darling_shell_reply() {
    mapfile -t COMPREPLY < <(compgen "$@" -- "$cur")
}

# _darling_shell_command prints the index of the first word that is not a flag,
# where the command begins; the words after it are not ours.
_darling_shell_command() {
    local i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --)
            echo $((i + 1))
            return
            ;;
        --socket | --command | --shell | --chdir | --env | --user | --connect-timeout)
            # Readline splits --flag=value into three words.
            [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
            ((i++))
            # NAME=VALUE is split as well.
            [[ ${COMP_WORDS[i + 1]} == = ]] && ((i += 2))
            ;;
        --*) ;;
        -*[ScCeu])
            ((i++))
            [[ ${COMP_WORDS[i + 1]} == = ]] && ((i += 2))
            ;;
        -?*)
            [[ ${COMP_WORDS[i + 1]} == = ]] && ((i += 2))
            ;;
        *)
            break
            ;;
        esac
    done
    echo "$i"
}

_darling_shell() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command
    COMPREPLY=()
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    command=$(_darling_shell_command)
    if ((command < COMP_CWORD)); then
        if declare -F _command_offset >/dev/null; then
            _command_offset "$command"
        else
            compopt -o filenames
            _darling_shell_reply -f
        fi
        return
    fi

    # The value of a variable for -e.
    [[ ${COMP_WORDS[COMP_CWORD - 1]} == = && $prev != --* ]] && return

    case $prev in
    -S | --socket | --shell)
        compopt -o filenames
        _darling_shell_reply -f
        return
        ;;
    -C | --chdir)
        compopt -o filenames
        _darling_shell_reply -d
        return
        ;;
    -e | --env)
        compopt -o nospace
        _darling_shell_reply -v -S =
        return
        ;;
    -u | --user)
        _darling_shell_reply -u
        return
        ;;
    -c | --command | --connect-timeout)
        return
        ;;
    esac

    if [[ $cur == -* && ${COMP_WORDS[COMP_CWORD - 1]} != -- ]]; then
        _darling_shell_reply -W "${_darling_shell_flags[*]}"
    elif [[ $cur == */* ]]; then
        compopt -o filenames
        _darling_shell_reply -f
    else
        _darling_shell_reply -c
    fi
}

complete -F _darling_shell darling-shell
