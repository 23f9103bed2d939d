package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/scatter"
)

// press sends n signals to the watch and returns what it said, the exit status it chose (-1: none) and the cancelled context.
func press(t *testing.T, n int, between ...string) (said string, code int, ctx context.Context) {
	t.Helper()
	signals, done := make(chan os.Signal), make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	var w strings.Builder
	code = -1
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watchSignals(signals, done, saying(&w), cancel, func() []string { return between }, func(c int) { code = c })
	}()
	for range n {
		signals <- os.Interrupt
	}
	close(done)
	<-ended
	return w.String(), code, ctx
}

func saying(w io.Writer) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
}

func TestFirstInterruptCancels(t *testing.T) {
	said, code, ctx := press(t, 1)
	if context.Cause(ctx) != scatter.ErrCancelled || code != -1 || !strings.Contains(said, "stay on the source") {
		t.Fatalf("%q, %d, %v", said, code, context.Cause(ctx))
	}
}

func TestSecondInterruptSaysWhatWouldBeLost(t *testing.T) {
	said, code, _ := press(t, 2, "web (commit)", "db (run)")
	if code != -1 || !strings.Contains(said, "still switching over: web (commit), db (run)") || !strings.Contains(said, "scatter recover") {
		t.Fatalf("%q, %d", said, code)
	}
	if said, _, _ = press(t, 2); !strings.Contains(said, "nothing would be lost") {
		t.Fatalf("%q", said)
	}
}

func TestThirdInterruptStops(t *testing.T) {
	if _, code, _ := press(t, 3); code != exitCancelled {
		t.Errorf("status %d, want %d", code, exitCancelled)
	}
	if _, code, _ := press(t, 3, "web (commit)"); code != exitInDoubt {
		t.Errorf("status %d, want %d", code, exitInDoubt)
	}
}

func TestInterruptibleCatchesRealSignals(t *testing.T) {
	ctx, stop := interruptible(t.Context(), saying(io.Discard), func() []string { return nil }, func(int) {})
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	stop()
	if context.Cause(ctx) != scatter.ErrCancelled {
		t.Fatalf("cause %v", context.Cause(ctx))
	}
}
