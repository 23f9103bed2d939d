package bounds

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
	MaxStrangers   = 256  // connections that have not shown a certificate
	maxConnections = 4096 // of known peers
	MaxOfPeer      = 1024 // of one of them: one for each VM that converges, and some
	MaxSessions    = 64   // evacuations at one time
	MaxOfSource    = 8    // of one source
	HandshakeTime  = 10 * time.Second
)

// Door counts connections. Strangers have a place each until they have shaken hands; when all are taken, the one that has waited longest
// makes way: an honest peer needs some milliseconds.
type Door struct {
	log *slog.Logger

	mu        sync.Mutex // guards what follows
	strangers []net.Conn // the oldest first
	peers     map[string]int
	known     int
	shown     int       // the door
	told      time.Time // when that was last told
}

// NewDoor makes a door that tells log when strangers had to make way.
func NewDoor(log *slog.Logger) *Door { return &Door{log: log, peers: make(map[string]int)} }

// Knock gives a new connection a place among the strangers.
func (d *Door) Knock(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.strangers = append(d.strangers, c)
	if len(d.strangers) <= MaxStrangers {
		return
	}
	d.strangers[0].Close() // whoever serves it comes to leave
	d.strangers = slices.Delete(d.strangers, 0, 1)
	if d.shown++; time.Since(d.told) > time.Minute {
		d.log.Warn("connections that show no certificate had to make way for others", "peer", c.RemoteAddr().String(), "number", d.shown)
		d.shown, d.told = 0, time.Now()
	}
}

// Enter takes a connection from the strangers to those of its peer. The returned function ends it.
func (d *Door) Enter(c net.Conn, peer string) (leave func(), err error) {
	d.Gone(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.peers[peer] >= MaxOfPeer:
		return nil, fmt.Errorf("%s has %d connections, which is the most", peer, MaxOfPeer)
	case d.known >= maxConnections:
		return nil, fmt.Errorf("%d connections are open, which is the most", maxConnections)
	}
	d.peers[peer]++
	d.known++
	return func() { d.left(peer) }, nil
}

func (d *Door) left(peer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known--
	if d.peers[peer]--; d.peers[peer] == 0 {
		delete(d.peers, peer)
	}
}

// Gone takes a connection off the strangers, if it is among them.
func (d *Door) Gone(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.strangers = slices.DeleteFunc(d.strangers, func(o net.Conn) bool { return o == c })
}

// Limits counts connections.
func (d *Door) Limits() (strangers, known Limit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	strangers = Limit{Resource: "strangers", Held: len(d.strangers), Most: MaxStrangers}
	known = Limit{Resource: "connections", Held: d.known, Most: maxConnections, MostPeer: MaxOfPeer}
	for _, n := range d.peers {
		known.Peer = max(known.Peer, n)
	}
	return strangers, known
}
