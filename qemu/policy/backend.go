package policy

import (
	"cmp"
	pathpkg "path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// This file says which back ends of a guest's devices may be started here: disks, networks, character devices, objects.

// blockKeys are the keys of a block device, at any depth.
var blockKeys = allow(plain, `driver node-name read-only auto-read-only force-share discard detect-zeroes cache.direct
	cache.no-flush aio aio-max-batch locking drop-cache x-check-cache-dropped offset size pr-manager lazy-refcounts
	pass-discard-request pass-discard-snapshot pass-discard-other discard-no-unref overlap-check l2-cache-size
	l2-cache-entry-size refcount-cache-size cache-size cache-clean-interval encrypt.format encrypt.key-secret key-secret
	latency-ns read-zeroes throttle-group prealloc-align prealloc-size bottom
	server.type server.host server.port server.numeric server.to server.ipv4 server.ipv6 server.#.type server.#.host
	server.#.port export tls-creds tls-hostname reconnect-delay open-timeout
	pool namespace image snapshot user key-secret auth-client-required.* encrypt.*
	transport portal target lun initiator-name header-digest timeout password-secret`).with(keys{
	"driver": blockDriver, "filename": path, "server.path": path, "server.#.path": path, "conf": path, "path": path,
	"server.str": never(noFiles), "file": plain, "backing": plain, "data-file": plain, "snapshot": plain,
})

// blockNodes are the names under which a block device contains others.
var blockNodes = []string{"file.", "backing.", "data-file."}

// blockFormat judges the formats among the drivers, and what -drive calls so.
func blockFormat(j *judge, value string) (string, error) {
	if _, err := oneOf("raw", "qcow2", "qed", "luks", "host_device")(j, value); err != nil {
		return "", err
	}
	return blockDriver(j, value)
}

// blockDriver lets formats and local files through, and network disks if the network is allowed.
func blockDriver(j *judge, value string) (string, error) {
	local := strings.Fields(`file host_device host_cdrom raw luks null-co null-aio throttle copy-on-read preallocate`)
	leading := strings.Fields(`qcow2 qed`) // whose contents name other files
	remote := strings.Fields(`nbd rbd iscsi nfs`)
	switch {
	case slices.Contains(leading, value) && !j.confined && !j.Unconfined:
		return "", j.refuse(value, "images of this format can lead to other files, and the kernel here cannot keep QEMU from them (Landlock, "+
			"since Linux 6.2): 'recv --confine off' trusts them")
	case slices.Contains(leading, value):
		return value, nil
	case slices.Contains(local, value):
		return value, nil
	case slices.Contains(remote, value):
		return network(j, value)
	}
	return "", j.refuse(value, "block driver is not known to the launch policy")
}

var blockdevValue = value{implied: "driver", json: true, nested: blockNodes, keys: blockKeys, check: onlyRead}

// onlyRead finds out whether all of a disk is opened for reading only. One that is so where it must (auto-read-only) needs a kernel that sees
// to it. A data file or a backing file has its own word.
func onlyRead(j *judge, _ string, pairs cmdline.Pairs) error {
	for _, p := range pairs {
		on := p.Value == "on" || p.Value == "true"
		switch strings.TrimPrefix(p.Key, "file.") {
		case "read-only", "readonly":
			j.readOnly = j.readOnly || on
		case "auto-read-only":
			j.readOnly = j.readOnly || on && j.confined
		case "media":
			j.readOnly = j.readOnly || p.Value == "cdrom"
		}
	}
	for _, p := range pairs {
		if strings.HasPrefix(p.Key, "data-file.") || strings.HasPrefix(p.Key, "backing.") {
			j.readOnly = false // firmware has neither
		}
	}
	return nil
}

// driveMedium is onlyRead, and refuses drives with a part whose format is not said.
func driveMedium(j *judge, kind string, pairs cmdline.Pairs) error {
	format := pairs.Get("format") + pairs.Get("driver")
	for _, p := range pairs {
		if p.Key == "file" && p.Value != "" && format == "" {
			return j.refuse("file="+p.Value, noFormat)
		}
		for at := len(p.Key); ; {
			at = strings.LastIndexByte(p.Key[:at], '.')
			if at < 0 {
				break
			}
			if node := p.Key[:at]; isNode(node) && pairs.Get(node+".driver") == "" {
				return j.refuse(p.Key+"="+p.Value, noFormat)
			}
		}
		if strings.HasPrefix(p.Key, "file.") && format == "" {
			return j.refuse(p.Key+"="+p.Value, noFormat)
		}
	}
	return onlyRead(j, kind, pairs)
}

// isNode tells whether a key leads to a block node: file, backing or data-file, at any depth.
func isNode(key string) bool {
	for _, part := range strings.Split(key, ".") {
		if !slices.Contains(blockNodes, part+".") {
			return false
		}
	}
	return true
}

var driveValue = value{
	nested: blockNodes, check: driveMedium,
	keys: blockKeys.with(
		allow(plain, `if id index bus unit media cache werror rerror readonly copy-on-read serial cyls heads secs trans group
			bps bps_rd bps_wr iops iops_rd iops_wr bps_max bps_rd_max bps_wr_max iops_max iops_rd_max iops_wr_max iops_size
			bps_max_length bps_rd_max_length bps_wr_max_length iops_max_length iops_rd_max_length iops_wr_max_length
			throttling.* stats-intervals.* stats-account-invalid stats-account-failed`),
		keys{
			"file": medium, "format": blockFormat,
			"snapshot": off("the changes on this disk are in a private file of the source"),
		}),
}

var chardevValue = value{
	implied: "backend", kind: "backend", check: servesAt,
	keys: allow(plain, "id mux logappend").with(keys{"logfile": path}),
	kinds: map[string]keys{
		"null": {}, "msmouse": {}, "wctablet": {}, "stdio": allow(plain, "signal"), "pty": {"path": path},
		"ringbuf": {"size": ringSize}, "memory": {"size": ringSize}, "vc": allow(plain, "width height cols rows"),
		"file": {"path": path, "input-path": path, "append": plain}, "pipe": {"path": pipe},
		"serial": {"path": path}, "tty": {"path": path}, "parallel": {"path": path}, "parport": {"path": path},
		"socket": socketKeys, "udp": udpKeys,
		"spicevmc": allow(plain, "name debug"), "spiceport": allow(text, "name debug"),
		"qemu-vdagent": allow(plain, "mouse clipboard"),
	},
	refused: map[string]string{"braille": "connects to the host's braille display"},
}

var (
	socketKeys = allow(plain, `server wait telnet tn3270 websocket reconnect reconnect-ms nodelay delay to ipv4 ipv6 tls-creds
		tls-authz tight`).with(allow(network, "host port"), keys{
		"path": path, "fd": never(noFiles), "abstract": off("an abstract socket has no path to judge"),
	})
	udpKeys = allow(network, "host port localaddr localport").with(allow(plain, "ipv4 ipv6"))
)

// charDevice judges the short form that -serial and its like take. A monitor behind mon: is taken out.
func charDevice(j *judge, s string) (string, error) {
	s = strings.TrimPrefix(s, "mon:")
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "null", "none", "stdio", "msmouse", "pty":
		return oneOf(kind)(j, s)
	case "vc", "chardev":
		return plain(j, s)
	case "file":
		return withPrefix(j, "file:", rest, path)
	case "pipe":
		return withPrefix(j, "pipe:", rest, pipe)
	case "unix":
		return withPrefix(j, "unix:", rest, value{implied: "path", keys: socketKeys}.rule)
	case "tcp", "telnet", "websocket", "tn3270":
		if _, err := network(j, rest); err != nil {
			return "", err
		}
		place, keyval, more := strings.Cut(rest, ",")
		if !more {
			return s, nil
		}
		pairs, _ := cmdline.ParseKeyval(keyval, "") // what is malformed is refused below
		if cmdline.IsOn(pairs.Get("server")) {
			if err := j.serve(s, portOf(place)); err != nil {
				return "", err
			}
		}
		return withPrefix(j, strings.TrimSuffix(s, keyval), keyval, value{keys: socketKeys}.rule)
	case "udp":
		if _, local, binds := strings.Cut(rest, "@"); binds {
			if err := j.serve(s, portOf(local)); err != nil {
				return "", err
			}
		}
		return network(j, s)
	}
	if strings.HasPrefix(s, "/dev/") {
		return path(j, s)
	}
	return "", j.refuse(s, "not known to the launch policy")
}

// servesAt judges the ports at which a character device or a network back end listens.
func servesAt(j *judge, kind string, pairs cmdline.Pairs) error {
	port := ""
	serves := cmdline.IsOn(pairs.Get("server"))
	switch kind {
	case "socket":
		port = cmp.Or(portOf(pairs.Get("mcast")), portOf(pairs.Get("listen")), portOf(pairs.Get("localaddr"))) // beside mcast, localaddr has no port
		if serves {
			port = pairs.Get("port")
		}
	case "stream":
		if serves {
			port = pairs.Get("addr.port")
		}
	case "udp":
		port = pairs.Get("localport")
	case "dgram":
		port = pairs.Get("local.port")
	case "l2tpv3":
		port = pairs.Get("srcport")
	}
	if port == "" {
		return nil
	}
	return j.serve("port "+port, port)
}

// portOf is what stands behind the last colon.
func portOf(place string) string { return place[strings.LastIndexByte(place, ':')+1:] }

// serve judges a port at which QEMU listens for something else than a display: those below 1024 are the host's own.
func (j *judge) serve(where, port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return j.refuse(where, "listens at a port without a number")
	}
	if n > 0 && n < firstFree && !contain(j.AllowPorts, int(n), int(n)) {
		return j.refuse(where, "listens at a port that is not allowed")
	}
	return nil
}

// firstFree is the first port that any program may listen at.
const firstFree = 1024

// forwards is a rule of user networking; net/slirp.c, slirp_hostfwd.
var forwards = regexp.MustCompile(`^(?:tcp|udp)?:[^:]*:([0-9]+)-[^:]*:[0-9]+$`)

// forward judges a port of this host at which user networking listens for the guest.
func forward(j *judge, s string) (string, error) {
	m := forwards.FindStringSubmatch(s)
	if m == nil {
		return "", j.refuse(s, "not a port to forward, as in tcp::2222-:22")
	}
	if err := j.serve(s, m[1]); err != nil {
		return "", err
	}
	return plain(j, s)
}

// ringSize bounds what the host keeps of a guest's words.
var ringSize = matching("[1-9][0-9]{0,6}[Kk]?", "a size of less than ten million bytes, or K")

func withPrefix(j *judge, prefix, rest string, r rule) (string, error) {
	v, err := r(j, rest)
	return prefix + v, err
}

var (
	cidr       = matching(`[0-9A-Fa-f.:]+(/[0-9A-Fa-f.:]+)?`, "a network")
	tapPattern = matching(`[A-Za-z0-9_.-]{1,15}`, "the name of a network interface")
	addressing = allow(plain, `addr.type addr.host addr.port addr.to addr.ipv4 addr.ipv6 addr.numeric addr.keep-alive
		addr.mptcp server reconnect reconnect-ms local.type local.host local.port local.ipv4 local.ipv6 remote.type remote.host remote.port
		remote.ipv4 remote.ipv6`).with(allow(path, "addr.path local.path remote.path"),
		allow(off("an abstract socket has no path to judge"), "addr.abstract"),
		allow(never(noFiles), "addr.str local.str remote.str"), allow(network, "type"))
)

// tapName judges the name of an interface of this host.
func tapName(j *judge, name string) (string, error) {
	allowed := func(pattern string) bool {
		ok, err := pathpkg.Match(pattern, name)
		return ok && err == nil
	}
	if len(j.AllowInterfaces) > 0 && !slices.ContainsFunc(j.AllowInterfaces, allowed) {
		return "", j.refuse(name, "network interface that is not allowed")
	}
	return tapPattern(j, name)
}

// netdevKinds are the network back ends.
var netdevKinds = map[string]keys{
	"user": allow(plain, `ipv4 ipv6 host ipv6-host restrict hostname dhcpstart dns ipv6-dns dnssearch dnssearch.* domainname
		tftp-server-name`).with(allow(cidr, "net ipv6-net"), allow(forward, "hostfwd hostfwd.*"), keys{
		"type": network, "tftp": path, "bootfile": plain, "ipv6-prefixlen": plain, "ipv6-prefix": plain,
		"guestfwd": never("starts programs or opens files for the guest"), "guestfwd.*": never("starts programs or opens files for the guest"),
		"smb": never("starts a file server for the guest"), "smbserver": never("starts a file server for the guest"),
	}),
	"tap": allow(plain, "sndbuf vnet_hdr vhost vhostforce queues poll-us").with(allow(tapName, "ifname br"),
		allow(program, "script downscript helper"), allow(never(noFiles), "fd fds vhostfd vhostfds")),
	"bridge":     {"br": tapName, "helper": program},
	"hubport":    allow(plain, "hubid netdev"),
	"vhost-user": allow(plain, "chardev vhostforce queues"),
	"vhost-vdpa": {"vhostdev": path, "queues": plain, "x-svq": plain, "vhostfd": never(noFiles)},
	"vde":        {"sock": path, "port": plain, "group": plain, "mode": plain},
	"socket":     allow(network, "type listen connect mcast udp localaddr").with(keys{"fd": never(noFiles)}),
	"stream":     addressing,
	"dgram":      addressing,
	"l2tpv3": allow(plain, `src dst srcport dstport ipv6 udp cookie64 counter pincounter txcookie rxcookie txsession rxsession
		offset`).with(allow(network, "type")),
}

var netdevRefused = map[string]string{
	"passt": "starts a program", "af-xdp": "takes over a card of the host", "netmap": "takes over a card of the host",
}

var netdevValue = value{
	implied: "type", json: true, kind: "type",
	keys: allow(plain, "id"), kinds: netdevKinds, refused: netdevRefused, check: netDefaults,
}

// nicValue is a card and its network in one.
var nicValue = value{
	implied: "type", kind: "type",
	keys:  allow(plain, "id model mac macaddr addr vectors name"),
	kinds: withKinds(netdevKinds, map[string]keys{"none": {}}), refused: netdevRefused, check: netDefaults,
}

// netValue is the oldest form.
var netValue = value{
	implied: "type", kind: "type",
	keys: allow(plain, "id name"), refused: netdevRefused, check: netDefaults,
	kinds: withKinds(netdevKinds, map[string]keys{"none": {}, "nic": allow(plain, "macaddr model addr vectors netdev")}),
}

func withKinds(a, b map[string]keys) map[string]keys {
	all := map[string]keys{}
	for _, m := range []map[string]keys{a, b} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// netDefaults judges where a back end listens, and the programs that QEMU starts when the command line names none.
func netDefaults(j *judge, kind string, pairs cmdline.Pairs) error {
	if err := servesAt(j, kind, pairs); err != nil {
		return err
	}
	given := func(keys ...string) bool {
		return slices.ContainsFunc(pairs, func(p cmdline.Pair) bool { return slices.Contains(keys, p.Key) })
	}
	var implied cmdline.Pairs
	switch {
	case kind == "tap" && !given("helper", "fd", "fds"):
		implied = cmdline.Pairs{{Key: "script", Value: "/etc/qemu-ifup"}, {Key: "downscript", Value: "/etc/qemu-ifdown"}}
	case kind == "bridge":
		implied = cmdline.Pairs{{Key: "helper", Value: "/usr/lib/qemu/qemu-bridge-helper"}}
		if !given("br") {
			if _, err := tapName(j, "br0"); err != nil {
				return err
			}
		}
	case kind == "vde" && !given("sock"):
		return j.refuse("vde", "implied socket; say which")
	}
	for _, p := range implied {
		if given(p.Key) {
			continue
		}
		if _, err := program(j, p.Value); err != nil {
			return j.refuse(p.Key+"="+p.Value, "implied; runs a program that is not allowed")
		}
	}
	return nil
}

// objectValue: back ends of memory, randomness, secrets and threads.
var objectValue = value{
	implied: "qom-type", json: true, kind: "qom-type",
	keys: allow(plain, "id"),
	kinds: map[string]keys{
		"memory-backend-ram":   memoryKeys,
		"memory-backend-memfd": memoryKeys.with(allow(plain, "hugetlb hugetlbsize seal")),
		"memory-backend-shm":   memoryKeys,
		"memory-backend-file":  memoryKeys.with(allow(plain, "align discard-data offset pmem readonly rom"), keys{"mem-path": path}),
		"iothread":             allow(plain, "aio-max-batch poll-grow poll-max-ns poll-shrink thread-pool-max thread-pool-min"),
		"thread-context":       allow(plain, "cpu-affinity cpu-affinity.# node-affinity node-affinity.#"),
		"throttle-group":       {"*": plain},
		"rng-builtin":          {},
		"rng-random":           {"filename": orElse(oneOf("/dev/urandom", "/dev/random", "/dev/hwrng"), path)},
		"rng-egd":              allow(plain, "chardev"),
		"secret":               allow(plain, "format keyid").with(keys{"data": text, "iv": text, "file": path}),
		"tls-creds-x509":       tlsKeys.with(allow(plain, "passwordid sanity-check")),
		"tls-creds-anon":       tlsKeys,
		"tls-creds-psk":        tlsKeys.with(allow(plain, "username")),
		"authz-simple":         allow(text, "identity"),
		"authz-list":           allow(plain, "policy").with(allow(text, "rules.*")),
		"authz-list-file":      {"filename": path, "refresh": plain},
		"pr-manager-helper":    {"path": path},

		"cryptodev-backend-builtin": allow(plain, "queues throttle-bps throttle-ops"),
		"cryptodev-vhost-user":      allow(plain, "chardev queues throttle-bps throttle-ops"),
	},
	refused: map[string]string{
		"dbus-vmstate": "connects to a bus of the host, or starts a program", "input-linux": "opens a device of the host",
		"secret_keyring": "reads the host's key ring", "authz-pam": "asks the host's login service",
		"can-host-socketcan": "takes a network of the host", "filter-dump": "writes a file", "iommufd": "opens a device of the host",
		"qtest": "commands the machine", "x-remote-object": noFiles, "input-barrier": "connects to another host",
	},
}

var (
	memoryKeys = allow(plain, `size dump merge share policy prealloc prealloc-threads prealloc-context reserve host-nodes
		host-nodes.# x-use-canonical-path-for-ramblock-id`)
	tlsKeys = allow(plain, "endpoint verify-peer priority").with(keys{"dir": path})
)
