# fish completion for shellspawn(8)

# __shellspawn_command prints the command of this line; without one it is serve.
function __shellspawn_command
    set -l words (commandline -opc)
    if set -q words[2]; and not string match -q -- '-*' $words[2]
        echo $words[2]
    else
        echo serve
    end
end

function __shellspawn_first
    test (count (commandline -opc)) -eq 1
end

function __shellspawn_in
    contains -- (__shellspawn_command) $argv
end

# __shellspawn_ids prints the ids of the running shells with user and program,
# and nothing, without a word and without a wait, if there is no daemon.
function __shellspawn_ids
    set -l words (commandline -opc)
    set -l at
    if set -l i (contains -i -- --socket $words); and set -q words[(math $i + 1)]
        set at --socket $words[(math $i + 1)]
    else
        set at (string match -- '--socket=*' $words)
    end
    timeout 1 shellspawn list $at --json 2>/dev/null </dev/null | tr -d '\n' | tr '}' '\n' | sed -n \
        -e 's/.*"id"[[:space:]]*:[[:space:]]*"\{0,1\}\([[:alnum:]]*\).*"user"[[:space:]]*:[[:space:]]*"\([^"]*\)".*"program"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1\t\2 \3/p' \
        -e t \
        -e 's/.*"id"[[:space:]]*:[[:space:]]*"\{0,1\}\([[:alnum:]]*\).*/\1/p'
end

complete -c shellspawn -f

complete -c shellspawn -n __shellspawn_first -a serve -d 'Serve in the foreground'
complete -c shellspawn -n __shellspawn_first -a status -d 'Show the daemon, its queue and its limits'
complete -c shellspawn -n __shellspawn_first -a list -d 'Show the running shells'
complete -c shellspawn -n __shellspawn_first -a kill -d 'Hang shells up, or send them a signal'
complete -c shellspawn -n __shellspawn_first -a backlog -d 'Show or change the length of the accept queue'
complete -c shellspawn -n __shellspawn_first -a stop -d 'Stop the daemon in an orderly way'
complete -c shellspawn -n __shellspawn_first -a doctor -d 'Examine the machine and the installation'

complete -c shellspawn -n '__shellspawn_in serve' -l config -rF -d 'File with more of these flags'
complete -c shellspawn -n '__shellspawn_in serve' -l socket -rF -d 'Where to listen'
complete -c shellspawn -n '__shellspawn_in serve' -l socket-mode -x -a '0600 0660 0666' -d 'Permission bits of the socket'
complete -c shellspawn -n '__shellspawn_in serve' -l socket-group -x -a '(__fish_complete_groups)' -d 'Group of the socket'
complete -c shellspawn -n '__shellspawn_in serve' -l backlog -x -d 'Length of the accept queue'
complete -c shellspawn -n '__shellspawn_in serve' -l shell -rF -d 'Shell to run in place of each user\'s own'
complete -c shellspawn -n '__shellspawn_in serve' -l allow-user -x -a '(__fish_complete_users)' -d 'Serve this user'
complete -c shellspawn -n '__shellspawn_in serve' -l allow-group -x -a '(__fish_complete_groups)' -d 'Serve this group'
complete -c shellspawn -n '__shellspawn_in serve' -l max-shells -x -d 'Shells at once, in total'
complete -c shellspawn -n '__shellspawn_in serve' -l max-shells-per-user -x -d 'Shells at once, per user'
complete -c shellspawn -n '__shellspawn_in serve' -l request-timeout -x -d 'Time from connection to start'
complete -c shellspawn -n '__shellspawn_in serve' -l hangup-grace -x -d 'Time from hang-up to kill'
complete -c shellspawn -n '__shellspawn_in serve' -l shutdown-grace -x -d 'Time for all shells to end at stop'
complete -c shellspawn -n '__shellspawn_in serve' -l background -d 'Become a background daemon'
complete -c shellspawn -n '__shellspawn_in serve' -l pid-file -rF -d 'Write the process id there'
complete -c shellspawn -n '__shellspawn_in serve' -l log-file -rF -d 'Log there in place of stderr'
complete -c shellspawn -n '__shellspawn_in serve' -l log-level -x -a 'debug info warn error' -d 'Least important messages to log'
complete -c shellspawn -n '__shellspawn_in serve' -l log-format -x -a 'text json' -d 'Format of the log'

complete -c shellspawn -n '__shellspawn_in status list kill backlog stop doctor' -l socket -rF -d 'Socket of the daemon'
complete -c shellspawn -n '__shellspawn_in status list kill backlog stop doctor' -l json -d 'Print JSON'
complete -c shellspawn -n '__shellspawn_in kill' -s s -x -a 'HUP INT QUIT KILL USR1 USR2 ALRM TERM CONT STOP TSTP' -d 'Signal to send'
complete -c shellspawn -n '__shellspawn_in kill; and not __shellspawn_first' -a '(__shellspawn_ids)'

complete -c shellspawn -s h -l help -d 'Print a summary'
complete -c shellspawn -l version -d 'Print the version'
