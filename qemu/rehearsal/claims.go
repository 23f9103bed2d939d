package rehearsal

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// Claims are what a VM has for itself on its host: sockets, ports and network interfaces.
type Claims struct {
	sockets    []string // paths of unix sockets that it listens at
	ports      []listening
	interfaces []string // tap devices, by name
}

// listening is a TCP port at an address; an address that is not valid means every one.
type listening struct {
	addr netip.Addr
	port uint16
}

func (c *Claims) socket(path string) {
	if path != "" {
		c.sockets = append(c.sockets, path)
	}
}

// port takes a port as it is written, with an offset; what names none is passed over, such as 0 or a service's name.
func (c *Claims) port(host, port string, offset int) {
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n+offset <= 0 || n+offset > 65535 {
		return
	}
	l := listening{port: uint16(n + offset)}
	if host = strings.Trim(host, "[]"); host == "localhost" {
		host = "127.0.0.1"
	}
	if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
		l.addr = a.Unmap()
	}
	c.ports = append(c.ports, l)
}

// vnc takes a display as -vnc has it.
func (c *Claims) vnc(value string) {
	pairs, err := cmdline.ParseKeyval(value, "vnc")
	if err != nil || pairs.Get("reverse") == "on" || pairs.Get("to") != "" {
		return
	}
	if path, ok := strings.CutPrefix(pairs.Get("vnc"), "unix:"); ok {
		c.socket(path)
	} else if i := strings.LastIndexByte(pairs.Get("vnc"), ':'); i >= 0 {
		c.port(pairs.Get("vnc")[:i], pairs.Get("vnc")[i+1:], cmdline.FirstVNC)
	}
}

// charDevice takes the short form of a character device.
func (c *Claims) charDevice(value string) {
	place, rest, _ := strings.Cut(value, ",")
	pairs, _ := cmdline.ParseKeyval(rest, "")
	if !cmdline.IsOn(pairs.Get("server")) {
		return
	}
	kind, at, _ := strings.Cut(place, ":")
	switch kind {
	case "unix":
		c.socket(at)
	case "tcp", "telnet", "websocket", "tn3270":
		if i := strings.LastIndexByte(at, ':'); i >= 0 && pairs.Get("to") == "" {
			c.port(at[:i], at[i+1:], 0)
		}
	}
}

// forward takes a rule of user networking, such as tcp:127.0.0.1:2222-:22.
func (c *Claims) forward(rule string) {
	host, _, _ := strings.Cut(rule, "-")
	parts := strings.Split(host, ":")
	if len(parts) == 3 && (parts[0] == "tcp" || parts[0] == "") {
		c.port(parts[1], parts[2], 0)
	}
}

// Taken tells what of it somebody on this host has already. It only looks: nothing is opened or connected to.
func (c *Claims) Taken() error { return c.takenIn("/proc/net", "/sys/class/net") }

func (c *Claims) takenIn(procNet, classNet string) error {
	for _, path := range c.sockets {
		if served(procNet, path) {
			return fmt.Errorf("socket %s: somebody listens there already", path)
		}
	}
	if len(c.ports) > 0 {
		there := slices.Concat(listeners(procNet+"/tcp"), listeners(procNet+"/tcp6"))
		for _, want := range c.ports {
			for _, l := range there {
				if l.port == want.port && (!l.addr.IsValid() || !want.addr.IsValid() || l.addr == want.addr) {
					return fmt.Errorf("port %d: somebody listens there already", want.port)
				}
			}
		}
	}
	for _, name := range c.interfaces {
		if carrier, err := os.ReadFile(filepath.Join(classNet, name, "carrier")); err == nil && strings.TrimSpace(string(carrier)) == "1" {
			return fmt.Errorf("network interface %s: somebody has it already", name)
		}
	}
	return nil
}

// accepts is the flag of a unix socket that is listened at.
const accepts = 0x10000

// served tells whether somebody listens at a unix socket.
func served(procNet, path string) bool {
	b, err := os.ReadFile(procNet + "/unix")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // Num: RefCount Protocol Flags Type St Inode Path
		if len(f) < 8 || !strings.HasSuffix(strings.TrimSuffix(line, "\n"), " "+f[6]+" "+path) {
			continue
		}
		if flags, err := strconv.ParseUint(f[3], 16, 64); err == nil && flags&accepts != 0 {
			return true
		}
	}
	return false
}

// listeners reads the TCP ports at which somebody listens.
func listeners(file string) (all []listening) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "0A" { // the state LISTEN
			continue
		}
		host, port, _ := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			continue
		}
		l := listening{port: uint16(n)}
		if a := hexAddr(host); a.IsValid() && !a.IsUnspecified() {
			l.addr = a.Unmap()
		}
		all = append(all, l)
	}
	return all
}

// hexAddr reads an address as the kernel prints it: words of 32 bits in the order of this machine, which is little endian.
func hexAddr(s string) netip.Addr {
	var b []byte
	for i := 0; i+8 <= len(s); i += 8 {
		w, err := strconv.ParseUint(s[i:i+8], 16, 32)
		if err != nil {
			return netip.Addr{}
		}
		b = append(b, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
