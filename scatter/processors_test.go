package scatter

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// niceOf is the nice value of a thread, 0 = the caller's.
func niceOf(t *testing.T, thread int) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
	if err != nil {
		return 0 // it has just ended
	}
	return 20 - n
}

// TestStandBehindGuests wants the nice value for the thread that asks, and for no other; and no lower one than before.
func TestStandBehindGuests(t *testing.T) {
	for _, was := range []int{niceOf(t, 0), courtesy + 5} {
		before := niceOf(t, os.Getpid())
		done := make(chan int)
		go func() {
			defer func() { done <- unix.Gettid() }()
			runtime.LockOSThread() // ends with the goroutine, and the nice value with it
			if err := unix.Setpriority(unix.PRIO_PROCESS, 0, was); err != nil {
				t.Error(err)
				return
			}
			standBehindGuests()
			if got, want := niceOf(t, 0), max(was, courtesy); got != want {
				t.Errorf("nice value %d, was %d; want %d", got, was, want)
			}
		}()
		if own := <-done; own != os.Getpid() && niceOf(t, os.Getpid()) != before {
			t.Errorf("another thread's nice value has become %d", niceOf(t, os.Getpid()))
		}
	}
}

// TestBulkStandsBehindGuests: what makes blocks on the source and what places them on the targets leaves processors to guests.
func TestBulkStandsBehindGuests(t *testing.T) {
	const targets = 2
	d := openDrill(t, []int{0, 1}, func(c *SendConfig) { c.Rate = 1 << 20 })
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.e.runBulk(t.Context())
	}()
	most := 0
	for running := true; running; {
		most = max(most, threadsOfNice(t, courtesy))
		select {
		case <-done:
			running = false
		case <-time.After(time.Millisecond):
		}
	}
	if want := d.e.bulkWorkers() + targets; most < want { // threads of the scan may not have ended yet
		t.Errorf("%d threads stood behind guests, want %d at least", most, want)
	}
}

// threadsOfNice counts the threads of this process with a nice value.
func threadsOfNice(t *testing.T, nice int) (n int) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range threads {
		if id, err := strconv.Atoi(e.Name()); err == nil && niceOf(t, id) == nice {
			n++
		}
	}
	return n
}
