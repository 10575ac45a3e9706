package main

const help = `Usage: shellspawn [serve] [flags]
       shellspawn COMMAND [flags] [argument...]

Start shells for whoever may connect to a Unix socket.

Commands:
  serve                 serve in the foreground (the default)

Flags of serve:
      --socket PATH             where to listen
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
      --background              become a background daemon once the socket accepts
      --pid-file PATH           write the process id there
      --log-file PATH           log there in place of stderr
      --log-level LEVEL         debug, info, warn or error (info)
      --log-format FORMAT       text or json (text)
`
