package target

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/bounds"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
)

// TestLogsOfVMsAreBounded: a guest that makes its QEMU complain fills no disk, and many that came and went leave the newest logs.
func TestLogsOfVMsAreBounded(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.guest(0, "web", life.Waiting)
	dir := s.r.cfg.RunDir
	path := filepath.Join(dir, "web.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.Write(append(bytes.Repeat([]byte("qemu: complaint\n"), bounds.MaxVMLog/8), "the last\n"...)); err != nil {
		t.Fatal(err)
	}
	for i := range bounds.MaxOldLogs + 9 {
		name := filepath.Join(dir, fmt.Sprintf("gone%d.log", i))
		kit.WriteFile(t, name, []byte("ended\n"))
		at := time.Now().Add(-time.Duration(i) * time.Hour)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	s.r.vmLogs.TidyOnce()
	if got := kit.ReadFile(t, path); len(got) != bounds.KeepVMLog || !bytes.HasSuffix(got, []byte("the last\n")) {
		t.Errorf("%d bytes stay, ending %q", len(got), got[len(got)-20:])
	}
	if _, err := log.WriteString("goes on\n"); err != nil || !bytes.HasSuffix(kit.ReadFile(t, path), []byte("the last\ngoes on\n")) {
		t.Errorf("QEMU does not go on where the log ends: %v", err)
	}
	if all := s.r.vmLogs.List(); len(all) != bounds.MaxOldLogs+1 {
		t.Errorf("%d logs stay", len(all))
	}
	if system.Exists(filepath.Join(dir, fmt.Sprintf("gone%d.log", bounds.MaxOldLogs))) || !system.Exists(filepath.Join(dir, "gone0.log")) {
		t.Error("the newest stay, the oldest go")
	}
	if h := s.held()["vm_log_bytes"]; h.Held != bounds.KeepVMLog+len("goes on\n")+bounds.MaxOldLogs*len("ended\n") {
		t.Errorf("told: %+v", h)
	}
}
