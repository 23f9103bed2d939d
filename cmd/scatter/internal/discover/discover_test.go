package discover

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter"
)

// startVM starts a QEMU whose guest does not run, with its monitor at socket.
func startVM(t *testing.T, socket string, args ...string) {
	t.Helper()
	args = append([]string{"-nodefaults", "-display", "none", "-net", "none", "-m", "16", "-S", "-qmp", "unix:" + socket + ",server=on,wait=off"}, args...)
	cmd := exec.Command("/usr/bin/qemu-system-x86_64", args...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("QEMU is needed: apt-get install qemu-system-x86 (%v)", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for t.Context().Err() == nil {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// monitor opens the monitor of a QEMU.
func monitor(t *testing.T, socket string) *qemu.Client {
	t.Helper()
	c, err := qemu.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestFindVMs: of the sockets that match, those of VMs that live here are taken; what is passed over is told, and a VM that is there but held
// by another client is not forgotten.
func TestFindVMs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name+".qmp") }
	startVM(t, at("live"))
	startVM(t, at("coming"), "-incoming", "defer")
	startVM(t, at("left"))
	startVM(t, at("held"))
	left := monitor(t, at("left"))
	if err := left.Do(t.Context(), "migrate", map[string]string{"uri": "exec:cat >/dev/null"}, nil); err != nil {
		t.Fatal(err)
	}
	for s, err := left.Status(t.Context()); s.Status != "postmigrate"; s, err = left.Status(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	left.Close()
	monitor(t, at("held"))
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("dead")})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := os.WriteFile(at("plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var cfg scatter.SendConfig
	var told []string
	tell := func(e scatter.Event) { told = append(told, e.Type+" "+e.Message) }
	if err := VMs(context.Background(), &cfg, at("*"), tell); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.VMs, []string{at("live")}) || len(cfg.Held) != 1 || cfg.Held[0].VM != at("held") {
		t.Errorf("VMs %q, held %v", cfg.VMs, cfg.Held)
	}
	want := []string{at("coming") + ": passed over: its VM waits", at("dead") + ": passed over: nobody", at("left") + ": passed over: its VM has been migrated"}
	if len(told) != len(want) {
		t.Errorf("told %q", told)
	}
	for i := range want {
		if !strings.HasPrefix(told[i], "warning "+want[i]) {
			t.Errorf("told %q, want %q", told[i], want[i])
		}
	}
	err = VMs(context.Background(), &scatter.SendConfig{}, at("none*"), tell)
	if _, ok := errors.AsType[*scatter.BlockedError](err); !ok {
		t.Errorf("no match: %v", err)
	}
}
