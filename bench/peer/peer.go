// Package peer is who guests on the lab's network talk to, whichever host they are on: it takes what they send and sends what they receive, by TCP,
// and counts what has arrived at the other end.
package peer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// The TCP ports, as package guest has them.
const (
	sinkPort   = 5001 // guests send here
	sourcePort = 5002 // guests receive from here
)

// What is sent is cut into pieces of so many bytes, and so long is from one look at the clock or a counter to the next. Who was held up does not
// catch up for more than behind.
const (
	pieceBytes = 64 << 10
	pieceEvery = 5 * time.Millisecond
	behind     = 100 * time.Millisecond
	countEvery = 20 * time.Millisecond
)

// Count is bytes of applications that have arrived.
type Count struct {
	FromGuests int64
	ToGuests   int64 // as the guests' kernels have acknowledged
}

// Sub returns c - d.
func (c Count) Sub(d Count) Count { return Count{c.FromGuests - d.FromGuests, c.ToGuests - d.ToGuests} }

// Sum is all bytes, whichever way.
func (c Count) Sum() int64 { return c.FromGuests + c.ToGuests }

// Peer talks to guests until it is closed.
type Peer struct {
	rate   int64 // bytes per second, to each guest that receives
	cancel context.CancelFunc
	work   sync.WaitGroup

	fromGuests, toGuests atomic.Int64

	mu      sync.Mutex // guards samples
	samples []sample   // at regular distances
}

type sample struct {
	at    time.Time
	count Count
}

// Open begins to talk on h. A guest that receives gets rate bytes per second.
func Open(h *lan.Host, rate int64) (*Peer, error) {
	var listeners []net.Listener
	err := h.In(func() error {
		for _, port := range []uint16{sinkPort, sourcePort} {
			l, err := net.Listen("tcp4", netip.AddrPortFrom(h.Addr, port).String())
			if err != nil {
				return err
			}
			listeners = append(listeners, l)
		}
		return nil
	})
	if err != nil {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Peer{rate: rate, cancel: cancel}
	p.serve(ctx, listeners[0], p.drain)
	p.serve(ctx, listeners[1], p.feed)
	p.work.Go(func() { p.watch(ctx) })
	return p, nil
}

// Close ends all connections.
func (p *Peer) Close() {
	p.cancel()
	p.work.Wait()
}

// serve talks to each guest that connects, until ctx ends.
func (p *Peer) serve(ctx context.Context, l net.Listener, talk func(*net.TCPConn)) {
	context.AfterFunc(ctx, func() { l.Close() })
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			hangUp := context.AfterFunc(ctx, func() { c.Close() })
			p.work.Go(func() {
				defer c.Close()
				defer hangUp()
				talk(c.(*net.TCPConn))
			})
		}
	})
}

// drain takes all that a guest sends.
func (p *Peer) drain(c *net.TCPConn) {
	b := make([]byte, 4*pieceBytes)
	for {
		n, err := c.Read(b)
		p.fromGuests.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// feed sends to a guest at the peer's rate.
func (p *Peer) feed(c *net.TCPConn) {
	ended := make(chan struct{})
	p.work.Go(func() { p.countArrived(c, ended) })
	defer close(ended)
	piece := make([]byte, pieceBytes)
	tick := time.NewTicker(pieceEvery)
	defer tick.Stop()
	var due float64 // bytes
	for last := time.Now(); ; <-tick.C {
		now := time.Now()
		due += float64(p.rate) * min(now.Sub(last), behind).Seconds()
		last = now
		for due >= 1 {
			n, err := c.Write(piece[:min(int(due), len(piece))])
			if due -= float64(n); err != nil {
				return
			}
		}
	}
}

// countArrived adds what a guest acknowledges, until its connection ends.
func (p *Peer) countArrived(c *net.TCPConn, ended <-chan struct{}) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	var before int64
	for {
		n, err := acknowledged(c)
		if err != nil {
			return // it is closed
		}
		p.toGuests.Add(n - before)
		before = n
		select {
		case <-ended:
			return
		case <-tick.C:
		}
	}
}

// acknowledged is how many bytes the other end has acknowledged.
func acknowledged(c syscall.Conn) (n int64, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return int64(info.Bytes_acked), nil
}

// watch keeps samples of the counts, until ctx ends.
func (p *Peer) watch(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		s := sample{time.Now(), Count{p.fromGuests.Load(), p.toGuests.Load()}}
		p.mu.Lock()
		p.samples = append(p.samples, s)
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Between is what has arrived between two moments, to the distance of its samples.
func (p *Peer) Between(from, to time.Time) Count { return p.until(to).Sub(p.until(from)) }

func (p *Peer) until(at time.Time) (c Count) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.samples {
		if s.at.After(at) {
			break
		}
		c = s.count
	}
	return c
}
