package sender

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/congestion"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// flow is a TCP flow through the same port: CUBIC (RFC 9438), always with something to send.
type flow struct {
	w         *world
	rtt       time.Duration // with empty queues
	cwnd      float64       // segments, as the next two
	wMax      float64
	flying    int
	limit     int // of flying: what Linux lets a flow have in the queue of the own port
	slowStart bool
	lost      instant // when the window was cut
	sent      uint64
	recover   uint64 // sent when the window was cut: losses up to here are the same event
	arrived   int    // bytes
}

// segmentSize is the bytes of a full segment on the wire.
const segmentSize = 1514

// CUBIC's constants.
const (
	cubicC    = 0.4
	cubicBeta = 0.7
)

// addFlow begins a flow after a while.
func (w *world) addFlow(rtt, start time.Duration) *flow {
	f := &flow{w: w, rtt: rtt, cwnd: 10, slowStart: true, limit: math.MaxInt}
	w.after(start, f.send)
	return f
}

// send fills the window.
func (f *flow) send() {
	for f.flying < min(f.limit, int(f.cwnd)) {
		f.flying++
		f.sent++
		number := f.sent
		queued, ok := f.w.port.pass(f.w.now, segmentSize)
		if !ok { // known when the segments behind it are acknowledged
			f.w.after(f.rtt+time.Duration(float64(f.w.port.queue)/f.w.port.rate*1e9), func() { f.miss(number) })
			continue
		}
		f.w.after(queued+f.rtt, f.acknowledged)
	}
}

func (f *flow) acknowledged() {
	f.flying--
	f.arrived += segmentSize
	if f.slowStart {
		f.cwnd++
	} else {
		f.cwnd = max(f.cwnd, f.cubic())
	}
	f.send()
}

// cubic is the window by CUBIC, or by Reno where that is larger.
func (f *flow) cubic() float64 {
	t := (f.w.now - f.lost).Seconds()
	k := math.Cbrt(f.wMax * (1 - cubicBeta) / cubicC)
	rtt := f.rtt.Seconds() + float64(f.flying*segmentSize)/f.w.port.rate
	reno := f.wMax*cubicBeta + 3*(1-cubicBeta)/(1+cubicBeta)*t/rtt
	return min(max(f.wMax+cubicC*math.Pow(t-k, 3), reno), f.cwnd+1)
}

func (f *flow) miss(number uint64) {
	f.flying--
	if number > f.recover {
		f.recover = f.sent
		f.wMax, f.lost, f.slowStart = f.cwnd, f.w.now, false
		f.cwnd = max(2, f.cwnd*cubicBeta)
	}
	f.send()
}

// meeting is where a transfer meets a TCP flow.
type meeting struct {
	name string
	at   func(w *world, tcp *flow)
}

var meetings = []meeting{
	{"elsewhere", func(*world, *flow) {}},
	{"own port", func(w *world, tcp *flow) {
		w.leaving = func() uint64 { return w.port.sent(w.now) }
		tcp.limit = 128 << 10 / segmentSize
	}},
	{"elsewhere, own port busy", func(w *world, _ *flow) {
		w.leaving = func() uint64 { return uint64(w.onWire) + uint64(w.now.Seconds()*w.port.rate/4) }
	}},
}

// TestSharesTheLinkWithTCP lets a TCP flow and an automatic rate meet at a bottleneck, whoever is there first: neither gets
// less than 30 % of the bytes.
func TestSharesTheLinkWithTCP(t *testing.T) {
	for _, bottleneck := range bottlenecks() {
		for _, head := range heads() {
			for _, m := range meetings {
				t.Run(fmt.Sprintf("%.0f/%d/%v/%s", bottleneck.rate, bottleneck.queue, head, m.name), func(t *testing.T) {
					testShare(t, bottleneck, plain(), head, m)
				})
			}
		}
	}
}

// TestSharesALossyLinkWithTCP lets a TCP flow come to a path that loses some of our datagrams at any rate: what it lost before
// is no overflow now.
func TestSharesALossyLinkWithTCP(t *testing.T) {
	l := plain()
	l.loss = 0.01
	p := port{rate: 12.5e6, queue: 625e3}
	if testing.Short() {
		p = port{rate: 2.5e6, queue: 125e3}
	}
	testShare(t, p, l, -5*time.Second, meetings[0])
}

func testShare(t *testing.T, bottleneck port, l link, head time.Duration, m meeting) {
	w := newWorld(t, 1, 64*simWindow)
	w.auto, w.rate, w.port = true, congestion.StartRate, bottleneck
	for _, name := range names(2) {
		w.addHost(name, l, 64*simWindow)
	}
	blocks := w.payloads(int(w.port.rate*30/250_000), 500_000)
	w.after(max(0, head), func() { w.open(Channel{ID: 1, Group: group(1), Members: names(2)}, blocks) })
	tcp := w.addFlow(time.Millisecond, max(0, -head))
	m.at(w, tcp)
	if share := w.share(tcp, 10*time.Second, 25*time.Second); share < 0.3 || share > 0.7 {
		t.Errorf("the rate found is %.3f of the link", share)
	}
}

// bottlenecks are links with queues of at least 10 ms, for shorter ones hide their overflows, and of hundreds of packets:
// with thousands, CUBIC takes a minute to give way to anybody, its own kind included.
func bottlenecks() []port {
	all := []port{{rate: 1.25e6, queue: 64e3}}
	if !testing.Short() {
		all = append(all, port{rate: 12.5e6, queue: 625e3}, port{rate: 12.5e6, queue: 200e3}, port{rate: 62.5e6, queue: 625e3})
	}
	return all
}

// heads are how much earlier TCP begins.
func heads() []time.Duration {
	if testing.Short() {
		return []time.Duration{0}
	}
	return []time.Duration{0, 5 * time.Second, -5 * time.Second}
}

// share is the median of what the sender has of all bytes, second by second.
func (w *world) share(tcp *flow, from, to instant) float64 {
	var shares []float64
	ours, theirs := 0, 0
	for s := from; s <= to; s += time.Second {
		w.run(to, func() bool { return w.now >= s-10*time.Millisecond })
		a, b := w.onWire-ours, tcp.arrived-theirs
		ours, theirs = w.onWire, tcp.arrived
		if s > from {
			shares = append(shares, float64(a)/float64(a+b))
		}
	}
	slices.Sort(shares)
	w.t.Logf("share %.3f, from %.3f to %.3f", shares[len(shares)/2], shares[0], shares[len(shares)-1])
	return shares[len(shares)/2]
}

// TestLossOfALongPath sends over long paths that lose datagrams at any rate: the loss is not taken for a rival's.
func TestLossOfALongPath(t *testing.T) {
	trips, losses := []time.Duration{50 * time.Millisecond, 10 * time.Millisecond}, []float64{0.05, 0.001, 0.01}
	if testing.Short() {
		trips, losses = trips[:1], losses[:1]
	}
	for _, trip := range trips {
		for _, loss := range losses {
			t.Run(fmt.Sprintf("%v/%v", trip, loss), func(t *testing.T) {
				w := newWorld(t, 1, 64*simWindow)
				w.auto, w.rate, w.port = true, congestion.StartRate, port{rate: 12.5e6, queue: 256 << 10}
				for _, name := range names(3) {
					w.addHost(name, link{loss: loss, delay: trip / 2, control: trip / 2}, 64*simWindow)
				}
				w.open(Channel{ID: 1, Group: group(1), Members: names(3)}, w.payloads(250, 500_000))
				w.run(time.Minute, w.finished)
				w.verify()
				useful := float64(w.sender.Stats().Payload) / w.now.Seconds() / w.port.rate
				if most := float64(wire.MinSymbol) / (simPacket + 42) * (1 - loss); useful < 0.65*most {
					t.Errorf("%.3f of the link is useful, of %.3f possible", useful, most)
				}
			})
		}
	}
}
