package system

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// TestStandBehindGuests wants the nice value for the thread that asks, and for no other; and no lower one than before.
func TestStandBehindGuests(t *testing.T) {
	for _, was := range []int{kit.NiceOf(t, 0), Courtesy + 5} {
		before := kit.NiceOf(t, os.Getpid())
		done := make(chan int)
		go func() {
			defer func() { done <- unix.Gettid() }()
			runtime.LockOSThread() // ends with the goroutine, and the nice value with it
			if err := unix.Setpriority(unix.PRIO_PROCESS, 0, was); err != nil {
				t.Error(err)
				return
			}
			StandBehindGuests()
			if got, want := kit.NiceOf(t, 0), max(was, Courtesy); got != want {
				t.Errorf("nice value %d, was %d; want %d", got, was, want)
			}
		}()
		if own := <-done; own != os.Getpid() && kit.NiceOf(t, os.Getpid()) != before {
			t.Errorf("another thread's nice value has become %d", kit.NiceOf(t, os.Getpid()))
		}
	}
}
