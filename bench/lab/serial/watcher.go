// Package serial follows what guests print on their serial lines, and tells by their heartbeats whether, where and how well they run.
package serial

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// Watcher follows serial logs: the kernel tells which of them have grown, inotify(7).
type Watcher struct {
	mu      sync.Mutex // guards logs, added and dropped
	logs    map[logKey]*log
	added   []*log // that were not looked at yet
	dropped []*log // the watcher closes their files, which are its own
	events  int    // descriptor of the inotify instance
	stopped atomic.Bool
	done    chan struct{}
}

// logKey is a log as inotify names it.
type logKey struct {
	directory int32 // number of the watch
	name      string
}

// NewWatcher starts to follow the logs that it is given.
func NewWatcher() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w (fs.inotify.max_user_instances)", err)
	}
	w := &Watcher{logs: make(map[logKey]*log), events: fd, done: make(chan struct{})}
	go w.run()
	return w, nil
}

// look is how often logs that are new are looked at, whatever the kernel tells.
const look = 40 * time.Millisecond

// run has a thread of its own that goes before all others: where guests want all processors, a heartbeat that is seen late would pass for a pause.
func (w *Watcher) run() {
	defer close(w.done)
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	urgent := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	_ = unix.SchedSetAttr(0, &urgent, 0) // where it may
	buf := make([]byte, 64<<10)
	for !w.stopped.Load() {
		n := w.read(buf)
		now := time.Now()
		w.mu.Lock()
		grown, dropped := append(w.grown(buf[:n]), w.added...), w.dropped
		w.added, w.dropped = nil, nil
		w.mu.Unlock()
		closeLogs(dropped)
		for _, s := range grown {
			s.poll(now)
		}
	}
}

// read reads what the kernel tells, or nothing, after a while.
func (w *Watcher) read(buf []byte) int {
	ready := []unix.PollFd{{Fd: int32(w.events), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, int(look.Milliseconds())); n < 1 || err != nil {
		return 0
	}
	n, err := unix.Read(w.events, buf)
	if err != nil { // EINTR
		return 0
	}
	return n
}

// grown are the logs that events in b name; all, if the kernel has lost events.
func (w *Watcher) grown(b []byte) (logs []*log) {
	for len(b) >= unix.SizeofInotifyEvent {
		ev := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
		name := b[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+ev.Len]
		b = b[unix.SizeofInotifyEvent+ev.Len:]
		if ev.Mask&unix.IN_Q_OVERFLOW != 0 {
			return slices.Collect(maps.Values(w.logs))
		}
		if s := w.logs[logKey{ev.Wd, unix.ByteSliceToString(name)}]; s != nil {
			logs = append(logs, s)
		}
	}
	return logs
}

// watch follows another log, from now on.
func (w *Watcher) watch(h *lan.Host, path string) (*log, error) {
	directory, name := filepath.Split(path)
	w.mu.Lock()
	defer w.mu.Unlock()
	number, err := unix.InotifyAddWatch(w.events, directory, unix.IN_MODIFY|unix.IN_CREATE)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", directory, err)
	}
	s := &log{host: h, path: path, key: logKey{int32(number), name}}
	w.logs[s.key] = s
	w.added = append(w.added, s)
	return s, nil
}

// Follow follows what a guest prints from now on, on each of these hosts, into the file that Path names there. It beats every so often.
func (w *Watcher) Follow(hosts []*lan.Host, guest string, every time.Duration) (*Line, error) {
	l := &Line{guest: guest, every: every}
	for _, h := range hosts {
		s, err := w.watch(h, Path(h, guest))
		if err != nil {
			w.Drop(l)
			return nil, err
		}
		l.logs = append(l.logs, s)
	}
	return l, nil
}

// Drop stops following a line. What was seen of it stays.
func (w *Watcher) Drop(l *Line) { w.drop(l.logs) }

// drop stops following logs. What they hold stays.
func (w *Watcher) drop(gone []*log) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range gone {
		if w.logs[s.key] == s {
			delete(w.logs, s.key)
		}
	}
	w.added = slices.DeleteFunc(w.added, func(s *log) bool { return slices.Contains(gone, s) })
	w.dropped = append(w.dropped, gone...)
}

// Close ends the watcher and closes the logs.
func (w *Watcher) Close() {
	w.stopped.Store(true)
	<-w.done
	unix.Close(w.events)
	closeLogs(slices.Collect(maps.Values(w.logs)))
	closeLogs(w.dropped)
}

func closeLogs(logs []*log) {
	for _, s := range logs {
		if s.file != nil {
			s.file.Close()
		}
	}
}
