package qemu

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// UntriedError says why a command line cannot be tried without taking something from the VM that is to be started later.
type UntriedError struct{ Option, Reason string }

func (e *UntriedError) Error() string { return e.Option + ": " + e.Reason }

// Rehearsal is Command for a QEMU that is ended as soon as it has shown that it starts and accepts the head of a migration
// stream. It takes nothing that a VM of this host has, or is going to have: it listens at sockets of its own in runDir
// only, connects to no back end, has no network interface by name, runs no script, truncates no file and touches no memory in
// advance. Disks are opened, and not locked: that comes with the end of a migration. The error is a *PolicyError, a *NameError, or an
// *UntriedError. What the VM itself is going to take is in claims.
func (p LaunchPolicy) Rehearsal(argv []string, name, runDir string) (c *Command, claims *Claims, err error) {
	full, err := p.Command(argv, name, runDir)
	if err != nil {
		return nil, nil, err
	}
	r := rehearsal{base: filepath.Join(runDir, name)}
	c = &Command{name, runDir, full.Argv[:1:1], full.Memory, full.Confinement}
	for rest := full.Argv[1:]; len(rest) > 0; {
		var it item
		if it, rest, err = nextItem(rest); err != nil {
			return nil, nil, err
		}
		args, err := r.item(it)
		if err != nil {
			return nil, nil, err
		}
		c.Argv = append(c.Argv, args...)
	}
	return c, &r.claims, nil
}

// rehearsal changes the options of one command line.
type rehearsal struct {
	base    string // of the files in the run directory
	sockets int    // that were given out
	claims  Claims // of the VM itself
}

// change makes of an option's value what a rehearsal has instead; keep = false leaves the option out.
type change func(r *rehearsal, value string) (now string, keep bool, err error)

// changes are the options that a rehearsal does not take as they are.
var changes = map[string]change{
	"mem-prealloc": leaveOut, "overcommit": leaveOut, // which may lock all memory
	"serial": asNull, "parallel": asNull, "debugcon": asNull,
	"vnc":     noVNC,
	"display": noVNCDisplay,
	"spice":   privateSpice,
	"chardev": fields("backend", (*rehearsal).chardev),
	"netdev":  fields("type", (*rehearsal).netdev), "nic": fields("type", (*rehearsal).nic), "net": fields("type", (*rehearsal).nic),
	"object": fields("qom-type", (*rehearsal).object), "device": fields("driver", (*rehearsal).device),
	"audiodev": fields("driver", (*rehearsal).audio), "audio": fields("driver", (*rehearsal).audio),
	"tpmdev": func(*rehearsal, string) (string, bool, error) { return "", false, onlyConnection },
}

// onlyConnection: what serves one connection and ends with it, as helpers of the VM do, must be there when the VM starts.
var onlyConnection = &UntriedError{Reason: "a try would use up the only connection of its helper"}

func (r *rehearsal) item(it item) ([]string, error) {
	f := changes[it.name]
	switch {
	case it.name == "":
		return []string{it.value}, nil
	case !it.hasValue && f != nil:
		return nil, nil
	case !it.hasValue:
		return []string{"-" + it.name}, nil
	case f == nil:
		return []string{"-" + it.name, it.value}, nil
	}
	value, keep, err := f(r, it.value)
	if u, ok := err.(*UntriedError); ok {
		err = &UntriedError{it.option() + " " + shorten(it.value), u.Reason}
	}
	if err != nil || !keep {
		return nil, err
	}
	return []string{"-" + it.name, value}, nil
}

func leaveOut(*rehearsal, string) (string, bool, error) { return "", false, nil }

// asNull replaces the short forms of character devices that lead out of the process.
func asNull(r *rehearsal, value string) (string, bool, error) {
	kind, _, _ := strings.Cut(value, ":")
	if slices.Contains([]string{"null", "none", "vc", "pty", "msmouse", "chardev"}, kind) {
		return value, true, nil
	}
	r.claims.charDevice(value)
	return "null", true, nil
}

func noVNC(r *rehearsal, value string) (string, bool, error) {
	r.claims.vnc(value)
	return "none", true, nil
}

func noVNCDisplay(r *rehearsal, value string) (string, bool, error) {
	if vnc, ok := strings.CutPrefix(value, "vnc="); ok {
		return noVNC(r, vnc)
	}
	return value, true, nil
}

func privateSpice(r *rehearsal, value string) (string, bool, error) {
	pairs, err := parseKeyval(value, "")
	if err != nil {
		return "", false, err
	}
	s := keyvalSettings{pairs}
	if isOn(s.get("unix")) {
		r.claims.socket(s.get("addr"))
	} else {
		r.claims.port(s.get("addr"), s.get("port"), 0)
		r.claims.port(s.get("addr"), s.get("tls-port"), 0)
	}
	return "unix=on,addr=" + escapeComma(r.socket()) + ",disable-ticketing=on", true, nil
}

// socket is the path of another socket that only this rehearsal has.
func (r *rehearsal) socket() string {
	r.sockets++
	return r.base + "." + strconv.Itoa(r.sockets)
}

// settings are the keys of an option's value, in either form.
type settings interface {
	get(key string) string
	set(key, value string)
	drop(prefix string) // the key, and those that begin with it and a dot
}

// fields makes a change of the keys of a value.
func fields(implied string, f func(r *rehearsal, kind string, s settings) error) change {
	return func(r *rehearsal, value string) (string, bool, error) {
		if strings.HasPrefix(value, "{") {
			tree, err := parseTree(value)
			if err != nil {
				return "", false, err
			}
			t := jsonSettings(tree)
			if err := f(r, t.get(implied), t); err != nil {
				return "", false, err
			}
			now, err := formatTree(tree)
			return now, true, err
		}
		pairs, err := parseKeyval(value, implied)
		if err != nil {
			return "", false, err
		}
		s := &keyvalSettings{pairs}
		if err := f(r, s.get(implied), s); err != nil {
			return "", false, err
		}
		return formatKeyval(s.pairs, implied), true, nil
	}
}

type keyvalSettings struct{ pairs []pair }

func (s *keyvalSettings) get(key string) string {
	for _, p := range s.pairs {
		if p.key == key {
			return p.value
		}
	}
	return ""
}

func (s *keyvalSettings) set(key, value string) {
	for i, p := range s.pairs {
		if p.key == key {
			s.pairs[i].value = value
			return
		}
	}
	s.pairs = append(s.pairs, pair{key, value})
}

func (s *keyvalSettings) drop(prefix string) {
	s.pairs = slices.DeleteFunc(s.pairs, func(p pair) bool { return p.key == prefix || strings.HasPrefix(p.key, prefix+".") })
}

type jsonSettings map[string]any

func (s jsonSettings) get(key string) string {
	switch v := s[key].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return map[bool]string{true: "on", false: "off"}[v]
	}
	return ""
}

func (s jsonSettings) set(key, value string) {
	switch value {
	case "on", "off":
		s[key] = value == "on"
	default:
		if n := json.Number(value); isDigits(value) {
			s[key] = n
		} else {
			s[key] = value
		}
	}
}

func (s jsonSettings) drop(prefix string) { delete(s, prefix) }

func isDigits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// become leaves the id, and the multiplexer, and makes the rest another back end.
func become(s settings, implied, kind string, with ...pair) {
	id, mux := s.get("id"), s.get("mux")
	switch s := s.(type) {
	case *keyvalSettings:
		s.pairs = []pair{{implied, kind}, {"id", id}}
	case jsonSettings:
		clear(s)
		s[implied], s["id"] = kind, id
	}
	if mux != "" {
		s.set("mux", mux)
	}
	for _, p := range with {
		s.set(p.key, p.value)
	}
}

func (r *rehearsal) chardev(kind string, s settings) error {
	switch kind {
	case "socket":
		if isOn(s.get("server")) {
			if r.claims.socket(s.get("path")); s.get("to") == "" {
				r.claims.port(s.get("host"), s.get("port"), 0)
			}
			become(s, "backend", "socket", pair{"path", r.socket()}, pair{"server", "on"}, pair{"wait", "off"})
			return nil
		}
		become(s, "backend", "null")
	case "udp", "pipe", "stdio", "serial", "tty", "parallel", "parport":
		become(s, "backend", "null")
	case "file":
		s.set("append", "on")
	case "pty":
		s.drop("path")
	}
	if s.get("logfile") != "" {
		s.set("logappend", "on")
	}
	return nil
}

func (r *rehearsal) netdev(kind string, s settings) error {
	switch kind {
	case "user":
		r.user(s)
	case "tap":
		r.tap(s)
		if os.Geteuid() != 0 && s.get("helper") == "" { // a new interface needs privileges, an existing one has its VM
			become(s, "type", "hubport", pair{"hubid", "0"})
		}
	case "bridge", "hubport":
	case "vhost-user", "vhost-vdpa":
		return onlyConnection
	default:
		become(s, "type", "hubport", pair{"hubid", "0"})
	}
	return nil
}

// user forwards no port.
func (r *rehearsal) user(s settings) {
	if k, ok := s.(*keyvalSettings); ok {
		for _, p := range k.pairs {
			if p.key == "hostfwd" {
				r.claims.forward(p.value)
			}
		}
	}
	s.drop("hostfwd")
}

// tap takes an interface of its own, which goes with the process.
func (r *rehearsal) tap(s settings) {
	if name := s.get("ifname"); name != "" {
		r.claims.interfaces = append(r.claims.interfaces, name)
	}
	s.drop("ifname")
	if s.get("helper") == "" {
		s.set("script", "no")
		s.set("downscript", "no")
	}
}

// nic is netdev for the forms that name card and back end at once.
func (r *rehearsal) nic(kind string, s settings) error {
	switch kind {
	case "none", "nic", "bridge", "hubport":
	case "user":
		r.user(s)
	case "tap":
		r.tap(s)
		if os.Geteuid() != 0 && s.get("helper") == "" {
			return &UntriedError{Reason: "a try would need an interface of its own, for which recv must run as root"}
		}
	default:
		return &UntriedError{Reason: "a try would take its place in the network"}
	}
	return nil
}

// object keeps memory from being touched, or reserved, for a VM that does not run.
func (r *rehearsal) object(kind string, s settings) error {
	if kind == "cryptodev-vhost-user" {
		return onlyConnection
	}
	if !strings.HasPrefix(kind, "memory-backend-") {
		return nil
	}
	s.set("prealloc", "off")
	file := s.get("mem-path")
	info, err := os.Stat(file)
	if kind == "memory-backend-file" && s.get("readonly") != "on" && (err != nil || info.Mode().IsRegular()) {
		file = filepath.Dir(file) // a nameless file beside the one that the VM has
		s.set("mem-path", file)
	}
	if s.get("hugetlb") == "on" || isHuge(file) {
		s.set("reserve", "off")
	}
	return nil
}

func isHuge(dir string) bool {
	var fs unix.Statfs_t
	return dir != "" && unix.Statfs(dir, &fs) == nil && fs.Type == unix.HUGETLBFS_MAGIC
}

// device leaves alone what hangs on a helper of the VM. Devices of the host are refused by the policy.
func (r *rehearsal) device(kind string, _ settings) error {
	if strings.HasPrefix(kind, "vhost-user-") || strings.HasPrefix(kind, "ivshmem-doorbell") {
		return onlyConnection
	}
	return nil
}

// audio writes no file.
func (r *rehearsal) audio(kind string, s settings) error {
	if kind == "wav" {
		id, model := s.get("id"), s.get("model")
		become(s, "driver", "none")
		if id == "" {
			s.drop("id")
		}
		if model != "" {
			s.set("model", model)
		}
	}
	return nil
}
