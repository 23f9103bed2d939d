package ledger

import "context"

// Repair empties the backlog of one host, in rounds. A round is for one epoch, and has one channel: Begin, Next until there is no more, End.
// It is for one goroutine.
type Repair struct {
	tracker *Tracker
	host    int
	epoch   int // of the round
}

// Repair is a host's.
func (t *Tracker) Repair(host int) *Repair { return &Repair{tracker: t, host: host} }

// Await returns true when the host has a backlog, false when it will not have any: all that was sent is confirmed.
func (r *Repair) Await(ctx context.Context) bool {
	t := r.tracker
	for {
		t.mu.Lock()
		b, over, news := t.backlogs[r.host], t.over(), t.news
		some := b != nil && len(b.parts) > 0
		t.mu.Unlock()
		if some || over {
			return some
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

// Begin begins a round. Until its end the host lags behind.
func (r *Repair) Begin() {
	r.tracker.mu.Lock()
	defer r.tracker.mu.Unlock()
	b := r.tracker.backlogs.of(r.host)
	b.repairing, r.epoch = true, b.epoch
}

// End ends the round.
func (r *Repair) End() {
	r.tracker.mu.Lock()
	defer r.tracker.mu.Unlock()
	r.tracker.backlogs.of(r.host).repairing = false
}

// Next takes no more than a block from the backlog; false: the round is over.
func (r *Repair) Next() (p Part, ok bool) {
	r.tracker.mu.Lock()
	defer r.tracker.mu.Unlock()
	return r.tracker.backlogs.of(r.host).next(r.epoch)
}

// Abandon leaves the backlog to converge. Its pages are forgotten already.
func (r *Repair) Abandon() {
	r.tracker.mu.Lock()
	parts := r.tracker.backlogs.of(r.host).abandon()
	r.tracker.mu.Unlock()
	for _, p := range parts {
		r.tracker.VMs.Settle(p.vms)
	}
}

// Resent says that the blocks of a part were sent again.
func (r *Repair) Resent(p Part) {
	r.tracker.mu.Lock()
	r.tracker.placed += p.bytes
	r.tracker.mu.Unlock()
	r.tracker.VMs.Settle(p.vms)
}
