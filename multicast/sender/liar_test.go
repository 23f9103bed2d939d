package sender

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// liar is a target that means harm.
type liar struct {
	name string
	make func(w *world, h *host)
	want error // for which it is thrown out, nil: it is not
}

// reported changes the reports of a target, and nothing else that it says.
func reported(change func(r *wire.Report)) func(*world, *host) {
	return func(_ *world, h *host) {
		h.lie = func(message []byte) [][]byte {
			var r wire.Report
			if r.Parse(message) != nil {
				return [][]byte{message}
			}
			change(&r)
			return [][]byte{r.Append(nil)}
		}
	}
}

func eachChannel(change func(p *wire.Progress)) func(*world, *host) {
	return reported(func(r *wire.Report) {
		for i := range r.Channels {
			change(&r.Channels[i])
		}
	})
}

// answered changes the answers to probes.
func answered(change func(a *wire.Answer)) func(*world, *host) {
	return func(_ *world, h *host) {
		h.lie = func(message []byte) [][]byte {
			a, err := wire.ParseAnswer(message)
			if err != nil {
				return [][]byte{message}
			}
			change(&a)
			return [][]byte{a.Append(nil)}
		}
	}
}

// errHoards stands for either reason: what it does not place fills its memory, so that it lacks the rest.
var errHoards = errors.New("hoards")

var liars = []liar{
	{"has heard all, and has nothing", eachChannel(func(p *wire.Progress) { p.Floor, p.Blocks = 0, nil }), ErrInsatiable},
	{"always lacks the last symbol", eachChannel(func(p *wire.Progress) {
		for i := range p.Blocks {
			for j := range p.Blocks[i].Stripes {
				p.Blocks[i].Stripes[j] = min(p.Blocks[i].Stripes[j], 1)
			}
			if p.Blocks[i].Placed {
				p.Blocks[i] = wire.Holding{}
			}
		}
		p.Blocks = append(make([]wire.Holding, p.Floor), p.Blocks...)
		p.Floor = 0
	}), ErrInsatiable},
	{"places nothing", func(_ *world, h *host) { h.hoards = true }, errHoards},
	{"speaks of blocks that were not sent", eachChannel(func(p *wire.Progress) { p.Floor += 1000 }), ErrProtocol},
	{"claims to have placed all blocks that there can be", eachChannel(func(p *wire.Progress) { p.Floor, p.Blocks = math.MaxUint32, nil }), ErrProtocol},
	{"speaks of a channel twice", reported(func(r *wire.Report) { r.Channels = append(r.Channels, r.Channels...) }), ErrProtocol},
	{"reports garbage", func(w *world, h *host) {
		h.lie = func([]byte) [][]byte {
			b := make([]byte, 1+w.rng.IntN(200))
			for i := range b {
				b[i] = byte(w.rng.Uint32())
			}
			return [][]byte{b}
		}
	}, ErrProtocol},
	{"says nothing", func(_ *world, h *host) { h.lie = func([]byte) [][]byte { return nil } }, ErrSilent},
	{"repeats itself", func(_ *world, h *host) { h.lie = func(m []byte) [][]byte { return slices.Repeat([][]byte{m}, 50) } }, nil},
	{"answers probes that it has not heard", answered(func(a *wire.Answer) { a.Cookie++ }), ErrProtocol},
	{"has a tiny window", answered(func(a *wire.Answer) { a.Window = 1 << 20 }), ErrProtocol},
	{"speaks of windows of channels that are not there", func(_ *world, h *host) {
		h.lie = func(m []byte) [][]byte { return [][]byte{m, wire.Answer{Channel: 999, Window: 1}.Append(nil)} }
	}, nil},
	{"takes no other key", func(w *world, h *host) {
		h.lie = func(m []byte) [][]byte {
			if k, err := wire.ParseKeyed(m); err == nil && k.Epoch > 0 {
				return nil
			}
			return [][]byte{m}
		}
		w.after(50*time.Millisecond, func() {
			w.lost["t3"] = errors.New("ejected")
			w.sender.Eject(w.now, "t3")
			w.act()
		})
	}, ErrKeyless},
	{"knows keys that were not told", func(_ *world, h *host) {
		h.lie = func(m []byte) [][]byte { return [][]byte{m, wire.Keyed{Epoch: 9}.Append(nil)} }
	}, ErrProtocol},
}

// besideLiar is a fleet of four, of which t1 may lie, and how long the others take.
func besideLiar(t *testing.T, l *liar) (*world, time.Duration) {
	w := newWorld(t, 5, simWindow)
	for _, name := range names(4) {
		h := w.addHost(name, plain(), simWindow)
		if name == "t1" && l != nil {
			l.make(w, h)
		}
	}
	w.open(Channel{ID: 1, Group: group(1), Members: names(4)}, w.payloads(300, 100_000))
	w.run(2*time.Minute, func() bool {
		for _, name := range []string{"t0", "t2"} {
			if len(w.hosts[name].delivered[1]) < 300 {
				return false
			}
		}
		return true
	})
	return w, w.now
}

// TestLiars: a target that lies, stalls, floods or reports garbage costs the others nothing for long, and is named.
func TestLiars(t *testing.T) {
	tried.Inputs(t, "member of a multicast", len(liars))
	_, alone := besideLiar(t, nil)
	for _, l := range liars {
		t.Run(l.name, func(t *testing.T) {
			w, took := besideLiar(t, &l)
			most := alone + alone/10
			if l.want != nil {
				most += 6 * time.Second // until it is found out
			}
			if took > most {
				t.Errorf("the others take %v, alone %v", took, alone)
			}
			w.run(5*time.Minute, func() bool { return w.finished() && (l.want == nil || w.lost["t1"] != nil || w.now > 2*time.Minute) })
			got := w.lost["t1"]
			if l.want == errHoards && (errors.Is(got, ErrStuck) || errors.Is(got, ErrInsatiable)) {
				got = errHoards
			}
			if l.want == nil && got != nil || !errors.Is(got, l.want) {
				t.Errorf("it is lost because of %v, want %v", got, l.want)
			}
			if ratio := float64(w.onWire) / float64(w.sender.Stats().Payload); ratio > 3 {
				t.Errorf("%.1f bytes sent for each one", ratio)
			}
		})
	}
}
