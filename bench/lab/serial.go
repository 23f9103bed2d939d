package lab

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Beat is one heartbeat of a guest's workload.
type Beat struct {
	At       time.Time // when the lab saw it
	Host     *Host     // where
	N        uint64    // counts from 0; no two beats of a guest have the same number
	Verified uint64    // pages verified so far
	Wrong    uint64    // of them, pages that did not hold what they must
}

// parseBeat reads one line of a serial log. Lines that are torn, because the guest moved while it wrote them, are no beats.
func parseBeat(line []byte) (b Beat, ok bool) {
	if len(line) == 0 || line[0] != 'h' {
		return b, false
	}
	fields := bytes.Split(line[1:], []byte(" "))
	if len(fields) != 3 {
		return b, false
	}
	for i, to := range []*uint64{&b.N, &b.Verified, &b.Wrong} {
		if *to, ok = parseHex(fields[i]); !ok {
			return b, false
		}
	}
	return b, true
}

func parseHex(s []byte) (v uint64, ok bool) {
	if len(s) == 0 || len(s) > 15 {
		return 0, false
	}
	for _, c := range s {
		d := bytes.IndexByte([]byte("0123456789abcdef"), c)
		if d < 0 {
			return 0, false
		}
		v = v<<4 | uint64(d)
	}
	return v, true
}

// serialLog follows what one guest prints while it runs on one host.
type serialLog struct {
	host *Host
	path string
	key  logKey

	file *os.File // these three belong to the watcher
	rest []byte
	buf  [4096]byte

	mu    sync.Mutex // guards what follows
	beats []Beat
	lines []string // everything else
}

// Beats returns the beats seen so far.
func (s *serialLog) Beats() []Beat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beats[:len(s.beats):len(s.beats)]
}

// Lines returns the other lines seen so far.
func (s *serialLog) Lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[:len(s.lines):len(s.lines)]
}

// poll takes in what was printed since the last time.
func (s *serialLog) poll(now time.Time) {
	if s.file == nil {
		file, err := os.Open(s.path)
		if err != nil {
			return // the guest has not been here yet
		}
		s.file = file
	}
	for {
		n, err := s.file.Read(s.buf[:])
		s.take(s.buf[:n], now)
		if err == io.EOF || err != nil || n < len(s.buf) {
			return
		}
	}
}

// take splits b into lines and keeps them.
func (s *serialLog) take(b []byte, now time.Time) {
	for {
		head, tail, found := bytes.Cut(b, []byte("\n"))
		s.rest = append(s.rest, head...)
		if !found {
			return
		}
		s.line(bytes.TrimRight(s.rest, "\r"), now)
		s.rest, b = s.rest[:0], tail
	}
}

func (s *serialLog) line(line []byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := parseBeat(line); ok {
		b.At, b.Host = now, s.host
		s.beats = append(s.beats, b)
	} else if len(bytes.TrimSpace(line)) > 0 {
		s.lines = append(s.lines, string(line))
	}
}

// watcher follows serial logs: the kernel tells which of them have grown, inotify(7).
type watcher struct {
	mu      sync.Mutex // guards logs, added and dropped
	logs    map[logKey]*serialLog
	added   []*serialLog // that were not looked at yet
	dropped []*serialLog // the watcher closes their files, which are its own
	events  int          // descriptor of the inotify instance
	stopped atomic.Bool
	done    chan struct{}
}

// logKey is a log as inotify names it.
type logKey struct {
	directory int32 // number of the watch
	name      string
}

func startWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w (fs.inotify.max_user_instances)", err)
	}
	w := &watcher{logs: make(map[logKey]*serialLog), events: fd, done: make(chan struct{})}
	go w.run()
	return w, nil
}

// look is how often logs that are new are looked at, whatever the kernel tells.
const look = 40 * time.Millisecond

// run has a thread of its own that goes before all others: where guests want all processors, a heartbeat that is seen late would pass for a pause.
func (w *watcher) run() {
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
func (w *watcher) read(buf []byte) int {
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
func (w *watcher) grown(b []byte) (logs []*serialLog) {
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
func (w *watcher) watch(h *Host, path string) (*serialLog, error) {
	directory, name := filepath.Split(path)
	w.mu.Lock()
	defer w.mu.Unlock()
	number, err := unix.InotifyAddWatch(w.events, directory, unix.IN_MODIFY|unix.IN_CREATE)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", directory, err)
	}
	s := &serialLog{host: h, path: path, key: logKey{int32(number), name}}
	w.logs[s.key] = s
	w.added = append(w.added, s)
	return s, nil
}

// drop stops following logs. What they hold stays.
func (w *watcher) drop(gone []*serialLog) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range gone {
		if w.logs[s.key] == s {
			delete(w.logs, s.key)
		}
	}
	w.added = slices.DeleteFunc(w.added, func(s *serialLog) bool { return slices.Contains(gone, s) })
	w.dropped = append(w.dropped, gone...)
}

// stop ends the watcher and closes the logs.
func (w *watcher) stop() {
	w.stopped.Store(true)
	<-w.done
	unix.Close(w.events)
	closeLogs(slices.Collect(maps.Values(w.logs)))
	closeLogs(w.dropped)
}

func closeLogs(logs []*serialLog) {
	for _, s := range logs {
		if s.file != nil {
			s.file.Close()
		}
	}
}

// Console returns the end of what the guest printed besides heartbeats, on all hosts.
func (g *Guest) Console() string {
	var lines []string
	for _, s := range g.logs {
		lines = append(lines, s.Lines()...)
	}
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
