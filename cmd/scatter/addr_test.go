package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter"
)

func TestParseTargets(t *testing.T) {
	got, err := parseTargets([]string{"beta=10.0.0.2:7400", "10.0.0.3:7400", "[fd00::1]:7400"})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, g := range got {
		text = append(text, g.String())
	}
	if !slices.Equal(text, []string{"beta=10.0.0.2:7400", "10.0.0.3:7400", "[fd00::1]:7400"}) {
		t.Errorf("got %q", text)
	}
	for arg, want := range map[string]string{
		"beta": "want IP:PORT", "beta=10.0.0.2": "want IP:PORT", "=10.0.0.2:1": "empty name", "10.0.0.2:0": "port > 0",
		"239.0.0.1:7400": "host's address", "host.example:7400": "want IP:PORT", "": "want IP:PORT",
	} {
		if _, err := parseTargets([]string{arg}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", arg, err, want)
		}
	}
	if _, err := parseTargets([]string{"a=10.0.0.2:1", "a=10.0.0.3:1"}); err == nil || !strings.Contains(err.Error(), "same as") {
		t.Errorf("two targets of one name: %v", err)
	}
}

func TestParsePairs(t *testing.T) {
	got, err := parsePairs("place", []string{"web=beta", "db=gamma=x"})
	if err != nil || got["web"] != "beta" || got["db"] != "gamma=x" {
		t.Fatalf("%v %v", got, err)
	}
	for _, bad := range [][]string{{"web"}, {"=beta"}, {"web="}, {"web=a", "web=b"}} {
		if _, err := parsePairs("place", bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestFindVMs(t *testing.T) {
	dir := t.TempDir()
	live, err := net.Listen("unix", filepath.Join(dir, "live.qmp"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "dead.qmp")})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := os.WriteFile(filepath.Join(dir, "plain.qmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var cfg scatter.SendConfig
	var told []string
	tell := func(e scatter.Event) { told = append(told, e.Type+" "+e.Message) }
	if err := findVMs(context.Background(), &cfg, filepath.Join(dir, "*.qmp"), tell); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.VMs, []string{live.Addr().String()}) {
		t.Errorf("VMs %q", cfg.VMs)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "warning "+dir+"/dead.qmp") {
		t.Errorf("told %q", told)
	}
	err = findVMs(context.Background(), &scatter.SendConfig{}, filepath.Join(dir, "*.none"), tell)
	if _, ok := errors.AsType[*scatter.BlockedError](err); !ok {
		t.Errorf("no match: %v", err)
	}
}

func TestNotifySystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	for _, name := range []string{path, "@scatter-test-" + filepath.Base(t.TempDir()) + filepath.Base(filepath.Dir(path))} {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if err := notifySystemd(name, "READY=1"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := l.Read(b)
		if err != nil || string(b[:n]) != "READY=1" {
			t.Errorf("got %q, %v", b[:n], err)
		}
		l.Close()
	}
	if err := notifySystemd("", "READY=1"); err != nil {
		t.Error(err)
	}
	if notifySystemd(filepath.Join(t.TempDir(), "none"), "READY=1") == nil {
		t.Error("no error from a missing socket")
	}
}
