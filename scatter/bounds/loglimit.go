package bounds

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

// What peers may make a target log, in bytes: so much at once, and then so much in a second.
const (
	maxLog      = 1 << 20
	MaxLogPeer  = 128 << 10
	logRate     = 8 << 10
	logRatePeer = 1 << 10
	logPeers    = 1024 // that are told apart; the others share what one may
	RecordBytes = 64   // of a record, beside its words
)

// peerLog is a log that peers cannot fill: what one of them causes is left out once it is too much, and how much that was is told. A peer is
// what a record's "source" says, or the host of its "peer"; records that name neither are ours, and pass.
type peerLog struct {
	slog.Handler
	peer   string // that all records of this logger are about; "" = none
	ledger *LogLedger
}

// LimitLog is log for what peers cause.
func LimitLog(log *slog.Logger) (*slog.Logger, *LogLedger) {
	l := &LogLedger{peers: make(map[string]*allowance), left: time.Now()}
	return slog.New(peerLog{Handler: log.Handler(), ledger: l}), l
}

// Handle passes a record on, unless its peer has caused too many.
func (h peerLog) Handle(ctx context.Context, r slog.Record) error {
	peer, size := h.peer, RecordBytes+len(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		peer = peerOf(a, peer)
		size += len(a.Key) + len(a.Value.String())
		return true
	})
	if peer == "" {
		return h.Handler.Handle(ctx, r)
	}
	now := time.Now()
	ok, left := h.ledger.spend(peer, size, now)
	if left > 0 {
		more := slog.NewRecord(now, slog.LevelWarn, "peers have caused more than is logged", 0)
		more.AddAttrs(slog.Int("left_out", left), slog.String("last", peer))
		if err := h.Handler.Handle(ctx, more); err != nil {
			return err
		}
	}
	if !ok {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// peerOf is whom an attribute names, or who is known already.
func peerOf(a slog.Attr, known string) string {
	switch a.Key {
	case "source":
		return a.Value.String()
	case "peer":
		host, _, err := net.SplitHostPort(a.Value.String())
		if err == nil && known == "" {
			return host
		}
	}
	return known
}

// WithAttrs is the log with attributes in all its records.
func (h peerLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.peer = peerOf(a, h.peer)
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup is the log with a group in all its records.
func (h peerLog) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

// LogLedger counts what peers have made us log.
type LogLedger struct {
	mu     sync.Mutex // guards what follows
	all    allowance
	peers  map[string]*allowance
	others allowance // of those that are not told apart
	lost   int       // records left out since left
	left   time.Time
}

// spend asks for some bytes, and tells how many records were left out, once a minute.
func (l *LogLedger) spend(peer string, n int, now time.Time) (ok bool, left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.of(peer, now)
	l.all.forgive(logRate, now)
	a.forgive(logRatePeer, now)
	if ok = l.all.spent+n <= maxLog && a.spent+n <= MaxLogPeer; ok {
		l.all.spent += n
		a.spent += n
	} else {
		l.lost++
	}
	if l.lost > 0 && now.Sub(l.left) >= time.Minute {
		left, l.lost, l.left = l.lost, 0, now
	}
	return ok, left
}

// of is what a peer has spent.
func (l *LogLedger) of(peer string, now time.Time) *allowance {
	if a := l.peers[peer]; a != nil {
		return a
	}
	if len(l.peers) >= logPeers {
		for p, a := range l.peers {
			if a.forgive(logRatePeer, now); a.spent == 0 {
				delete(l.peers, p)
			}
		}
	}
	if len(l.peers) >= logPeers {
		return &l.others
	}
	l.peers[peer] = &allowance{at: now}
	return l.peers[peer]
}

// Limit is what peers have logged that is not forgiven yet.
func (l *LogLedger) Limit() Limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.all.forgive(logRate, now)
	out := Limit{Resource: "log_bytes", Held: l.all.spent, Most: maxLog, MostPeer: MaxLogPeer}
	l.others.forgive(logRatePeer, now)
	out.Peer = l.others.spent
	for _, a := range l.peers {
		a.forgive(logRatePeer, now)
		out.Peer = max(out.Peer, a.spent)
	}
	return out
}

// allowance is what was spent of a bound, of which some is forgiven each second.
type allowance struct {
	spent int
	at    time.Time
}

func (a *allowance) forgive(rate int, now time.Time) {
	if gone := int(now.Sub(a.at).Seconds() * float64(rate)); gone > 0 {
		a.spent, a.at = max(0, a.spent-gone), now
	}
}
