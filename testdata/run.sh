#!/bin/sh
# A shell through a private daemon, which ends with it. Without a terminal, one
# command goes through it instead.
set -eu
dir=$(mktemp -d "${TMPDIR:-/tmp}/shellspawn.XXXXXX")
SHELLSPAWN_SOCKET=$dir/shellspawn.sock
export SHELLSPAWN_SOCKET
bin/shellspawn serve --log-file "$dir/log" --background --pid-file "$dir/pid"
# It may be gone: people try 'stop', too.
trap 'bin/shellspawn stop >/dev/null 2>&1 || :; rm -rf "$dir"' EXIT
if [ -t 0 ] && [ -t 1 ]; then
	echo "A shell through $SHELLSPAWN_SOCKET."
	echo "'bin/shellspawn list' in it shows it; leave it with 'exit'."
	bin/darling-shell || true
else
	echo "No terminal here: running 'uname -sr' through $SHELLSPAWN_SOCKET."
	bin/darling-shell uname -sr
	echo "It works. On a terminal 'make run' opens a shell."
fi
