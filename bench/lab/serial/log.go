package serial

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// Beat is one heartbeat of a guest's workload.
type Beat struct {
	At       time.Time // when it was seen
	Host     *lan.Host // where
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

// log follows what one guest prints while it runs on one host.
type log struct {
	host *lan.Host
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
func (s *log) Beats() []Beat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beats[:len(s.beats):len(s.beats)]
}

// Lines returns the other lines seen so far.
func (s *log) Lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[:len(s.lines):len(s.lines)]
}

// poll takes in what was printed since the last time.
func (s *log) poll(now time.Time) {
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
func (s *log) take(b []byte, now time.Time) {
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

func (s *log) line(line []byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := parseBeat(line); ok {
		b.At, b.Host = now, s.host
		s.beats = append(s.beats, b)
	} else if len(bytes.TrimSpace(line)) > 0 {
		s.lines = append(s.lines, string(line))
	}
}
