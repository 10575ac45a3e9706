# fish completion for darling-shell(1)

# __darling_shell_command_at prints which of its arguments, the words after
# darling-shell, is the first that is not a flag: there the command begins, and
# the words from there on are not ours.
function __darling_shell_command_at
    set -l i 1
    while set -q argv[$i]
        switch $argv[$i]
            case --
                set i (math $i + 1)
                break
            case --socket --command --shell --chdir --env --user --connect-timeout
                set i (math $i + 2)
            case '--*'
                set i (math $i + 1)
            case '-?*'
                # In a cluster such as -tC the last letter takes the next word.
                set i (math $i + 1)
                string match -qr -- '^-[ltTEivh]*[ScCeu]$' $argv[(math $i - 1)]; and set i (math $i + 1)
            case '*'
                break
        end
    end
    echo $i
end

# __darling_shell_at_flags holds until the command begins.
function __darling_shell_at_flags
    set -l words (commandline -opc)
    set -e words[1]
    not contains -- -- $words; and test (__darling_shell_command_at $words) -gt (count $words)
end

# __darling_shell_command completes the command as if it stood alone.
function __darling_shell_command
    set -l words (commandline -opc)
    set -e words[1]
    set -l at (__darling_shell_command_at $words)
    set -l typed
    set -q words[$at]; and set typed (string escape -- $words[$at..])
    set -l line (string join -- ' ' $typed (commandline -ct))
    complete -C"$line"
end

complete -c darling-shell -f -a '(__darling_shell_command)'

complete -c darling-shell -n __darling_shell_at_flags -s S -l socket -rF -d 'Socket of the daemon'
complete -c darling-shell -n __darling_shell_at_flags -s c -l command -x -d 'Run a string in the shell'
complete -c darling-shell -n __darling_shell_at_flags -s l -l login -d 'Make it a login shell'
complete -c darling-shell -n __darling_shell_at_flags -l shell -rF -d 'Shell to use in place of the user\'s own'
complete -c darling-shell -n __darling_shell_at_flags -s t -l tty -d 'Give the program a terminal'
complete -c darling-shell -n __darling_shell_at_flags -s T -l no-tty -d 'Give it none'
complete -c darling-shell -n __darling_shell_at_flags -s C -l chdir -x -a '(__fish_complete_directories)' -d 'Start in this directory'
complete -c darling-shell -n __darling_shell_at_flags -s e -l env -x -a '(set -nx | string replace -r \$ =)' -d 'Set a variable'
complete -c darling-shell -n __darling_shell_at_flags -s E -l preserve-env -d 'Send PATH HOME TMPDIR USER LOGNAME SHELL as well'
complete -c darling-shell -n __darling_shell_at_flags -s i -l clean-env -d 'Send only TERM COLORTERM LANG LC_*'
complete -c darling-shell -n __darling_shell_at_flags -s u -l user -x -a '(__fish_complete_users)' -d 'Run as another user'
complete -c darling-shell -n __darling_shell_at_flags -l connect-timeout -x -d 'How long to wait for the daemon'
complete -c darling-shell -n __darling_shell_at_flags -l wait -d 'Wait for a daemon that is not there yet'
complete -c darling-shell -n __darling_shell_at_flags -l legacy -d 'Speak the protocol of a Darling container'
complete -c darling-shell -n __darling_shell_at_flags -s v -l verbose -d 'Say what happens'
complete -c darling-shell -n __darling_shell_at_flags -l version -d 'Print the version'
complete -c darling-shell -n __darling_shell_at_flags -s h -l help -d 'Print a summary'
