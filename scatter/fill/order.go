// Package fill decides in which order a VM that runs on its target gets the pages that it lacks, and sends them: in post-copy, what it waits for comes
// first, then what is likely to be next, then the rest.
package fill

import (
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
)

// Order is the order in which one VM's pages are sent, each once: those that its guest waits for, in the order in which it has asked; then outward
// from the last of these, for guests go on where they are (Hines, Gopalan: Post-copy based live virtual machine migration using adaptive
// pre-paging, VEE 2009, bubbling); then those that were written last, which are likely to be used again; then all others, from the last that was
// asked for on. Trials may have it prefetch only forward, or nothing. Its methods are not safe for concurrent use.
type Order struct {
	lacked *pageset.Set // at first
	left   *pageset.Set // of these
	warm   *pageset.Set // of those that were written last
	around *pageset.Set // of which bubbles are taken: left, or what it may be
	shared *pageset.Set // of those that others hold back for many VMs: what they were not yet asked to bring forward; nil: they cannot
	coming *pageset.Set // what they were
	ahead  []pageset.Page
	claim  func(pageset.Page) bool // tells whether a page is ours to send
	late   []promised              // what is asked for and is on its way by others
	clock  func() time.Time
	near   bubble
	beside model.Prefetch // what is sent beside what is asked for
	held   bool           // the rest
	ram    int            // regions that come before the others
	rests  [4]rest        // the warm, all; of each first those of the regions that come first
}

// rest is where a part of the rest goes on.
type rest struct {
	at   pageset.Page
	done bool // it is empty, and stays so
}

// promised is a page that others send, and when it is sent all the same.
type promised struct {
	page pageset.Page
	due  time.Time
}

// promiseFor is how long a guest waits for a page that others send. Sent at once, such pages would take the link from those who send them, and a guest that
// reads in order just behind them would go on to ask for each.
const promiseFor = 5 * time.Millisecond

// bubble grows outward from a page, up to so many pages.
type bubble struct {
	at       pageset.Page
	up, down uint32 // the next ones to look at; down is one more than that
	till     uint32 // up to which shared pages were brought forward
	room     int
	again    int // pages that were on their way
	run      int // of bubbles before, each of which the guest has read through to its end: it reads in order, and this one grows only upward
}

// runTo is the run of the bubble around the page that is asked for next.
func (b *bubble) runTo(p pageset.Page) int {
	const reach = bubbleSize / 2
	switch {
	case p.Region != b.at.Region || p.Page <= b.at.Page || p.Page+reach < max(b.up, b.till) || p.Page >= max(b.up, b.till)+reach:
		return 0
	case b.room > 0: // the guest is faster
		return b.run
	}
	return min(b.run+1, longestRun)
}

// hurries tells whether one more page is worth sending that is on its way: who reads in order is about to ask for it, and for each one behind it.
func (b *bubble) hurries() bool {
	if b.run == 0 || b.again == bubbleSize {
		return false
	}
	b.again++
	return true
}

// bubbleSize is how many pages around one that was asked for are sent before any that are elsewhere. Trials with 8, 32, 64 and 256: few make more
// requests, many keep a guest waiting that touches two places in turn.
const bubbleSize = 64

// farthest is how far around a page is near it.
const farthest = bubbleSize << longestRun

// longestRun is how often a bubble is twice as large as the one before, as what a kernel reads ahead of a file.
const longestRun = 3

// NewOrder orders the pages of a set, which is the order's own from then on. warm are those of them that were written last; nil: not known. beside is what
// is sent beside what is asked for; "": what lies around it. claim is called for each page that is to be sent, and tells whether nobody else does;
// nil: nobody does. Of those that nobody waits for, pages of the first regions, ram, come before the others: memory before disks, which are used less.
func NewOrder(left, warm *pageset.Set, ram int, beside model.Prefetch, claim func(pageset.Page) bool) *Order {
	if warm == nil {
		warm = pageset.New()
	}
	if claim == nil {
		claim = func(pageset.Page) bool { return true }
	}
	return &Order{lacked: left.Clone(), left: left, around: left, warm: warm, ram: ram, beside: beside, claim: claim, clock: time.Now}
}

// Hold keeps the rest back, which others send, until Sweep: then what those have sent is left out. What is near a page that is asked for is sent all the
// same, unless others are about to. Not so shared pages, which they send to many at once: of these only those that are asked for; what is near
// these they are asked to bring forward, if they can.
func (o *Order) Hold(shared *pageset.Set, forward bool) {
	o.held, o.around = true, o.left.Clone()
	if forward {
		o.shared, o.coming = o.left.Empty(), o.left.Empty()
	}
	for p := range shared.All() {
		if o.around.Remove(p) && forward {
			o.shared.Add(p)
		}
	}
}

// Ahead are the shared pages that are to be brought forward since it was last called.
func (o *Order) Ahead() []pageset.Page {
	ahead := o.ahead
	o.ahead = nil
	return ahead
}

// without takes a page out of those that are to be sent, and tells whether it was one.
func (o *Order) without(p pageset.Page) bool {
	o.warm.Remove(p)
	if o.around != o.left {
		o.around.Remove(p)
	}
	if o.shared != nil {
		o.shared.Remove(p)
	}
	return o.left.Remove(p)
}

// Sweep lets the rest go but for what was sent by others.
func (o *Order) Sweep(sent func(pageset.Page) bool) {
	o.held, o.around, o.shared = false, o.left, nil
	for p := range o.left.Clone().All() {
		if sent(p) {
			o.without(p)
		}
	}
}

// Left is how many pages are to be sent yet.
func (o *Order) Left() int { return o.left.Len() }

// Want tells whether a page that the guest waits for is to be sent now: then it counts as sent. It may be on its way already; one that others send is
// given to Next if it still is after a while. One that the VM was not known to lack is sent all the same: whoever asks for it does not have it.
func (o *Order) Want(p pageset.Page) (send bool) {
	if !o.lacked.Holds(p) {
		return false
	}
	ours := o.claim(p)
	o.spread(p)
	if o.held && !ours && o.left.Has(p) {
		o.late = append(o.late, promised{p, o.clock().Add(promiseFor)})
		return false
	}
	return o.lacked.Add(p) || o.without(p)
}

// Due is when the next page is due that others were waited for; the zero time: there is none.
func (o *Order) Due() time.Time {
	if len(o.late) == 0 {
		return time.Time{}
	}
	return o.late[0].due
}

// spread begins a bubble around a page that was asked for.
func (o *Order) spread(p pageset.Page) {
	if o.beside == model.PrefetchNone {
		return
	}
	if b := &o.near; o.shared != nil && o.coming.Has(p) && p.Region == b.at.Region && p.Page >= b.at.Page && p.Page < b.till {
		if p.Page >= b.till-bubbleSize<<b.run/2 { // the guest follows what was brought forward
			b.run = min(b.run+1, longestRun)
			o.bringForward(p)
		}
		return
	}
	run := o.near.runTo(p)
	o.near = bubble{at: p, up: p.Page, down: p.Page, room: bubbleSize << run, run: run}
	o.goOnAt(p)
	if o.shared != nil {
		o.bringForward(p)
	}
}

// bringForward names the shared pages around one that was asked for; those ahead of it, of a guest that reads in order.
func (o *Order) bringForward(p pageset.Page) {
	size := uint32(bubbleSize) << o.near.run
	from, to := p.Page, p.Page+size
	if o.near.run == 0 && o.beside != model.PrefetchForward {
		from, to = p.Page-min(p.Page, size/2), p.Page+size/2
	}
	for q, ok := o.shared.Next(pageset.Page{Region: p.Region, Page: from}); ok && q.Page < to; q, ok = o.shared.Next(q) {
		o.shared.Remove(q)
		o.coming.Add(q)
		o.near.till = q.Page + 1
		o.ahead = append(o.ahead, q)
	}
}

// Next appends up to n pages that nobody waits for, which count as sent.
func (o *Order) Next(to []pageset.Page, n int) []pageset.Page {
	for n > 0 && len(o.late) > 0 && !o.clock().Before(o.late[0].due) {
		p := o.late[0].page
		if o.late = o.late[1:]; o.left.Has(p) {
			to, n = o.take(to, p), n-1
		}
	}
	for n > 0 && o.near.room > 0 {
		p, ok := o.nearest()
		if !ok {
			o.near.room = 0
			break
		}
		o.near.room--
		if ours := o.claim(p); o.held && !ours && !o.near.hurries() { // it is on its way
			o.around.Remove(p)
			continue
		}
		to, n = o.take(to, p), n-1
	}
	for n > 0 && !o.held {
		p, ok := o.rest()
		if !ok {
			break
		}
		o.claim(p)
		to, n = o.take(to, p), n-1
	}
	return to
}

func (o *Order) take(to []pageset.Page, p pageset.Page) []pageset.Page {
	o.without(p)
	return append(to, p)
}

// nearest is the page that is nearest to the one that was asked for last; upward first.
func (o *Order) nearest() (pageset.Page, bool) {
	b := &o.near
	up, isUp := o.around.Next(pageset.Page{Region: b.at.Region, Page: b.up})
	var down pageset.Page
	isDown := false
	if b.down > 0 && b.run == 0 && o.beside != model.PrefetchForward {
		down, isDown = o.around.Before(pageset.Page{Region: b.at.Region, Page: b.down - 1})
	}
	isUp, isDown = isUp && up.Page-b.at.Page <= farthest, isDown && b.at.Page-down.Page <= farthest
	switch {
	case isUp && (!isDown || up.Page-b.at.Page <= b.at.Page-down.Page):
		b.up = up.Page + 1
		return up, true
	case isDown:
		b.down = down.Page
		return down, true
	}
	return up, false
}

// goOnAt has the rest go on at a page that was asked for.
func (o *Order) goOnAt(p pageset.Page) {
	if p.Region < o.ram {
		o.rests[2].at = p
	} else {
		o.rests[3].at = p
	}
}

// rest is the next page of those that are left, the warm ones first.
func (o *Order) rest() (pageset.Page, bool) {
	for i, s := range []*pageset.Set{o.warm, o.warm, o.left, o.left} {
		from, to := 0, o.ram
		if i%2 == 1 {
			from, to = o.ram, s.Regions()
		}
		if p, ok := o.rests[i].next(s, from, to); ok {
			return p, true
		}
	}
	return pageset.Page{}, false
}

// next is the next page of a set in regions [from, to), from the last one on, and round.
func (r *rest) next(s *pageset.Set, from, to int) (p pageset.Page, ok bool) {
	if r.done || s.Len() == 0 {
		return p, false
	}
	if r.at.Region < from {
		r.at = pageset.Page{Region: from}
	}
	for range to - from + 1 {
		if p, ok = s.Next(r.at); ok {
			r.at = p
			return p, true
		}
		if r.at = (pageset.Page{Region: r.at.Region + 1}); r.at.Region >= to {
			r.at.Region = from
		}
	}
	r.done = true // nothing is added to it
	return p, false
}
