package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/wait"
	"github.com/scatter-vm/scatter/bench/promise"
)

// part is guests and the ways in which they are moved.
type part struct {
	about   string  // what is moved over what
	rate    float64 // of each port, bit/s
	targets int
	guests  []lab.GuestConfig
	ways    []way
	runs    int // of each way

	judge func(t *promise.Table, of map[string]round)               // holds the medians against what is promised
	draw  func(rounds map[string][]round) (files map[string]string) // what goes beside the table; nil: nothing
}

// way is one to move the guests.
type way struct {
	name string
	move func(ctx context.Context, m *measurement) (r round, began time.Time, err error)
}

// Rates of links, in bit/s: slow is half of what a writer dirties.
const (
	slow = 300e6
	fast = 500e6
)

// play moves a part's guests in some of its ways, in turn.
func (m *measurement) play(ctx context.Context, p part, ways []way) (err error) {
	m.part = p
	for _, h := range m.lab.Switch.Hosts() {
		if err := h.SetRate(ctx, int64(p.rate)); err != nil {
			return err
		}
	}
	if m.guests, err = m.lab.Boot(ctx, p.guests...); err != nil {
		return err
	}
	for _, g := range m.guests {
		for g.Serial.VerifiedBy(time.Now()) == 0 { // its work takes its time to begin
			if err := wait.For(ctx, time.Second); err != nil {
				return err
			}
		}
	}
	for i := range p.runs {
		for _, w := range ways {
			r, err := m.measure(ctx, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			fmt.Printf("%-31s %d/%d %s\n", w.name, i+1, p.runs, r)
			m.rounds[w.name] = append(m.rounds[w.name], r)
		}
	}
	for _, g := range m.guests {
		if err := m.lab.Discard(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// judge adds a part's figures to the table, and what is promised of them if all of its ways were measured. What is drawn goes beside the table in out.
func (m *measurement) judge(t *promise.Table, p part, ways []way, out string) error {
	t.Facts = append(t.Facts, p.about)
	of := make(map[string]round)
	for _, w := range ways {
		of[w.name] = median(m.rounds[w.name])
		t.Facts = append(t.Facts, w.name+": "+of[w.name].String())
	}
	if len(ways) < len(p.ways) {
		return nil
	}
	p.judge(t, of)
	if p.draw == nil || out == "" {
		return nil
	}
	for name, drawn := range p.draw(m.rounds) {
		if err := promise.Write(filepath.Join(filepath.Dir(out), name), drawn); err != nil {
			return err
		}
	}
	return nil
}
