package system

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// WithFairTimeout ends a context once d has passed on a host with a processor to spare, and after most in any case. Where threads wait for
// processors, time counts as much as each of them gets: a busy host makes work slow, but not silent. Whoever calls the returned function gives up
// what belongs to the context.
func WithFairTimeout(ctx context.Context, d, most time.Duration, cause error) (context.Context, context.CancelFunc) {
	ctx, end := context.WithTimeoutCause(ctx, most, cause)
	ctx, slow := context.WithCancelCause(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		every := min(d, fairTick)
		for left := d; left > 0; left -= time.Duration(float64(every) * processorShare()) {
			if Pause(ctx, every) != nil {
				return
			}
		}
		slow(cause)
	}()
	return ctx, func() {
		slow(context.Canceled)
		end()
		<-over
	}
}

// fairTick is how often the load of the host is looked at.
const fairTick = 100 * time.Millisecond

// processorShare is how much of a processor a thread gets now, at most 1.
func processorShare() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 1
	}
	return min(1, float64(runtime.NumCPU())/float64(max(1, runnable(string(b)))))
}

// runnable is how many threads run or wait for a processor: the fourth field of loadavg, before its slash (proc_loadavg(5)). We are one of
// them. 0 if it does not say.
func runnable(loadavg string) int {
	fields := strings.Fields(loadavg)
	if len(fields) < 4 {
		return 0
	}
	running, _, _ := strings.Cut(fields[3], "/")
	n, err := strconv.Atoi(running)
	if err != nil {
		return 0
	}
	return n
}
