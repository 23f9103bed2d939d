package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// The peer's TCP ports: for what guests send, and for what they receive.
const (
	sinkPort   = 5001
	sourcePort = 5002
)

// What is sent and received at a time: pieces of so many bytes, at so regular distances. A sender that was held up does not catch up for more than
// so many of these, as one that plays a film does not.
const (
	pieceBytes  = 64 << 10
	pieceEvery  = 5 * time.Millisecond
	pieceBehind = 20
	redialAfter = 200 * time.Millisecond
)

// threads is how many of its threads keep a processor for themselves.
func (w Workload) threads() int {
	n := 1
	for _, beside := range []bool{w.aside(), w.Send > 0, w.Receive > 0} {
		if beside {
			n++
		}
	}
	return n
}

// startTalk gives the guest its address, and lets threads of their own send and receive for ever. Why one cannot it says to failed.
func startTalk(w Workload, failed chan<- error) error {
	if w.Address == 0 {
		return nil
	}
	if err := configure("eth0", byte(w.Address)); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	peer := address(byte(w.Peer))
	if w.Send > 0 {
		go func() { failed <- talk(peer, sinkPort, func(p port) error { return send(p, w.Send) }) }()
	}
	if w.Receive > 0 {
		go func() { failed <- talk(peer, sourcePort, receive) }()
	}
	return nil
}

// address is that of the host, or guest, with a number in the lab's network.
func address(number byte) [4]byte { return [4]byte{10, 77, 0, number} }

// configure takes a card into use.
func configure(card string, number byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	own := address(number)
	for _, set := range []struct {
		request uint
		address [4]byte
	}{{unix.SIOCSIFADDR, own}, {unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 0}}} {
		r, err := unix.NewIfreq(card)
		if err != nil {
			return err
		}
		if err := r.SetInet4Addr(set.address[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, set.request, r); err != nil {
			return fmt.Errorf("%s: address %v: %w", card, set.address, err)
		}
	}
	r, err := unix.NewIfreq(card)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("%s: up: %w", card, err)
	}
	return nil
}

// talk connects to a peer, talks, and begins anew when that ends, for ever.
func talk(peer [4]byte, number int, speak func(port) error) error {
	if err := beSecond(); err != nil {
		return err
	}
	for {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if unix.Connect(fd, &unix.SockaddrInet4{Port: number, Addr: peer}) == nil {
			_ = speak(port(fd)) // the next one goes on
		}
		unix.Close(fd)
		pause(redialAfter)
	}
}

// send writes so many bytes a second.
func send(p port, rate uint64) error {
	piece := make([]byte, pieceBytes)
	due, last := pace{rate: rate}, time.Now()
	for {
		pause(pieceEvery)
		now := time.Now()
		n := due.take(min(now.Sub(last), pieceBehind*pieceEvery))
		for last = now; n > 0; n -= len(piece) {
			if _, err := p.Write(piece[:min(n, len(piece))]); err != nil {
				return err
			}
		}
	}
}

// receive reads all that comes.
func receive(p port) error {
	piece := make([]byte, pieceBytes)
	for {
		if _, err := p.Read(piece); err != nil {
			return err
		}
	}
}
