package qmp

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/system"
)

// TestWhyClosed: where QEMU has closed its migration, its own words count, and never a bare end of file.
func TestWhyClosed(t *testing.T) {
	v := found(t, "-m", "16")
	if err := v.Do(t.Context(), "migrate", map[string]string{"uri": "exec:exit 7"}, nil); err != nil {
		t.Fatal(err)
	}
	got := v.WhyClosed(t.Context(), io.EOF)
	if got == nil || !strings.Contains(got.Error(), "QEMU gave its migration up: ") || strings.Contains(got.Error(), "EOF") {
		t.Errorf("got %v", got)
	}
	exec.Command("kill", "-9", strconv.Itoa(v.VM.PID)).Run()
	<-v.Done()
	if got := v.WhyClosed(context.WithoutCancel(t.Context()), io.ErrUnexpectedEOF); got == nil || !strings.Contains(got.Error(), "its QEMU has ended") {
		t.Errorf("got %v", got)
	}
	if err := system.NoEOF(io.ErrUnexpectedEOF); strings.Contains(err.Error(), "EOF") || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}
