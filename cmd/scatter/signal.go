package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/scatter-vm/scatter/scatter"
)

// endings are the signals that ask for an end. A lost terminal is one, unless nohup says otherwise.
func endings() []os.Signal {
	list := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	return list
}

// interruptible returns a context that the first of them cancels with scatter.ErrCancelled. The second one says what
// stopping at once would cost, the third stops at once through exit. between lists the VMs that
// are between two hosts at the moment. stop ends the watch.
func interruptible(ctx context.Context, say func(format string, args ...any), between func() []string, exit func(code int)) (_ context.Context, stop func()) {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, endings()...)
	ctx, cancel := context.WithCancelCause(ctx)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		watchSignals(signals, done, say, cancel, between, exit)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel(nil)
	}
}

func watchSignals(signals <-chan os.Signal, done <-chan struct{}, say func(format string, args ...any), cancel context.CancelCauseFunc, between func() []string, exit func(int)) {
	for n := 1; ; n++ {
		select {
		case <-done:
			return
		case <-signals:
		}
		switch n {
		case 1:
			say("cancelling; VMs that are not yet switched over stay on the source")
			cancel(scatter.ErrCancelled)
		case 2:
			say("%s", costOfStopping(between()))
		default:
			exit(codeOfStopping(between()))
		}
	}
}

func costOfStopping(vms []string) string {
	if len(vms) == 0 {
		return "still undoing; nothing would be lost by stopping at once, but targets keep their prepared QEMUs for a while. Again to stop at once"
	}
	return fmt.Sprintf("still switching over: %s. Stopping at once would leave them paused and in doubt until 'scatter recover' was run; "+
		"no memory is lost. Wait, or again to stop at once", strings.Join(vms, ", "))
}

func codeOfStopping(vms []string) int {
	if len(vms) > 0 {
		return exitInDoubt
	}
	return exitCancelled
}
