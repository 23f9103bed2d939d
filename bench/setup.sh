#!/bin/bash
# setup.sh [peers | qemu-7.2 | real] installs what the tests and the lab need on Debian 12 or newer, and says what it does:
#
#   gcc             for the race detector and the tiny guest
#   iproute2, nftables, ethtool, qemu-utils, libnbd-bin
#   QEMU >= 9       from the backports of Debian 12, which are added to apt's sources only if nothing else has it
#   a guest kernel  Debian's cloud kernel and its drivers for virtio devices, taken out of their package without installing it
#   QEMU 7.2        with the argument "qemu-7.2": that of Debian 12, beside the installed one, where apt knows it; likewise
#   uftp, udpcast   with the argument "peers": what the multicast is measured beside; taken out of their packages likewise
#   a guest Debian  with the argument "real": a disk with a minimal Debian and Redis, in two minutes; needs root and 1 GB of disk
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
	[[ $(qemu_major) -ge $min_qemu ]] && command -v qemu-img >/dev/null && return
	update
	[[ -n $(qemu_package) ]] || add_backports
	local version release
	version=$(qemu_package)
	[[ -n $version ]] || die "apt finds no QEMU >= $min_qemu"
	# Its companions must come from where it comes from.
	release=$(apt-cache policy qemu-system-x86 | awk -v v="$version" '
		$1 == v || ($1 == "***" && $2 == v) { here = 1; next }
		here && $2 ~ /^http/ { sub(/\/.*/, "", $3); print $3; exit }')
	install ${release:+--target-release "$release"} qemu-system-x86 qemu-utils
	[[ $(qemu_major) -ge $min_qemu ]] || die "QEMU is still version $(qemu_major)"
}

setup_packages() {
	local missing=()
	command -v gcc >/dev/null && [[ -e /usr/include/stdlib.h ]] || missing+=(gcc libc6-dev)
	PATH=$PATH:/usr/sbin:/sbin
	command -v ip >/dev/null && command -v tc >/dev/null || missing+=(iproute2)
	command -v nft >/dev/null || missing+=(nftables)
	command -v ethtool >/dev/null || missing+=(ethtool)
	command -v nbdcopy >/dev/null || missing+=(libnbd-bin)
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
	[[ -s $cache/vmlinuz && -s $cache/modules/virtio_balloon.ko && -s $cache/modules/virtio_net.ko && -s $cache/modules/virtio_blk.ko ]] && return
	[[ -n $(kernel_package) ]] || update
	local package dir
	package=$(kernel_package)
	[[ -n $package ]] || die "apt knows no linux-image-cloud-amd64"
	say "fetching the guests' kernel out of $package into $cache"
	dir=$(workdir)
	fetch "$dir" "$package"
	dpkg-deb --fsys-tarfile "$dir"/*.deb | tar -xO --wildcards './boot/vmlinuz-*' >"$dir/vmlinuz"
	[[ -s $dir/vmlinuz ]] || die "no kernel in $package"
	mkdir "$dir/modules" "$dir/lib"
	dpkg-deb --fsys-tarfile "$dir"/*.deb | tar -xC "$dir/lib" --wildcards './lib/modules/*/drivers/virtio/*' \
		'./lib/modules/*/virtio_blk.ko' './lib/modules/*/virtio_net.ko' './lib/modules/*/net_failover.ko' './lib/modules/*/failover.ko'
	find "$dir/lib" -name '*.ko' -exec mv -t "$dir/modules" {} +
	[[ -s $dir/modules/virtio_balloon.ko && -s $dir/modules/virtio_net.ko && -s $dir/modules/virtio_blk.ko ]] || die "no virtio drivers that are not compressed in $package"
	rm -rf "$cache/modules"
	mv "$dir/modules" "$dir/vmlinuz" "$cache"
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

# What the guests' Debian consists of, beside what every Debian has.
readonly real_packages=systemd-sysv,udev,dbus,kmod,zstd,initramfs-tools,linux-image-cloud-amd64,redis-server

# setup_real makes a disk with Debian and takes the kernel and the first root file system out of it, so that QEMU can boot them. The disk is
# shared by all guests and read-only; what they write is in memory.
setup_real() {
	[[ -s $cache/debian/root.ext4 ]] && return
	command -v debootstrap >/dev/null || install debootstrap
	command -v mkfs.ext4 >/dev/null || install e2fsprogs
	local dir root
	dir=$(workdir)
	root=$dir/root
	say "making a disk with Debian and Redis in $cache/debian"
	as_root debootstrap --variant=minbase --include="$real_packages" bookworm "$root" "$(mirror)" >"$dir/log" 2>&1 ||
		die "debootstrap: $(tail -n 3 "$dir/log")"
	mkdir "$dir/debian"
	as_root cp "$root/vmlinuz" "$root/initrd.img" "$dir/debian"
	configure_real "$root"
	as_root mkfs.ext4 -q -O ^has_journal -d "$root" "$dir/debian/root.ext4" 400M >/dev/null
	as_root chown -R "$(id -u)" "$dir/debian"
	as_root rm -rf "$root"
	rm -rf "$cache/debian"
	mv "$dir/debian" "$cache"
}

# mirror prints where apt gets Debian from.
mirror() {
	local uri
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | head -n 1) || true
	echo "${uri:-http://deb.debian.org/debian}"
}

# configure_real makes of a fresh system one that runs from a read-only disk, and starts the lab's workload beside Redis. The workload's
# program is the second disk, as it is.
configure_real() {
	local root=$1 dir
	for dir in var/cache/apt var/lib/apt/lists usr/share/{doc,man,locale,info} boot; do
		as_root find "$root/$dir" -mindepth 1 -delete
	done
	put "$root/etc/machine-id" </dev/null
	put "$root/etc/hostname" <<<guest
	put "$root/etc/fstab" <<-END
		/dev/vda / ext4 ro,noatime 0 0
		tmpfs /tmp tmpfs mode=1777 0 0
		tmpfs /var/tmp tmpfs mode=1777 0 0
		tmpfs /var/log tmpfs mode=755 0 0
		tmpfs /var/lib/systemd tmpfs mode=755 0 0
		tmpfs /var/lib/redis tmpfs mode=777 0 0
		tmpfs /opt tmpfs mode=755 0 0
	END
	put "$root/etc/tmpfiles.d/redis.conf" <<<"d /var/log/redis 750 redis redis"
	as_root sed -i -e '/^save /d' -e '$a save ""' "$root/etc/redis/redis.conf"
	put "$root/etc/systemd/system/workload.service" <<-END
		[Unit]
		After=redis-server.service
		Requires=redis-server.service

		[Service]
		ExecStartPre=/bin/sh -c "until [ -b /dev/vdb ]; do sleep 0.1; done"
		ExecStartPre=/bin/cp /dev/vdb /opt/workload
		ExecStartPre=/bin/chmod 755 /opt/workload
		ExecStart=/opt/workload
		PassEnvironment=GODEBUG
		StandardOutput=journal+console
		StandardError=journal+console

		[Install]
		WantedBy=multi-user.target
	END
	# Many guests that boot at once on emulated processors take their time, and none has a network to look for updates in.
	as_root sed -i -e 's/^#*\(DefaultTimeoutStartSec\|DefaultDeviceTimeoutSec\)=.*/\1=1h/' "$root/etc/systemd/system.conf"
	as_root chroot "$root" systemctl --quiet enable workload.service
	as_root chroot "$root" systemctl --quiet mask serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
		e2scrub_reap.service fstrim.timer
}

# put writes a file of the guests' Debian.
put() { as_root tee "$1" >/dev/null; }

setup_packages
setup_qemu
setup_kernel
case ${1:-} in
"") ;;
peers) setup_peers ;;
qemu-7.2) setup_old_qemu ;;
real) setup_real ;;
*) die "unknown argument: $1" ;;
esac
