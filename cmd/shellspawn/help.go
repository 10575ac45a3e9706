package main

const help = `Usage: shellspawn [serve] [flags]
       shellspawn COMMAND [flags] [argument...]

Start shells for whoever may connect to a Unix socket. The client is darling-shell.

Commands:
  serve                 serve in the foreground; this is the default
  status                how the daemon, its accept queue and its shells are doing
  list                  one row for each running shell
  kill [-s SIG] ID...   hang shells up, so that they end; with -s send a signal
  backlog [N]           show or change the length of the accept queue
  stop                  stop the daemon and wait until it is gone
  doctor                check this machine and the installation

Flags of serve:
      --config PATH             more of these flags, one on a line: max-shells = 40;
                                SIGHUP reads it again
      --socket PATH             where to listen (/run/shellspawn.sock for root,
                                $XDG_RUNTIME_DIR/shellspawn.sock for others)
      --socket-mode MODE        permission bits of the socket (0600)
      --socket-group GROUP      group of the socket
      --backlog N               length of the accept queue (4096)
      --shell PATH              shell to run in place of each user's own
      --allow-user USER         serve this user, '*' for everyone (repeatable, root only)
      --allow-group GROUP       serve this group (repeatable, root only)
      --max-shells N            shells at once, in total (0: no limit)
      --max-shells-per-user N   shells at once, per user (0: no limit)
      --request-timeout D       time from connect to exec (10s)
      --hangup-grace D          time from hang-up to kill (5s)
      --shutdown-grace D        time for all shells to end at stop (10s)
      --background              become a background daemon, return once it accepts
      --pid-file PATH           write the process id there
      --log-file PATH           log there in place of stderr; SIGHUP opens it again
      --log-level LEVEL         debug, info, warn or error (info)
      --log-format FORMAT       text or json (text)

Flags of the other commands:
      --socket PATH             the daemon's socket (SHELLSPAWN_SOCKET, or as above)
      --json                    print the answer as JSON
  -s SIG                    of kill: the signal's name or number

Of every command:
  -h, --help                    this page
      --version                 the version

Examples:
  shellspawn serve --background         a daemon of your own
  darling-shell make test               one command through it
  shellspawn list                       who runs what
  shellspawn kill 17                    end one of them
  shellspawn stop

Exit status: 0, 1 for a failure, 2 for wrong usage. More in shellspawn(8).
`
