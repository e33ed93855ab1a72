#!/bin/sh
# Finds the PostgreSQL that the tests start private instances of, or installs Debian's. TRIBUTARY_TEST_POSTGRES, a DSN, points
# at a running server instead.
set -eu
[ -z "${TRIBUTARY_TEST_POSTGRES:-}" ] || exit 0
command -v initdb >/dev/null 2>&1 && exit 0
for d in /usr/lib/postgresql/*/bin; do
	[ -x "$d/initdb" ] && exit 0
done
if command -v apt-get >/dev/null 2>&1; then
	as=""
	[ "$(id -u)" = 0 ] || as="sudo -n"
	echo "installing PostgreSQL for the tests"
	$as apt-get update -qq && $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null && exit 0
fi
echo "tests need PostgreSQL: install it (on Debian: apt-get install postgresql), or set TRIBUTARY_TEST_POSTGRES to a server's DSN" >&2
exit 1
