package main

const help = `Usage: darling-shell [flags] [--] [command [argument...]]

Start a shell, or run one command, through the shellspawn daemon.

  darling-shell                     an interactive login shell
  darling-shell make test           exactly this program and its arguments
  darling-shell -c 'make | tee log' the shell with this string

Flags end at the first argument that is not one.

  -S, --socket PATH         socket of the daemon
  -c, --command STRING      run STRING in the shell
  -l, --login               make it a login shell
      --shell PATH          shell to use in place of the user's own
  -t, --tty                 give the program a terminal
  -T, --no-tty              give it none
  -C, --chdir DIR           start in DIR
  -e, --env NAME=VALUE      set a variable (repeatable)
  -E, --preserve-env        send PATH HOME TMPDIR USER LOGNAME SHELL as well
  -i, --clean-env           send only TERM COLORTERM LANG LC_*
  -u, --user NAME           run as another user (root only)
      --connect-timeout D   how long to wait for the daemon (30s)
      --wait                wait for a daemon that is not there yet
      --legacy              speak the protocol of a Darling container
  -v, --verbose             say what happens, on stderr
      --version             print the version
  -h, --help                print this

The program gets a terminal if stdin and stdout are terminals, and this
program's own descriptors otherwise.

Exit status: that of the command; 128+N if signal N killed it; 127 command not
found; 126 found but cannot be executed; 125 the daemon cannot be reached or
refused, or went away; 2 wrong usage.

Socket: --socket, or $SHELLSPAWN_SOCKET, or $DPREFIX/var/run/shellspawn.sock
(which implies --legacy), or $XDG_RUNTIME_DIR/shellspawn.sock, or
/run/shellspawn.sock.

Examples:
  darling-shell -e CC=clang -C /src make -j4
  tar c . | darling-shell tar x -C /dst
  darling-shell -t vim notes.txt
`
