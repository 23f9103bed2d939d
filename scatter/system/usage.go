package system

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter/control"
)

// usage is what a process has used.
type usage struct {
	CPU    float64 // seconds
	Memory int64   // bytes resident, at most
}

// OwnUsage is that of this process; zero where the system does not tell.
func OwnUsage() (u usage) {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return u
	}
	seconds := func(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return usage{CPU: seconds(r.Utime) + seconds(r.Stime), Memory: r.Maxrss << 10}
}

// Told is what a peer has told of its process.
type Told struct {
	mu          sync.Mutex // guards what follows
	first, last usage
	known       bool
}

// Take notes what a peer has told.
func (t *Told) Take(p control.Ping) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = usage{CPU: max(0, p.CPU), Memory: max(0, p.Memory)}
	if !t.known {
		t.first, t.known = t.last, true
	}
}

// Since is what it has used since it told first, and what it had in memory at most.
func (t *Told) Since() usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return usage{CPU: max(0, t.last.CPU-t.first.CPU), Memory: t.last.Memory}
}
