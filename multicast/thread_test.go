package multicast

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOwnThread wants the priority for the thread that asks, where it may be had, and for no other.
func TestOwnThread(t *testing.T) {
	priority := func(thread int) int {
		p, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
		if err != nil {
			t.Error(err)
		}
		return 20 - p // as the system call gives it
	}
	first := os.Getpid()
	before := priority(first)
	done := make(chan int)
	go func() {
		err, own := ownThread(), unix.Gettid()
		switch got := priority(own); {
		case err == nil && got != haste:
			t.Errorf("nice value %d, want %d", got, haste)
		case err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM):
			t.Error(err)
		}
		done <- own
	}()
	if own := <-done; own != first && priority(first) != before {
		t.Errorf("another thread's nice value has become %d", priority(first))
	}
}
