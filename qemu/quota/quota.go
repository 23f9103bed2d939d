// Package quota takes processor time from threads of a process by a control group of their own: cpu.max of version 2 (a threaded group below that
// of the process), cpu.cfs_quota_us of version 1. What is taken is a share of what the threads have used, so that one that works little is slowed
// down, too.
package quota

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/qemu/process"
)

// Quota holds threads to a part of the time that they used before. A process of its own gives all back when ours ends, however it does.
type Quota struct {
	group group
	use   *Use

	mu    sync.Mutex // guards what follows
	taken float64    // share
	guard *guard     // nil: nothing was taken
}

// Of prepares a quota for the threads whose use is measured. Nothing is changed yet. It is an error when the kernel has no processor controller for
// them that we may use.
func Of(use *Use) (*Quota, error) {
	g, err := groupOf(use.pid, use.threads[0])
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !os.IsExist(err) {
		return nil, err
	} else if err == nil {
		_ = os.Remove(g.dir) // it could be made
	}
	return &Quota{group: g, use: use}, nil
}

// Take takes a share of the threads' time, 0 to less than 1, from now on; 0 gives all back.
func (q *Quota) Take(share float64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if share <= 0 {
		q.taken = 0
		return q.giveBack()
	}
	use, err := q.use.Settle()
	if err != nil {
		return err
	}
	if q.guard == nil {
		g, err := newGuard(q.group, q.use.threads)
		if err != nil {
			return err
		}
		q.guard = g
		if err := q.group.enter(q.use.threads); err != nil {
			return errors.Join(err, q.giveBack())
		}
	}
	if err := q.group.limit(use * (1 - share)); err != nil {
		return err
	}
	q.taken = share
	return nil
}

// Taken is the share that is taken now.
func (q *Quota) Taken() float64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.taken
}

// giveBack gives the threads all they can get, in the group where they were; mu is held.
func (q *Quota) giveBack() error {
	if q.guard == nil {
		return nil
	}
	_ = q.guard.end() // what it could not do is done here
	q.guard = nil
	if _, err := os.Stat(q.group.dir); err != nil {
		return nil
	}
	return q.group.leave(q.use.threads)
}

// guard is a process that puts threads back into the group where they were, and removes ours, when its standard input ends: at the latest
// when we do, also by SIGKILL, which must not leave a VM slow for ever.
type guard struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func newGuard(g group, threads []int) (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", g.restore(), g.dir}, texts(threads)...)...)
	cmd.Dir, cmd.Env, cmd.Stdin = "/", process.Environment(), r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	return &guard{cmd, w}, nil
}

func texts(threads []int) (all []string) {
	for _, t := range threads {
		all = append(all, strconv.Itoa(t))
	}
	return all
}

// end has the guard put all back, and waits for it.
func (g *guard) end() error {
	g.in.Close()
	return g.cmd.Wait()
}

// group is a control group for threads, below the one where they are.
type group struct {
	dir    string // of ours
	parent string
	v2     bool
}

// period is that of quotas: short, so that a guest is slowed down rather than stopped in between.
const (
	period  = 10 * time.Millisecond
	least   = time.Millisecond       // the kernel's least quota
	longest = 100 * time.Millisecond // period: a guest that stands still for longer is felt
)

// Least is the least part of a processor that threads can be held to.
const Least = float64(least) / float64(longest)

// members is the file of a group that takes and lists its threads.
func (g group) members() string {
	if g.v2 {
		return "cgroup.threads"
	}
	return "tasks"
}

// limit lets the group have so many processors.
func (g group) limit(processors float64) error {
	every, quota := period, time.Duration(processors*float64(period))
	if quota < least {
		every, quota = min(longest, time.Duration(float64(least)/processors)), least
	}
	if g.v2 {
		return write(g.dir, "cpu.max", fmt.Sprintf("%d %d", quota.Microseconds(), every.Microseconds()))
	}
	// A longer period first lifts the limit, then the quota is set: in the other order a pair may be refused.
	return errors.Join(write(g.dir, "cpu.cfs_quota_us", "-1"), write(g.dir, "cpu.cfs_period_us", strconv.FormatInt(every.Microseconds(), 10)),
		write(g.dir, "cpu.cfs_quota_us", strconv.FormatInt(quota.Microseconds(), 10)))
}

// enter makes the group and puts the threads into it.
func (g group) enter(threads []int) error {
	if err := os.Mkdir(g.dir, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	if g.v2 {
		if err := write(g.dir, "cgroup.type", "threaded"); err != nil {
			return err
		}
		if err := write(g.parent, "cgroup.subtree_control", "+cpu"); err != nil {
			return err
		}
	}
	for _, t := range texts(threads) {
		if err := write(g.dir, g.members(), t); err != nil {
			return err
		}
	}
	return nil
}

// leave is what restore does.
func (g group) leave(threads []int) error {
	for _, t := range texts(threads) {
		_ = write(g.parent, g.members(), t) // it may have ended
	}
	return os.Remove(g.dir)
}

// restore is a shell's program that waits for the end of its input, puts threads ("$@") back, and removes the group ("$0").
func (g group) restore() string {
	return `read -r end; for t in "$@"; do echo "$t" > "$0/../` + g.members() + `"; done 2> /dev/null; for i in 1 2 3 4 5; do rmdir "$0" && exit; sleep .01; done`
}

func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("%s to %s: %w", value, f.Name(), err)
	}
	return nil
}
