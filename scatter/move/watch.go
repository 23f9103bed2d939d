package move

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/system"
)

// watchSources tells the core when a VM ends by itself, until ctx ends: its guest powers it off, or its QEMU ends.
func (e watching) watchSources(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	told := make([]chan struct{}, len(e.migrants)) // closed when all events of a VM were read
	for i, v := range e.migrants {
		told[i] = make(chan struct{})
		events := v.Subscribe(256)
		wg.Go(func() {
			defer close(told[i])
			defer events.Close()
			e.followState(ctx, v, events)
		})
	}
	e.watchProcesses(ctx, told)
}

// followState reads a VM's events until its monitor closes.
func (e watching) followState(ctx context.Context, v *migrant, events *qemu.Subscription) {
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-events.C:
			if !ok {
				return
			}
			switch ev.Event {
			case "SHUTDOWN":
				v.shutDown(reasonOf(ev))
				e.poweredOff(ctx, v)
			case "STOP", "RESUME", "SUSPEND", "WAKEUP":
				v.look(ctx)
			}
		}
	}
}

// reasonOf is why QEMU shuts a VM down, in its own words.
func reasonOf(ev qemu.Event) string {
	reason, _ := ev.Data["reason"].(string)
	return reason
}

// poweredOff tells the core of a guest that has powered itself off and whose QEMU stays (-no-shutdown). One that ends is seen by its process.
func (e watching) poweredOff(ctx context.Context, v *migrant) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	for {
		status, err := v.Status(ctx)
		if err == nil && status.Status == "shutdown" {
			e.Post(handover.Event{Kind: handover.EvPoweredOff, VM: v.Index, Err: errPoweredOff(v)})
			return
		}
		if err != nil || system.Pause(ctx, 10*time.Millisecond) != nil {
			return
		}
	}
}

func errPoweredOff(v *migrant) error {
	return fmt.Errorf("vm %s: its guest has powered itself off", v.Name())
}

// watchProcesses waits for the end of the QEMUs' processes.
func (e watching) watchProcesses(ctx context.Context, told []chan struct{}) {
	fds := make([]unix.PollFd, len(e.migrants)) // -1 is never ready: such a process is looked at now and then
	for i, v := range e.migrants {
		fds[i] = unix.PollFd{Fd: int32(v.Proc.Dup()), Events: unix.POLLIN}
		defer unix.Close(int(fds[i].Fd))
	}
	ended := make([]bool, len(e.migrants))
	for ctx.Err() == nil {
		if _, err := unix.Poll(fds, 100); err != nil && err != unix.EINTR {
			e.Log.Error("QEMUs cannot be watched", "err", err)
			return
		}
		for i, v := range e.migrants {
			if !ended[i] && !v.Proc.Alive() {
				ended[i], fds[i].Fd = true, -1
				e.processEnded(ctx, v, told[i])
			}
		}
	}
}

// processEnded tells the core that a QEMU has ended, with what it has said of that.
func (e watching) processEnded(ctx context.Context, v *migrant, told <-chan struct{}) {
	select {
	case <-told:
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
	v.mu.Lock()
	reason := v.shutdown
	v.mu.Unlock()
	why := "killed, or crashed: it gave no reason"
	if reason != "" {
		why = "shut down (" + reason + ")"
	}
	e.Post(handover.Event{Kind: handover.EvSourceGone, VM: v.Index, Err: fmt.Errorf("vm %s: its QEMU (process %d) has ended: %s", v.Name(), v.Facts.PID, why)})
}
