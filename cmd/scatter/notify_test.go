package main

import (
	"net"
	"path/filepath"
	"testing"
)

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
