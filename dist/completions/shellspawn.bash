# bash completion for shellspawn(8)

_shellspawn_commands=(
    serve
    status
    list
    kill
    backlog
    stop
    doctor
)

_shellspawn_serve_flags=(
    --config
    --socket
    --socket-mode
    --socket-group
    --backlog
    --shell
    --allow-user
    --allow-group
    --max-shells
    --max-shells-per-user
    --request-timeout
    --hangup-grace
    --shutdown-grace
    --background
    --pid-file
    --log-file
    --log-level
    --log-format
)

_shellspawn_control_flags=(
    --socket
    --json
)

_shellspawn_kill_flags=(
    -s
)

_shellspawn_common_flags=(
    --help
    -h
    --version
)

# _shellspawn_ids prints the ids of the running shells, and nothing, without a
# word and without a wait, if there is no daemon. $1 is its socket if given.
_shellspawn_ids() {
    timeout 1 shellspawn list ${1:+--socket "$1"} --json 2>/dev/null </dev/null |
        tr -d '\n' | tr '}' '\n' |
        sed -n 's/.*"id"[[:space:]]*:[[:space:]]*"\{0,1\}\([[:alnum:]]*\).*/\1/p'
}

# _shellspawn_reply fills COMPREPLY from compgen with these arguments.
_shellspawn_reply() {
    mapfile -t COMPREPLY < <(compgen "$@" -- "$cur")
}

_shellspawn() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=serve socket= i
    COMPREPLY=()

    # Readline splits --flag=value into three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} != -* ]]; then
        command=${COMP_WORDS[1]}
    fi
    for ((i = 1; i < COMP_CWORD - 1; i++)); do
        if [[ ${COMP_WORDS[i]} == --socket ]]; then
            socket=${COMP_WORDS[i + 1]}
            [[ $socket == = ]] && socket=${COMP_WORDS[i + 2]}
        fi
    done

    case $prev in
    --config | --socket | --shell | --pid-file | --log-file)
        compopt -o filenames
        _shellspawn_reply -f
        return
        ;;
    --socket-group | --allow-group)
        _shellspawn_reply -g
        return
        ;;
    --allow-user)
        _shellspawn_reply -u
        return
        ;;
    --socket-mode)
        _shellspawn_reply -W '0600 0660 0666'
        return
        ;;
    --log-level)
        _shellspawn_reply -W 'debug info warn error'
        return
        ;;
    --log-format)
        _shellspawn_reply -W 'text json'
        return
        ;;
    -s)
        _shellspawn_reply -W 'HUP INT QUIT KILL USR1 USR2 ALRM TERM CONT STOP TSTP'
        return
        ;;
    --backlog | --max-shells | --max-shells-per-user | --request-timeout | --hangup-grace | --shutdown-grace)
        return
        ;;
    esac

    local words=()
    if [[ $cur == -* ]]; then
        case $command in
        serve) words=("${_shellspawn_serve_flags[@]}") ;;
        kill) words=("${_shellspawn_control_flags[@]}" "${_shellspawn_kill_flags[@]}") ;;
        *) words=("${_shellspawn_control_flags[@]}") ;;
        esac
        words+=("${_shellspawn_common_flags[@]}")
    elif ((COMP_CWORD == 1)); then
        words=("${_shellspawn_commands[@]}")
    elif [[ $command == kill ]]; then
        mapfile -t words < <(_shellspawn_ids "$socket")
    fi
    _shellspawn_reply -W "${words[*]}"
}

complete -F _shellspawn shellspawn
