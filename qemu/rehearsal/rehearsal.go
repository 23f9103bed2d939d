package rehearsal

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// UntriedError says why a command line cannot be tried without taking something from the VM that is to be started later.
type UntriedError struct{ Option, Reason string }

func (e *UntriedError) Error() string { return e.Option + ": " + e.Reason }

// Of makes of the options of a VM's command line those of its rehearsal, whose own files are in base.*. What the VM itself is going to take
// is in claims. The error is an *UntriedError, if it is not one of the command line.
func Of(options []cmdline.Argument, base string) (args []string, claims *Claims, err error) {
	r := rehearsal{base: base}
	for _, o := range options {
		now, err := r.item(o)
		if err != nil {
			return nil, nil, err
		}
		args = append(args, now...)
	}
	return args, &r.claims, nil
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

func (r *rehearsal) item(it cmdline.Argument) ([]string, error) {
	f := changes[it.Name]
	switch {
	case it.Name == "":
		return []string{it.Value}, nil
	case !it.HasValue && f != nil:
		return nil, nil
	case !it.HasValue:
		return []string{"-" + it.Name}, nil
	case f == nil:
		return []string{"-" + it.Name, it.Value}, nil
	}
	value, keep, err := f(r, it.Value)
	if u, ok := err.(*UntriedError); ok {
		err = &UntriedError{it.Option() + " " + cmdline.Shorten(it.Value), u.Reason}
	}
	if err != nil || !keep {
		return nil, err
	}
	return []string{"-" + it.Name, value}, nil
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
	pairs, err := cmdline.ParseKeyval(value, "")
	if err != nil {
		return "", false, err
	}
	if cmdline.IsOn(pairs.Get("unix")) {
		r.claims.socket(pairs.Get("addr"))
	} else {
		r.claims.port(pairs.Get("addr"), pairs.Get("port"), 0)
		r.claims.port(pairs.Get("addr"), pairs.Get("tls-port"), 0)
	}
	return "unix=on,addr=" + cmdline.EscapeComma(r.socket()) + ",disable-ticketing=on", true, nil
}

// socket is the path of another socket that only this rehearsal has.
func (r *rehearsal) socket() string {
	r.sockets++
	return r.base + "." + strconv.Itoa(r.sockets)
}

// fields makes a change of the keys of a value.
func fields(implied string, f func(r *rehearsal, kind string, s cmdline.Settings) error) change {
	return func(r *rehearsal, value string) (string, bool, error) {
		if strings.HasPrefix(value, "{") {
			tree, err := cmdline.ParseTree(value)
			if err != nil {
				return "", false, err
			}
			if err := f(r, tree.Get(implied), tree); err != nil {
				return "", false, err
			}
			now, err := tree.Format()
			return now, true, err
		}
		pairs, err := cmdline.ParseKeyval(value, implied)
		if err != nil {
			return "", false, err
		}
		if err := f(r, pairs.Get(implied), &pairs); err != nil {
			return "", false, err
		}
		return cmdline.FormatKeyval(pairs, implied), true, nil
	}
}

// become leaves the id, and the multiplexer, and makes the rest another back end.
func become(s cmdline.Settings, implied, kind string, with ...cmdline.Pair) {
	id, mux := s.Get("id"), s.Get("mux")
	switch s := s.(type) {
	case *cmdline.Pairs:
		*s = cmdline.Pairs{{Key: implied, Value: kind}, {Key: "id", Value: id}}
	case cmdline.Tree:
		clear(s)
		s[implied], s["id"] = kind, id
	}
	if mux != "" {
		s.Set("mux", mux)
	}
	for _, p := range with {
		s.Set(p.Key, p.Value)
	}
}

func (r *rehearsal) chardev(kind string, s cmdline.Settings) error {
	switch kind {
	case "socket":
		if cmdline.IsOn(s.Get("server")) {
			if r.claims.socket(s.Get("path")); s.Get("to") == "" {
				r.claims.port(s.Get("host"), s.Get("port"), 0)
			}
			become(s, "backend", "socket", cmdline.Pair{Key: "path", Value: r.socket()}, cmdline.Pair{Key: "server", Value: "on"}, cmdline.Pair{Key: "wait", Value: "off"})
			return nil
		}
		become(s, "backend", "null")
	case "udp", "pipe", "stdio", "serial", "tty", "parallel", "parport":
		become(s, "backend", "null")
	case "file":
		s.Set("append", "on")
	case "pty":
		s.Drop("path")
	}
	if s.Get("logfile") != "" {
		s.Set("logappend", "on")
	}
	return nil
}

func (r *rehearsal) netdev(kind string, s cmdline.Settings) error {
	switch kind {
	case "user":
		r.user(s)
	case "tap":
		r.tap(s)
		if os.Geteuid() != 0 && s.Get("helper") == "" { // a new interface needs privileges, an existing one has its VM
			become(s, "type", "hubport", cmdline.Pair{Key: "hubid", Value: "0"})
		}
	case "bridge", "hubport":
	case "vhost-user", "vhost-vdpa":
		return onlyConnection
	default:
		become(s, "type", "hubport", cmdline.Pair{Key: "hubid", Value: "0"})
	}
	return nil
}

// user forwards no port.
func (r *rehearsal) user(s cmdline.Settings) {
	if k, ok := s.(*cmdline.Pairs); ok {
		for _, p := range *k {
			if p.Key == "hostfwd" {
				r.claims.forward(p.Value)
			}
		}
	}
	s.Drop("hostfwd")
}

// tap takes an interface of its own, which goes with the process.
func (r *rehearsal) tap(s cmdline.Settings) {
	if name := s.Get("ifname"); name != "" {
		r.claims.interfaces = append(r.claims.interfaces, name)
	}
	s.Drop("ifname")
	if s.Get("helper") == "" {
		s.Set("script", "no")
		s.Set("downscript", "no")
	}
}

// nic is netdev for the forms that name card and back end at once.
func (r *rehearsal) nic(kind string, s cmdline.Settings) error {
	switch kind {
	case "none", "nic", "bridge", "hubport":
	case "user":
		r.user(s)
	case "tap":
		r.tap(s)
		if os.Geteuid() != 0 && s.Get("helper") == "" {
			return &UntriedError{Reason: "a try would need an interface of its own, for which recv must run as root"}
		}
	default:
		return &UntriedError{Reason: "a try would take its place in the network"}
	}
	return nil
}

// object keeps memory from being touched, or reserved, for a VM that does not run.
func (r *rehearsal) object(kind string, s cmdline.Settings) error {
	if kind == "cryptodev-vhost-user" {
		return onlyConnection
	}
	if !strings.HasPrefix(kind, "memory-backend-") {
		return nil
	}
	s.Set("prealloc", "off")
	file := s.Get("mem-path")
	info, err := os.Stat(file)
	if kind == "memory-backend-file" && s.Get("readonly") != "on" && (err != nil || info.Mode().IsRegular()) {
		file = filepath.Dir(file) // a nameless file beside the one that the VM has
		s.Set("mem-path", file)
	}
	if s.Get("hugetlb") == "on" || isHuge(file) {
		s.Set("reserve", "off")
	}
	return nil
}

func isHuge(dir string) bool {
	var fs unix.Statfs_t
	return dir != "" && unix.Statfs(dir, &fs) == nil && fs.Type == unix.HUGETLBFS_MAGIC
}

// device leaves alone what hangs on a helper of the VM. Devices of the host are refused by the policy.
func (r *rehearsal) device(kind string, _ cmdline.Settings) error {
	if strings.HasPrefix(kind, "vhost-user-") || strings.HasPrefix(kind, "ivshmem-doorbell") {
		return onlyConnection
	}
	return nil
}

// audio writes no file.
func (r *rehearsal) audio(kind string, s cmdline.Settings) error {
	if kind == "wav" {
		id, model := s.Get("id"), s.Get("model")
		become(s, "driver", "none")
		if id == "" {
			s.Drop("id")
		}
		if model != "" {
			s.Set("model", model)
		}
	}
	return nil
}
