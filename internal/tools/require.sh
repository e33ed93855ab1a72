#!/bin/sh
# Makes sure that the machine has what is named: `cxx`, the C++ runtime that DuckDB is linked with, or `postgres`, `mariadb` and `pgbouncer`, the
# servers that tests start private instances of. What is missing is installed from Debian's packages, or it says what to install.
set -eu

has_cxx() {
	echo 'int main(void) { return 0; }' | ${CC:-gcc} -x c -o /dev/null - -lstdc++ 2>/dev/null
}

has_postgres() {
	[ -z "${TRIBUTARY_TEST_POSTGRES:-}" ] || return 0 # the URL of a running server
	! command -v initdb >/dev/null || return 0
	for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
		[ ! -x "$dir/initdb" ] || return 0
	done
	return 1
}

has_mariadb() {
	[ -z "${TRIBUTARY_TEST_MARIADB:-}" ] || return 0 # the URL of a running server
	{ command -v mariadbd || [ -x /usr/sbin/mariadbd ]; } >/dev/null && command -v mariadb-install-db >/dev/null
}

has_pgbouncer() { { command -v pgbouncer || [ -x /usr/sbin/pgbouncer ]; } >/dev/null; }

packages=
for name in "$@"; do
	case $name in
	cxx) has_cxx || packages="$packages g++" ;;
	postgres) has_postgres || packages="$packages postgresql" ;;
	mariadb) has_mariadb || packages="$packages mariadb-server" ;;
	pgbouncer) has_pgbouncer || packages="$packages pgbouncer" ;;
	*) echo "require.sh: $name: want cxx, postgres, mariadb or pgbouncer" >&2 && exit 2 ;;
	esac
done
[ -n "$packages" ] || exit 0

as=
[ "$(id -u)" = 0 ] || as='sudo -n'
if command -v apt-get >/dev/null; then
	echo "installing$packages"
	# shellcheck disable=SC2086 # words of their own
	if $as apt-get update -qq && $as env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $packages >/dev/null; then
		exit 0
	fi
fi
echo "missing:$packages. Install it as root (on Debian: apt-get install$packages)." >&2
case $packages in *postgresql*)
	echo "Instead of PostgreSQL's programs, TRIBUTARY_TEST_POSTGRES may give the URL of a running server, such as postgres://user:password@host/postgres." >&2 ;;
esac
case $packages in *mariadb*)
	echo "Instead of MariaDB's programs, TRIBUTARY_TEST_MARIADB may give the URL of a running server, such as mysql://user:password@host/mysql." >&2 ;;
esac
exit 1
