package inspect

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/scatter-vm/scatter/scatter/pki"
)

const (
	noCaps    = "Name:\tscatter\nCapEff:\t0000000000000000\n"
	ptraceCap = "CapEff:\t0000000000080000\n"
	adminCap  = "CapEff:\t0000000000001000\n"
)

// fakeHost has the given files, an interface and QEMUs that answer with their version.
func fakeHost(files map[string]string, i net.Interface, addrs ...string) checkedHost {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return checkedHost{
		root: root,
		iface: func(name string) (*net.Interface, []net.Addr, error) {
			if name != i.Name {
				return nil, nil, errors.New("no such network interface")
			}
			var all []net.Addr
			for _, a := range addrs {
				all = append(all, &net.IPNet{IP: net.ParseIP(a), Mask: net.CIDRMask(120, 128)})
			}
			return &i, all, nil
		},
		run: func(_ context.Context, binary string) (string, error) {
			text, ok := files[strings.TrimPrefix(binary, "/")]
			if !ok {
				return "", errors.New("no such file")
			}
			return text, nil
		},
	}
}

func wantFinding(t *testing.T, f Finding, level, text string) {
	t.Helper()
	if f.Level != level || !strings.Contains(f.Message, text) || (level == LevelOK) != (f.Remedy == "") {
		t.Errorf("got %+v, want level %s with %q", f, level, text)
	}
}

func TestCheckConfinement(t *testing.T) {
	wantFinding(t, checkConfinement(true, true), LevelOK, "Landlock")
	wantFinding(t, checkConfinement(true, false), LevelWarning, "not to its ports")
	wantFinding(t, checkConfinement(false, false), LevelWarning, "are refused here")
}

func TestCheckPtrace(t *testing.T) {
	for _, c := range []struct{ status, scope, level, text string }{
		{ptraceCap, "3", LevelOK, ""},
		{noCaps, "1", LevelError, "ptrace_scope is 1"},
		{noCaps, "3", LevelError, "nobody can"},
		{noCaps, "0", LevelWarning, "only QEMUs of user"},
		{noCaps, "", LevelWarning, "only QEMUs of user"},
		{"CapEff:\tgarbage\n", "1", LevelError, "ptrace_scope"},
	} {
		files := map[string]string{"proc/self/status": c.status}
		if c.scope != "" {
			files["proc/sys/kernel/yama/ptrace_scope"] = c.scope + "\n"
		}
		h := fakeHost(files, net.Interface{})
		wantFinding(t, h.checkPtrace(h.capabilities()), c.level, c.text)
	}
}

func TestCheckReceiveBuffer(t *testing.T) {
	for _, c := range []struct{ status, max, level, text string }{
		{adminCap, "1", LevelOK, "CAP_NET_ADMIN"},
		{noCaps, "4194304", LevelOK, "4194304"},
		{noCaps, "212992", LevelWarning, "212992"},
		{noCaps, "many", LevelWarning, "rmem_max"},
	} {
		h := fakeHost(map[string]string{"proc/self/status": c.status, "proc/sys/net/core/rmem_max": c.max + "\n"}, net.Interface{})
		wantFinding(t, h.checkReceiveBuffer(h.capabilities()), c.level, c.text)
	}
}

func TestCheckGroups(t *testing.T) {
	for text, level := range map[string]string{"20": LevelOK, "0": LevelWarning, "": LevelWarning} {
		h := fakeHost(map[string]string{"proc/sys/net/ipv4/igmp_max_memberships": text}, net.Interface{})
		wantFinding(t, h.checkGroups(), level, "igmp_max_memberships")
	}
}

func TestCheckInterface(t *testing.T) {
	const up = net.FlagUp | net.FlagMulticast
	for _, c := range []struct {
		name  string
		i     net.Interface
		addr  string
		level string
		text  string
	}{
		{"eth1", net.Interface{Name: "eth1", MTU: 1500, Flags: up}, "10.0.0.1", LevelOK, "MTU 1500"},
		{"eth9", net.Interface{Name: "eth1"}, "10.0.0.1", LevelError, "no such"},
		{"eth1", net.Interface{Name: "eth1", MTU: 1500, Flags: net.FlagMulticast}, "10.0.0.1", LevelError, "is down"},
		{"eth1", net.Interface{Name: "eth1", MTU: 1500, Flags: net.FlagUp}, "10.0.0.1", LevelWarning, "no multicast"},
		{"eth1", net.Interface{Name: "eth1", MTU: 576, Flags: up}, "10.0.0.1", LevelError, "MTU of 576"},
		{"eth1", net.Interface{Name: "eth1", MTU: 1500, Flags: up}, "fe80::1", LevelError, "no address"},
		{"eth1", net.Interface{Name: "eth1", MTU: 1500, Flags: up}, "2001:db8::1", LevelWarning, "no IPv4 address"},
	} {
		wantFinding(t, fakeHost(nil, c.i, c.addr).checkInterface(c.name, netip.Addr{}), c.level, c.text)
	}
	h := fakeHost(nil, net.Interface{Name: "eth1", MTU: 1500, Flags: up}, "2001:db8::1")
	wantFinding(t, h.checkInterface("eth1", netip.MustParseAddr("ff15::77:0")), LevelOK, "MTU 1500")
}

func TestCheckQEMU(t *testing.T) {
	files := map[string]string{
		"usr/bin/qemu-system-x86_64":  "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n",
		"usr/bin/qemu-system-aarch64": "QEMU emulator version 7.2.19\n",
		"usr/bin/qemu-system-wrapper": "something else\n",
	}
	h := fakeHost(files, net.Interface{})
	h.root.(fstest.MapFS)["usr/bin/qemu-system-amd64"] = &fstest.MapFile{Data: []byte("qemu-system-x86_64"), Mode: fs.ModeSymlink}
	all := h.checkQEMU(t.Context(), "")
	if len(all) != 3 {
		t.Fatalf("%d findings: %v", len(all), all)
	}
	wantFinding(t, all[0], LevelWarning, "7.2: below 9.0")
	wantFinding(t, all[1], LevelWarning, "does not tell its version")
	wantFinding(t, all[2], LevelOK, "10.0")

	wantFinding(t, h.checkQEMU(t.Context(), "/opt/qemu")[0], LevelError, "no such file")
	wantFinding(t, fakeHost(nil, net.Interface{}).checkQEMU(t.Context(), "")[0], LevelWarning, "no /usr/bin/qemu-system")
}

func TestCheckTLS(t *testing.T) {
	ca, dir := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "tls")
	if err := errors.Join(pki.Init(ca), pki.Issue(ca, "alpha", []netip.Addr{netip.MustParseAddr("10.0.0.1")}, dir)); err != nil {
		t.Fatal(err)
	}
	for _, f := range checkTLS(dir) {
		wantFinding(t, f, LevelOK, dir)
	}
	if err := os.Chmod(filepath.Join(dir, pki.ServerKey), 0o666); err != nil {
		t.Fatal(err)
	}
	all := checkTLS(dir)
	wantFinding(t, all[0], LevelOK, dir)
	wantFinding(t, all[1], LevelError, "chmod 600")
	for _, f := range checkTLS(t.TempDir()) {
		wantFinding(t, f, LevelError, "no such file")
	}
}

func TestCheckTools(t *testing.T) {
	wantFinding(t, checkTools(nil), LevelOK, "can be made")
	wantFinding(t, checkTools([]string{"qemu-img", "qemu-nbd"}), LevelWarning, "no qemu-img, and no qemu-nbd")
}

// TestCheckOfThisHost runs the real thing, whatever this host is like.
func TestCheckOfThisHost(t *testing.T) {
	all, err := Check(t.Context(), Config{Interface: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"guest memory", "receive buffer", "multicast groups", "interface", "image tools"} {
		if !slices.ContainsFunc(all, func(f Finding) bool { return f.Check == name && f.Level != "" && f.Message != "" }) {
			t.Errorf("no finding about %s in %v", name, all)
		}
	}
}
