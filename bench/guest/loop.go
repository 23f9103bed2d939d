package main

import (
	"fmt"
	"io"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// catchUp bounds the work of one beat to that of so many: a guest that was held up does not then hold up its host.
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

// loop is the guest's life after filling. It ends only when the serial port or the subject does.
func loop(w Workload, m subject, serial port) error {
	if err := beQuiet(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(serial, "guest: ready: %d pages filled at %v\n", m.Pages(), uptime()); err != nil {
		return err
	}
	beat := time.Duration(w.Beat) * time.Millisecond
	dirty, verify := pace{rate: w.Dirty}, pace{rate: w.Verify}
	var n, verified, errors uint64
	wrong := func(bad Mismatch) {
		if errors++; errors <= maxReports {
			fmt.Fprintf(serial, "CORRUPT %v page %d generation %d word %d: got %#x, want %#x\n",
				bad.Name.Kind, bad.Name.Number, bad.Name.Generation, bad.Word, bad.Got, bad.Want)
		}
	}
	line := make([]byte, 0, 64)
	for last := time.Now(); ; n++ {
		pause(beat)
		now := time.Now()
		elapsed := min(now.Sub(last), catchUp*beat)
		last = now
		if err := m.Rewrite(dirty.take(elapsed)); err != nil {
			return err
		}
		pages := verify.take(elapsed)
		if err := m.Verify(pages, wrong); err != nil {
			return err
		}
		verified += uint64(pages)
		line = appendBeat(line[:0], n, verified, errors)
		if _, err := serial.Write(line); err != nil {
			return err
		}
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
