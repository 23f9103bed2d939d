package multicast

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOwnThread wants the priority for the thread that asks, where it may be had, and for no other; and no lower one than before.
func TestOwnThread(t *testing.T) {
	nice := func(thread int) int {
		n, err := niceness(thread)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	allowed := func(err error) bool {
		if err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
			t.Error(err)
		}
		return err == nil
	}
	first := os.Getpid()
	for _, urgent := range []int{0, haste - 5} {
		before := nice(first)
		done := make(chan int)
		go func() {
			defer func() { done <- unix.Gettid() }()
			runtime.LockOSThread() // ends with the goroutine, and the nice value with it
			if urgent != 0 && !allowed(unix.Setpriority(unix.PRIO_PROCESS, 0, urgent)) {
				return
			}
			if got := nice(0); allowed(ownThread()) && nice(0) != min(got, haste) {
				t.Errorf("nice value %d was %d", nice(0), got)
			}
		}()
		if own := <-done; own != first && nice(first) != before {
			t.Errorf("another thread's nice value has become %d", nice(first))
		}
	}
}
