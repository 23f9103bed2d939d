package scatter

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// Limit is one kind of thing that peers make a target hold.
type Limit struct {
	Resource string // strangers, connections, evacuations, vms, tries, sockets, window_bytes, journal_bytes, log_bytes or vm_log_bytes
	Held     int    // now, for all peers
	Peer     int    // now, for the peer for which it is most; 0 where nothing is counted by peer
	Most     int    // for all, at which more is refused
	MostPeer int    // for one peer; 0 where nothing is counted by peer
}

// What peers may make a target hold. All of it is bounded for each peer, and in all.
const (
	maxStrangers   = 256  // connections that have not shown a certificate
	maxConnections = 4096 // of known peers
	maxOfPeer      = 1024 // of one of them: one for each VM that converges, and some
	maxSessions    = 64   // evacuations at one time
	maxOfSource    = 8    // of one source
	handshakeTime  = 10 * time.Second
)

// door counts connections. Strangers have a place each until they have shaken hands; when all are taken, the one that has waited longest
// makes way: an honest peer needs some milliseconds.
type door struct {
	log *slog.Logger

	mu        sync.Mutex // guards what follows
	strangers []net.Conn // the oldest first
	peers     map[string]int
	known     int
	shown     int       // the door
	told      time.Time // when that was last told
}

func newDoor(log *slog.Logger) *door { return &door{log: log, peers: make(map[string]int)} }

// knock gives a new connection a place among the strangers.
func (d *door) knock(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.strangers = append(d.strangers, c)
	if len(d.strangers) <= maxStrangers {
		return
	}
	d.strangers[0].Close() // whoever serves it comes to leave
	d.strangers = slices.Delete(d.strangers, 0, 1)
	if d.shown++; time.Since(d.told) > time.Minute {
		d.log.Warn("connections that show no certificate had to make way for others", "peer", c.RemoteAddr().String(), "number", d.shown)
		d.shown, d.told = 0, time.Now()
	}
}

// enter takes a connection from the strangers to those of its peer. The returned function ends it.
func (d *door) enter(c net.Conn, peer string) (leave func(), err error) {
	d.gone(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.peers[peer] >= maxOfPeer:
		return nil, fmt.Errorf("%s has %d connections, which is the most", peer, maxOfPeer)
	case d.known >= maxConnections:
		return nil, fmt.Errorf("%d connections are open, which is the most", maxConnections)
	}
	d.peers[peer]++
	d.known++
	return func() { d.left(peer) }, nil
}

func (d *door) left(peer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known--
	if d.peers[peer]--; d.peers[peer] == 0 {
		delete(d.peers, peer)
	}
}

// gone takes a connection off the strangers, if it is among them.
func (d *door) gone(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.strangers = slices.DeleteFunc(d.strangers, func(o net.Conn) bool { return o == c })
}

// limits counts connections.
func (d *door) limits() (strangers, known Limit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	strangers = Limit{Resource: "strangers", Held: len(d.strangers), Most: maxStrangers}
	known = Limit{Resource: "connections", Held: d.known, Most: maxConnections, MostPeer: maxOfPeer}
	for _, n := range d.peers {
		known.Peer = max(known.Peer, n)
	}
	return strangers, known
}
