package lab

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Beat is one heartbeat of a guest's workload.
type Beat struct {
	At       time.Time // when the lab saw it, within pollInterval
	Host     *Host     // where
	N        uint64    // counts from 0; no two beats of a guest have the same number
	Verified uint64    // pages verified so far
	Wrong    uint64    // of them, pages that did not hold what they must
}

// pollInterval is how often the lab looks at the serial logs. It bounds the error of a heartbeat's time.
const pollInterval = 4 * time.Millisecond

// reopen is how often the lab looks for logs that are not there yet, in polls.
const reopen = 10

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
func (s *serialLog) poll(now time.Time, open bool) {
	if s.file == nil {
		if !open {
			return
		}
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

// watcher polls serial logs.
type watcher struct {
	mu      sync.Mutex // guards logs and dropped
	logs    []*serialLog
	dropped []*serialLog // the watcher closes their files, which are its own
	quit    chan struct{}
	done    chan struct{}
}

func startWatcher() *watcher {
	w := &watcher{quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *watcher) run() {
	defer close(w.done)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		logs, dropped := w.logs, w.dropped
		w.dropped = nil
		w.mu.Unlock()
		closeLogs(dropped)
		for _, s := range logs {
			s.poll(time.Now(), n%reopen == 0)
		}
	}
}

// watch follows another log, from now on.
func (w *watcher) watch(h *Host, path string) *serialLog {
	s := &serialLog{host: h, path: path}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs = append(w.logs[:len(w.logs):len(w.logs)], s)
	return s
}

// drop stops following logs. What they hold stays.
func (w *watcher) drop(gone []*serialLog) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs = slices.DeleteFunc(slices.Clone(w.logs), func(s *serialLog) bool { return slices.Contains(gone, s) })
	w.dropped = append(w.dropped, gone...)
}

// stop ends the watcher and closes the logs.
func (w *watcher) stop() {
	close(w.quit)
	<-w.done
	closeLogs(w.logs)
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
