package quota

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/qemu/process"
)

// Use is what threads of a process use of the host's processors while nothing is taken from them.
type Use struct {
	pid     int
	threads []int
	began   time.Time
	before  time.Duration // that they had used then

	mu         sync.Mutex // guards what follows
	processors float64    // 0 = it is measured yet
}

// Measure begins to measure the use of threads.
func Measure(pid int, threads []int) (*Use, error) {
	if len(threads) == 0 {
		return nil, errors.New("no threads")
	}
	before, err := used(pid, threads)
	return &Use{pid: pid, threads: threads, began: time.Now(), before: before}, err
}

// shortest is how long use must be measured to count, leastUse what the laziest threads are taken to use.
const (
	shortest = 200 * time.Millisecond
	leastUse = 0.01
)

// Processors is how many processors all threads together have used, until Settle.
func (u *Use) Processors() (float64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.measured()
}

// Settle ends the measurement: something is about to be taken from the threads. Then it is Processors.
func (u *Use) Settle() (processors float64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if processors, err = u.measured(); err == nil {
		u.processors = processors
	}
	return processors, err
}

// measured is what was measured until now, or until Settle; mu is held.
func (u *Use) measured() (float64, error) {
	if u.processors > 0 {
		return u.processors, nil
	}
	now, err := used(u.pid, u.threads)
	if err != nil {
		return 0, err
	}
	took := time.Since(u.began)
	if took < shortest {
		return 0, fmt.Errorf("the use of its processors was measured for %v only", took)
	}
	return max(leastUse, (now-u.before).Seconds()/took.Seconds()), nil
}

// Threads is how many there are.
func (u *Use) Threads() int { return len(u.threads) }

// used is the processor time of threads.
func used(pid int, threads []int) (sum time.Duration, err error) {
	for _, t := range threads {
		b, err := process.ReadFile(pid, fmt.Sprintf("task/%d/schedstat", t), 256)
		if err != nil {
			return 0, err
		}
		ns, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("thread %d of process %d: %w", t, pid, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}
