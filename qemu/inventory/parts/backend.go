package parts

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Object is a back end of -object: memory, randomness, threads, limits.
type Object struct {
	ID, Type string
	Settings map[string]any // those of the type that QEMU tells
}

// Chardev is a character device.
type Chardev struct {
	ID   string
	Kind string         // null, socket, pty, ...
	File string         // as QEMU describes it
	Addr map[string]any // of a socket
}

// Netdev is the host's side of a network card.
type Netdev struct {
	ID, Kind string
	Info     string // as QEMU describes it
	Queues   int
	Forwards []string // of user networking, as hostfwd takes them
}

// objectSettings are the settings of the objects that can be made anew from what QEMU tells of them.
var objectSettings = map[string]string{
	"memory-backend-ram":   memorySettings,
	"memory-backend-memfd": memorySettings + " hugetlb hugetlbsize seal",
	"memory-backend-file":  memorySettings + " mem-path align discard-data pmem readonly",
	"memory-backend-shm":   memorySettings,
	"iothread":             "poll-max-ns poll-grow poll-shrink aio-max-batch thread-pool-min thread-pool-max",
	"rng-random":           "filename",
	"rng-builtin":          "",
	"rng-egd":              "chardev",
	"throttle-group":       "limits",
	"tls-creds-x509":       "dir endpoint verify-peer priority passwordid",
	"tls-creds-anon":       "dir endpoint verify-peer priority",

	"cryptodev-backend-builtin": "queues",
}

// zeroIsUnset are settings that QEMU tells as 0 when they were not given, and does not take as 0.
var zeroIsUnset = set("hugetlbsize align")

const memorySettings = "size share merge dump policy host-nodes prealloc prealloc-threads reserve"

func (inv *Inventory) readObjects(ctx context.Context, m Monitor) error {
	all, err := ListObjects(ctx, m, "/objects")
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Object() == "" {
			continue
		}
		o := Object{ID: c.Name, Type: c.Object(), Settings: map[string]any{}}
		for _, key := range strings.Fields(objectSettings[o.Type]) {
			if v, err := get(ctx, m, "/objects/"+c.Name, key); err == nil && !unset(v) && !(v == 0.0 && zeroIsUnset[key]) {
				o.Settings[key] = v
			}
		}
		inv.Objects = append(inv.Objects, o)
	}
	slices.SortFunc(inv.Objects, func(a, b Object) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

func (inv *Inventory) readChardevs(ctx context.Context, m Monitor) error {
	var all []struct {
		ID   string `json:"label"`
		File string `json:"filename"`
	}
	if err := m.Do(ctx, "query-chardev", nil, &all); err != nil {
		return err
	}
	kinds := map[string]string{}
	entries, err := ListObjects(ctx, m, "/chardevs")
	if err != nil {
		return err
	}
	for _, e := range entries {
		kinds[e.Name] = strings.TrimPrefix(e.Object(), "chardev-")
	}
	for _, c := range all {
		d := Chardev{ID: c.ID, Kind: kinds[c.ID], File: c.File}
		if d.Kind == "socket" {
			v, _ := get(ctx, m, "/chardevs/"+c.ID, "addr") // a listening one has it
			d.Addr, _ = v.(map[string]any)
		}
		inv.Chardevs = append(inv.Chardevs, d)
	}
	slices.SortFunc(inv.Chardevs, func(a, b Chardev) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

var (
	netLine     = regexp.MustCompile(`(?m)^(?: \\ )?(\S+): index=([0-9]+),type=([a-z0-9-]+),?(.*?)\r?$`)
	hubLine     = regexp.MustCompile(`^Hub -?[0-9]+ \((.+)\):`)
	forwardLine = regexp.MustCompile(`^\s*(TCP|UDP)\[HOST_FORWARD\]\s+\S+\s+(\S+)\s+([0-9]+)\s+(\S+)\s+([0-9]+)`)
)

// readNetdevs reads the back ends of networks out of text for humans: QEMU has no other command for them.
func (inv *Inventory) readNetdevs(ctx context.Context, m Monitor) error {
	text, err := human(ctx, m, "info network")
	if err != nil {
		return err
	}
	for _, f := range netLine.FindAllStringSubmatch(text, maxDevices) {
		name, kind := f[1], f[3]
		i := slices.IndexFunc(inv.Netdevs, func(n Netdev) bool { return n.ID == name })
		switch {
		case kind == "nic" || kind == "hubport":
		case strings.HasPrefix(name, "#"):
			inv.Networks++
		case i < 0:
			inv.Networks++
			inv.Netdevs = append(inv.Netdevs, Netdev{ID: name, Kind: kind, Info: f[4], Queues: 1})
		default:
			inv.Netdevs[i].Queues++
		}
	}
	return inv.readForwards(ctx, m)
}

func (inv *Inventory) readForwards(ctx context.Context, m Monitor) error {
	if !slices.ContainsFunc(inv.Netdevs, func(n Netdev) bool { return n.Kind == "user" }) {
		return nil
	}
	text, err := human(ctx, m, "info usernet")
	var of *Netdev
	for line := range strings.Lines(text) {
		if f := hubLine.FindStringSubmatch(line); f != nil {
			of = nil
			if i := slices.IndexFunc(inv.Netdevs, func(n Netdev) bool { return n.ID == f[1] }); i >= 0 {
				of = &inv.Netdevs[i]
			}
		}
		if f := forwardLine.FindStringSubmatch(line); f != nil && of != nil {
			of.Forwards = append(of.Forwards, fmt.Sprintf("%s:%s:%s-%s:%s", strings.ToLower(f[1]), host(f[2]), f[3], host(f[4]), f[5]))
		}
	}
	return err
}

func host(s string) string {
	if s == "*" {
		return ""
	}
	return s
}

// Told are the parts of QEMU's description of a network.
func (n Netdev) Told() map[string]string {
	told := map[string]string{}
	for part := range strings.SplitSeq(n.Info, ",") {
		key, value, _ := strings.Cut(part, "=")
		told[key] = value
	}
	return told
}

// ownChardevs are the labels that QEMU gives to character devices of other options.
var ownChardevs = regexp.MustCompile(`^(#.*|compat_monitor[0-9]+|(serial|parallel|virtcon|usb|sclp|vc|vdagent|ringbuf|mux)[0-9]*(-base)?|debugcon|gdb|vcon|isa_debugcon)$`)

// Implied tells whether QEMU has made the character device because of another option.
func (c Chardev) Implied() bool { return ownChardevs.MatchString(c.ID) }

// Told tells whether QEMU tells all that the object was made with.
func (o Object) Told() bool {
	_, ok := objectSettings[o.Type]
	return ok
}
