#!/bin/sh
# As root: build the tests of each package and run them again as an ordinary
# user, in a copy of the tree that this user can read. Otherwise there is
# nothing to do: all tests ran as one already.
set -eu
go=$1
if [ "$(id -u)" -ne 0 ]; then
	echo "not root: the tests ran as an ordinary user already"
	exit 0
fi
user=65534
dir=$(mktemp -d /tmp/shellspawn-ordinary.XXXXXX)
trap 'rm -rf "$dir"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$dir"
mkdir "$dir/tmp" "$dir/test"
packages="ptyexec spawnsock spawnsock/dial internal/wire internal/userdb internal/systemd internal/daemon internal/client internal/selfpipe internal/tty"
status=0
for p in $packages; do
	[ -n "$(find "$p" -maxdepth 1 -name '*_test.go')" ] || continue
	"$go" test -c -o "$dir/test/$(echo "$p" | tr / -)" "./$p"
done
chown -R $user:$user "$dir"
for p in $packages; do
	binary=$dir/test/$(echo "$p" | tr / -)
	[ -x "$binary" ] || continue
	echo "== $p as uid $user"
	(cd "$dir/$p" && setpriv --reuid $user --regid $user --clear-groups \
		env HOME="$dir" TMPDIR="$dir/tmp" "$binary" -test.timeout 10m) || status=1
done
exit $status
