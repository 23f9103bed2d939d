package scatter

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter/control"
)

// usage is what a process has used.
type usage struct {
	cpu    float64 // seconds
	memory int64   // bytes resident, at most
}

// ownUsage is that of this process; zero where the system does not tell.
func ownUsage() (u usage) {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return u
	}
	seconds := func(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return usage{cpu: seconds(r.Utime) + seconds(r.Stime), memory: r.Maxrss << 10}
}

// told is what a peer has told of its process.
type told struct {
	mu          sync.Mutex // guards what follows
	first, last usage
	known       bool
}

func (t *told) take(p control.Ping) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = usage{cpu: max(0, p.CPU), memory: max(0, p.Memory)}
	if !t.known {
		t.first, t.known = t.last, true
	}
}

// since is what it has used since it told first, and what it had in memory at most.
func (t *told) since() usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return usage{cpu: max(0, t.last.cpu-t.first.cpu), memory: t.last.memory}
}
