#!/bin/bash
# setup.sh [peers | qemu-7.2] installs what the tests and the lab need on Debian 12 or newer, and says what it does:
#
#   gcc             for the race detector and the tiny guest
#   iproute2, nftables, ethtool, qemu-utils
#   QEMU >= 9       from the backports of Debian 12, which are added to apt's sources only if nothing else has it
#   a guest kernel  Debian's cloud kernel, taken out of its package without installing it
#   QEMU 7.2        with the argument "qemu-7.2": that of Debian 12, beside the installed one, where apt knows it; likewise
#   uftp, udpcast   with the argument "peers": what the multicast is measured beside; taken out of their packages likewise
#
# What is there already is left alone, so a second run takes no time and needs neither root nor the network.
set -euo pipefail

readonly min_qemu=9
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/scatter-lab
readonly backports=/etc/apt/sources.list.d/scatter-backports.sources

say() { echo "setup: $*"; }

die() {
	say "$*" >&2
	exit 1
}

as_root() {
	if [[ $(id -u) -eq 0 ]]; then
		DEBIAN_FRONTEND=noninteractive "$@"
	elif command -v sudo >/dev/null; then
		sudo DEBIAN_FRONTEND=noninteractive "$@"
	else
		die "must be root to run: $*"
	fi
}

# update refreshes apt's lists, once unless apt's sources change.
updated=
update() {
	[[ -n $updated ]] && return
	say "refreshing apt's lists"
	as_root apt-get -qq update
	updated=yes
}

install() {
	update
	say "installing $*"
	as_root apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "$@" >/dev/null
}

# qemu_major prints the major version of the QEMU on this machine, 0 if there is none.
qemu_major() {
	local version=
	version=$(qemu-system-x86_64 --version 2>/dev/null | sed -nE '1s/.*version ([0-9]+).*/\1/p') || true
	echo "${version:-0}"
}

# qemu_package prints the newest version of the package that apt knows and that is new enough.
qemu_package() {
	apt-cache madison qemu-system-x86 | awk -F'|' -v min=$min_qemu '
		{ gsub(/ /, "", $2); upstream = $2; sub(/^[0-9]+:/, "", upstream) }
		int(upstream) >= min { print $2; exit }'
}

add_backports() {
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[[ $codename == bookworm ]] || die "no package of QEMU >= $min_qemu for ${codename:-this system}: please install it"
	say "adding $codename-backports to apt's sources: $backports"
	as_root tee "$backports" >/dev/null <<-END
		Types: deb
		URIs: http://deb.debian.org/debian
		Suites: $codename-backports
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
	updated=
	update
}

setup_qemu() {
	[[ $(qemu_major) -ge $min_qemu ]] && return
	update
	[[ -n $(qemu_package) ]] || add_backports
	local version release
	version=$(qemu_package)
	[[ -n $version ]] || die "apt finds no QEMU >= $min_qemu"
	# Its companions must come from where it comes from.
	release=$(apt-cache policy qemu-system-x86 | awk -v v="$version" '
		$1 == v || ($1 == "***" && $2 == v) { here = 1; next }
		here && $2 ~ /^http/ { sub(/\/.*/, "", $3); print $3; exit }')
	install ${release:+--target-release "$release"} qemu-system-x86
	[[ $(qemu_major) -ge $min_qemu ]] || die "QEMU is still version $(qemu_major)"
}

setup_packages() {
	local missing=()
	command -v gcc >/dev/null && [[ -e /usr/include/stdlib.h ]] || missing+=(gcc libc6-dev)
	PATH=$PATH:/usr/sbin:/sbin
	command -v ip >/dev/null && command -v tc >/dev/null || missing+=(iproute2)
	command -v nft >/dev/null || missing+=(nftables)
	command -v ethtool >/dev/null || missing+=(ethtool)
	command -v qemu-img >/dev/null || missing+=(qemu-utils)
	[[ ${#missing[@]} -eq 0 ]] || install "${missing[@]}"
}

# kernel_package prints the package that holds the newest cloud kernel of this release.
kernel_package() {
	apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }'
}

# workdir makes a directory for what is fetched; all of them are removed at the end.
workdir() {
	mkdir -p "$cache"
	mktemp -d "$cache/tmp.$$.XXXXXX"
}
trap 'rm -rf "$cache/tmp.$$".*' EXIT

# fetch DIR PACKAGE... puts the files of packages into a directory, without installing them.
fetch() {
	local dir=$1
	shift
	(cd "$dir" && { apt-get -qq -o APT::Sandbox::User=root download "$@" ||
		{ update && apt-get -qq -o APT::Sandbox::User=root download "$@"; }; })
}

setup_kernel() {
	[[ -s $cache/vmlinuz ]] && return
	[[ -n $(kernel_package) ]] || update
	local package dir
	package=$(kernel_package)
	[[ -n $package ]] || die "apt knows no linux-image-cloud-amd64"
	say "fetching the guests' kernel out of $package into $cache"
	dir=$(workdir)
	fetch "$dir" "$package"
	dpkg-deb --fsys-tarfile "$dir"/*.deb | tar -xO --wildcards './boot/vmlinuz-*' >"$dir/vmlinuz"
	[[ -s $dir/vmlinuz ]] || die "no kernel in $package"
	mv "$dir/vmlinuz" "$cache/vmlinuz"
}

# setup_peers takes the programs out of their packages: installing that of uftp would start a service that stores what anybody sends.
setup_peers() {
	[[ -x $cache/peers/usr/bin/uftp && -x $cache/peers/usr/bin/udp-sender ]] && return
	local dir deb
	say "fetching uftp and udpcast into $cache/peers"
	dir=$(workdir)
	fetch "$dir" uftp udpcast
	for deb in "$dir"/*.deb; do dpkg-deb -x "$deb" "$dir/peers"; done
	! ldd "$dir/peers/usr/bin/uftp" | grep -q 'libcrypto.*not found' || install libssl3
	rm -rf "$cache/peers"
	mv "$dir/peers" "$cache/peers"
}

# setup_old_qemu finds its modules and its firmware by where it lies itself. Releases without it do without the tests that need it.
setup_old_qemu() {
	[[ -x $cache/qemu-7.2/usr/bin/qemu-system-x86_64 ]] && return
	[[ -n $(apt-cache madison qemu-system-x86) ]] || update
	local dir deb version
	version=$(apt-cache madison qemu-system-x86 | awk -F'|' '{ gsub(/ /, "", $2) } $2 ~ /^1:7\.2/ { print $2; exit }')
	if [[ -z $version ]]; then
		say "apt knows no QEMU 7.2: tests with it are left out"
		return
	fi
	say "fetching QEMU 7.2 into $cache/qemu-7.2"
	dir=$(workdir)
	fetch "$dir" "qemu-system-x86=$version" "qemu-system-common=$version" qemu-system-data/bookworm seabios/bookworm
	for deb in "$dir"/*.deb; do dpkg-deb -x "$deb" "$dir/qemu"; done
	! ldd "$dir/qemu/usr/bin/qemu-system-x86_64" | grep 'not found' || die "QEMU 7.2 lacks libraries here"
	mv "$dir/qemu" "$cache/qemu-7.2"
}

setup_packages
setup_qemu
setup_kernel
case ${1:-} in
"") ;;
peers) setup_peers ;;
qemu-7.2) setup_old_qemu ;;
*) die "unknown argument: $1" ;;
esac
