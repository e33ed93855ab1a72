#!/bin/sh
# Runs a command beside a MySQL of its own: mysql.sh COMMAND... finds in TRIBUTARY_TEST_MYSQL where it is; a server that the variable names
# already is used as it is.
#
# Debian's releases have MariaDB in MySQL's place; its unstable distribution has MySQL. From there come the server and the libraries that it needs, also the C
# library, checked by apt against Debian's key, into a folder of their own: nothing is installed. They stay in the user's cache.
set -eu

[ $# -gt 0 ] || { echo "usage: mysql.sh COMMAND..." >&2; exit 2; }
[ -z "${TRIBUTARY_TEST_MYSQL:-}" ] || exec "$@"

key=/usr/share/keyrings/debian-archive-keyring.gpg
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tributary-mysql
libraries=$cache/usr/lib/x86_64-linux-gnu

if [ ! -x "$cache/usr/sbin/mysqld" ]; then
	if ! command -v apt-get >/dev/null || [ ! -r $key ] || [ "$(uname -m)" != x86_64 ]; then
		echo "mysql.sh: MySQL is fetched by Debian's apt for x86-64 only. Have TRIBUTARY_TEST_MYSQL give the URL of a server, such as mysql://root:password@host/mysql." >&2
		exit 1
	fi
	echo "fetching MySQL into $cache"
	new=$(mktemp -d)
	trap 'rm -rf "$new"' EXIT
	mkdir -p "$new/lists/partial" "$new/archives/partial" "$new/root"
	echo "deb [signed-by=$key] http://deb.debian.org/debian unstable main" >"$new/sources"
	: >"$new/status"
	# Of a machine on which nothing is installed, all that the server depends on is missing.
	apt="apt-get -qq -o Dir::Etc::SourceList=$new/sources -o Dir::Etc::SourceParts=- -o Dir::State::Lists=$new/lists -o Dir::State::Status=$new/status
		-o Dir::Cache=$new -o Dir::Cache::Archives=$new/archives -o Debug::NoLocking=1 -o APT::Sandbox::User=$(id -un) -o APT::Install-Recommends=false"
	$apt update
	$apt --yes --download-only install mysql-server-core >/dev/null
	for package in "$new"/archives/*.deb; do
		dpkg-deb --extract "$package" "$new/root"
	done
	mkdir -p "$(dirname "$cache")"
	rm -rf "$cache"
	mv "$new/root" "$cache"
	rm -rf "$new"
	trap - EXIT
fi

data=$(mktemp -d)
server=
stop() {
	[ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || :
	rm -rf "$data"
}
trap stop EXIT
trap 'exit 130' INT TERM

mysqld() { # in place of the shell that it is called in, so that the server is what is stopped
	exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$cache/usr/sbin/mysqld" --no-defaults --user="$(id -un)" \
		--basedir="$cache/usr" --datadir="$data/data" --secure-file-priv=NULL "$@"
}
say() {
	echo "mysql.sh: MySQL did not start:" >&2
	cat "$data/log" >&2
	exit 1
}

password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "ALTER USER root@localhost IDENTIFIED BY '$password';" >"$data/init.sql"
(mysqld --initialize-insecure) >"$data/log" 2>&1 || say
port=$(shuf -i 20000-30000 -n 1) # below those that the system gives to others
mysqld --port="$port" --bind-address=127.0.0.1 --socket="$data/socket" --pid-file="$data/pid" --mysqlx=OFF --local-infile=ON --init-file="$data/init.sql" >>"$data/log" 2>&1 &
server=$!
until grep -q 'ready for connections' "$data/log"; do
	kill -0 "$server" 2>/dev/null || say
	sleep 0.2
done
TRIBUTARY_TEST_MYSQL="mysql://root:$password@127.0.0.1:$port/mysql"
export TRIBUTARY_TEST_MYSQL
"$@"
