package rehearsal

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// TestClaims: what a VM wants for itself is found taken by whoever has it, and by nobody else.
func TestClaims(t *testing.T) {
	dir := kit.ShortDir(t)
	path := filepath.Join(dir, "with blank")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	_, number, _ := net.SplitHostPort(port.Addr().String())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, unused, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	for name, c := range map[string]struct {
		claim func(*Claims)
		want  string
	}{
		"nothing":              {func(*Claims) {}, ""},
		"socket":               {func(c *Claims) { c.socket(path) }, "with blank: somebody"},
		"part of its name":     {func(c *Claims) { c.socket("blank") }, ""},
		"other socket":         {func(c *Claims) { c.socket(path + "2") }, ""},
		"port":                 {func(c *Claims) { c.port("", number, 0) }, "port " + number},
		"port here":            {func(c *Claims) { c.port("localhost", number, 0) }, "port " + number},
		"port elsewhere":       {func(c *Claims) { c.port("127.0.0.2", number, 0) }, ""},
		"port of another kind": {func(c *Claims) { c.port("[::1]", number, 0) }, ""},
		"free port":            {func(c *Claims) { c.port("", unused, 0) }, ""},
		"no port":              {func(c *Claims) { c.port("", "0", 0); c.port("", "ssh", 0); c.port("", "-1", 5900) }, ""},
		"forwarded":            {func(c *Claims) { c.forward("tcp::" + number + "-:22") }, "port " + number},
		"forwarded by UDP":     {func(c *Claims) { c.forward("udp::" + number + "-:22") }, ""},
		"serial line":          {func(c *Claims) { c.charDevice("tcp:127.0.0.1:" + number + ",server=on,wait=off") }, "port " + number},
		"serial client":        {func(c *Claims) { c.charDevice("tcp:127.0.0.1:" + number) }, ""},
		"vnc socket":           {func(c *Claims) { c.vnc("unix:" + path) }, "with blank"},
		"vnc range":            {func(c *Claims) { c.vnc("127.0.0.1:1,to=90") }, ""},
		"interface":            {func(c *Claims) { c.interfaces = []string{"lo"} }, "interface lo"},
		"no interface":         {func(c *Claims) { c.interfaces = []string{"nowhere"} }, ""},
	} {
		var claims Claims
		c.claim(&claims)
		if err := claims.Taken(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestClaimsWhereNothingCanBeSeen: without procfs nothing is refused.
func TestClaimsWhereNothingCanBeSeen(t *testing.T) {
	dir := kit.ShortDir(t)
	c := Claims{sockets: []string{"/x"}, ports: []listening{{port: 1}}, interfaces: []string{"eth0"}}
	if err := c.takenIn(dir, dir); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(dir+"/tcp", []byte("garbage\n 0: zz:zz 0 0A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.takenIn(dir, dir); err != nil {
		t.Error(err)
	}
}
