// Package traffic tells what a VM's guest sends and receives, by what the host counts of the taps that serve its network cards: it asks neither QEMU
// nor the guest. An error means that it is not known.
//
//	Find       finds the taps of a QEMU
//	Interface  reads the counters of an interface of this host
package traffic

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/qemu/process"
)

// Cards are the network cards of a VM, each of which has a tap.
type Cards struct {
	pid  int
	taps []tap
}

// tap is the host's end of a network card.
type tap struct {
	name string
	near bool // it counts as the guest does, not as the other end of a cable
}

// Read reads what the guest has sent and received since its taps exist.
func (c *Cards) Read() (Reading, error) {
	if len(c.taps) == 0 {
		return Reading{At: time.Now()}, nil
	}
	return read(c.pid, c.taps)
}

// Interface reads what this host has sent and received over an interface, which is one of the calling thread's network namespace.
func Interface(name string) (Reading, error) {
	runtime.LockOSThread() // so that the thread is there while it is asked
	defer runtime.UnlockOSThread()
	return read(syscall.Gettid(), []tap{{name: name, near: true}})
}

// read reads devices' counters in the network namespace of a process or thread.
func read(pid int, taps []tap) (Reading, error) {
	dev, err := process.ReadFile(pid, "net/dev", maxNet)
	if err != nil {
		return Reading{}, err
	}
	r := Reading{At: time.Now()}
	for _, t := range taps {
		n, err := countersOf(string(dev), t.name)
		if err != nil {
			return Reading{}, err
		}
		if !t.near {
			n.Sent, n.Received = n.Received, n.Sent
		}
		r.each = append(r.each, n)
		r.Sent += n.Sent
		r.Received += n.Received
	}
	return r, nil
}

// Bytes is an amount each way.
type Bytes struct{ Sent, Received uint64 }

// Reading is what was sent and received until a moment.
type Reading struct {
	At time.Time
	Bytes
	each []Bytes // of each device: one that begins anew must not hide behind others
}

// Rate is what was sent and received between two readings, in bytes per second.
type Rate struct {
	Sent, Received float64
	Over           time.Duration // between the readings, more than 0
}

// Since is the rate since an earlier reading of the same. It is an error when a counter has gone back: then its device was made anew.
func (r Reading) Since(before Reading) (Rate, error) {
	rate := Rate{Over: r.At.Sub(before.At)}
	if rate.Over <= 0 {
		return Rate{}, errors.New("no time between two readings")
	}
	if len(r.each) != len(before.each) {
		return Rate{}, fmt.Errorf("readings of %d and of %d network devices", len(before.each), len(r.each))
	}
	for i, now := range r.each {
		was := before.each[i]
		if now.Sent < was.Sent || now.Received < was.Received {
			return Rate{}, errors.New("the counters of a network device went back")
		}
		rate.Sent += float64(now.Sent - was.Sent)
		rate.Received += float64(now.Received - was.Received)
	}
	rate.Sent /= rate.Over.Seconds()
	rate.Received /= rate.Over.Seconds()
	return rate, nil
}
