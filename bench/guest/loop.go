package main

import (
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// catchUp bounds one piece of work to that of so many beats: a guest that was held up does not then hold up its host.
const catchUp = 4

// maxReports bounds the CORRUPT lines; the count in the heartbeat goes on.
const maxReports = 100

// pace turns a rate per second into whole pieces of work per beat.
type pace struct {
	rate uint64
	due  time.Duration // pieces due, times one second
}

// take returns how many pieces are due after another elapsed time.
func (p *pace) take(elapsed time.Duration) int {
	p.due += elapsed * time.Duration(p.rate)
	n := p.due / time.Second
	p.due -= n * time.Second
	return int(n)
}

// subject is what a guest has filled with known content, and now rewrites and verifies, so many pages at a time.
type subject interface {
	Pages() int
	Rewrite(n int) error
	Verify(n int, wrong func(Mismatch)) error
}

// labor is a guest's work on its subject, and what came of it.
type labor struct {
	subject       subject
	dirty, verify pace
	beat          time.Duration // between two pieces of work
	busy          bool          // there is nothing between them
	last          time.Time
	serial        port

	verified, wrong atomic.Uint64 // pages
}

// loop is the guest's life after filling. It ends only when the serial port or the subject does. Its heart beats after each piece of
// work; with a server that works for its own time, where it is never idle, or on demand, it beats beside it, for then a beat is to tell that the guest runs, not how fast that is.
// What it sends and receives it does beside both.
func loop(w Workload, m subject, serial port) error {
	debug.SetGCPercent(-1) // what follows needs no new memory worth speaking of
	if err := beQuiet(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(serial, "guest: ready: %d pages filled at %v\n", m.Pages(), uptime()); err != nil {
		return err
	}
	beat := time.Duration(w.Beat) * time.Millisecond
	l := &labor{subject: m, dirty: pace{rate: w.Dirty}, verify: pace{rate: w.Verify}, beat: beat, busy: w.Busy > 0, last: time.Now(), serial: serial}
	work, failed := l.work, make(chan error, 3)
	if w.Redis > 0 {
		l.beat = serverBeat
	}
	if w.aside() {
		go func() { failed <- l.beside() }()
		work = func() error { return nil }
	}
	if err := startTalk(w, failed); err != nil {
		return err
	}
	line := make([]byte, 0, 64)
	for n := uint64(0); ; n++ {
		pause(beat)
		select {
		case err := <-failed:
			return err
		default:
		}
		if err := work(); err != nil {
			return err
		}
		line = appendBeat(line[:0], n, l.verified.Load(), l.wrong.Load())
		if _, err := serial.Write(line); err != nil {
			return err
		}
	}
}

// serverBeat is the time between two pieces of work with a server.
const serverBeat = 100 * time.Millisecond

// beside works for ever on a thread of its own.
func (l *labor) beside() error {
	if err := beSecond(); err != nil {
		return err
	}
	if l.busy {
		return l.always()
	}
	for {
		pause(l.beat)
		if err := l.work(); err != nil {
			return err
		}
	}
}

// atOnce is how many pages a busy guest rewrites before it computes for a while, and any guest verifies before it counts them.
const atOnce = 20

// always works without a pause for ever: between pages it computes, so much that it rewrites as many in a second as it is asked for when it has
// the processor for itself. What is taken from that shows in its work.
func (l *labor) always() error {
	perPage, err := timeOf(2000, func(n int) error { return l.subject.Rewrite(n) })
	if err != nil {
		return err
	}
	perSpin, _ := timeOf(1<<20, func(n int) error { spin(n); return nil })
	rounds := max(0, int((1/float64(l.dirty.rate)-perPage)/perSpin))
	verify := pace{rate: l.verify.rate}
	each := time.Duration(atOnce * uint64(time.Second) / l.dirty.rate)
	for {
		spin(rounds * atOnce)
		if err := l.subject.Rewrite(atOnce); err != nil {
			return err
		}
		if err := l.check(verify.take(each)); err != nil {
			return err
		}
	}
}

// timeOf is how long one of n takes, in seconds, when nothing else is done.
func timeOf(n int, f func(n int) error) (least float64, err error) {
	least = math.Inf(1)
	for range 5 {
		began := time.Now()
		if err := f(n); err != nil {
			return 0, err
		}
		least = min(least, time.Since(began).Seconds()/float64(n))
	}
	return least, nil
}

// spun keeps the compiler from leaving spin out.
var spun atomic.Uint64

func spin(n int) {
	x := uint64(n)
	for range n {
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	}
	spun.Store(x)
}

// work rewrites and verifies the pages that are due.
func (l *labor) work() error {
	now := time.Now()
	elapsed := min(now.Sub(l.last), catchUp*l.beat)
	l.last = now
	if err := l.subject.Rewrite(l.dirty.take(elapsed)); err != nil {
		return err
	}
	for left := l.verify.take(elapsed); left > 0; left -= atOnce {
		if err := l.check(min(left, atOnce)); err != nil {
			return err
		}
	}
	return nil
}

// check verifies the next n pages.
func (l *labor) check(n int) error {
	if err := l.subject.Verify(n, l.report); err != nil {
		return err
	}
	l.verified.Add(uint64(n))
	return nil
}

// report tells of a page that does not hold what it must.
func (l *labor) report(bad Mismatch) {
	if l.wrong.Add(1) <= maxReports {
		fmt.Fprintf(l.serial, "CORRUPT %v page %d generation %d word %d: got %#x, want %#x\n",
			bad.Name.Kind, bad.Name.Number, bad.Name.Generation, bad.Word, bad.Got, bad.Want)
	}
}

// pause sleeps without telling Go's scheduler, which would wake its monitor thread.
func pause(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

// port is a file descriptor that blocks: that of the serial port, or of a socket.
type port int

// Read reads without telling Go's scheduler, see pause.
func (p port) Read(b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(p), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == syscall.EINTR:
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		default:
			return int(n), nil
		}
	}
}

// Write writes without telling Go's scheduler, see pause.
func (p port) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(p), uintptr(unsafe.Pointer(&b[done])), uintptr(len(b)-done))
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return done, errno
		}
		done += int(n)
	}
	return len(b), nil
}

// uptime returns the time since the guest's kernel started.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano()).Round(time.Millisecond)
}

// appendBeat appends one heartbeat line to b.
func appendBeat(b []byte, n, verified, errors uint64) []byte {
	b = strconv.AppendUint(append(b, 'h'), n, 16)
	b = strconv.AppendUint(append(b, ' '), verified, 16)
	b = strconv.AppendUint(append(b, ' '), errors, 16)
	return append(b, '\n')
}
