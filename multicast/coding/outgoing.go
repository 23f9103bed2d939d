package coding

import (
	"math"

	"github.com/scatter-vm/scatter/multicast/fec"
)

// Outgoing is what has been sent of a stripe on one path, and what shall be.
type Outgoing struct {
	k    int // source symbols
	next int // id of the next symbol, below fec.MaxSymbols
	want int // symbols still to send
	sent int // symbols sent in all
	runs []run
}

// run is n symbols with consecutive sequences up to last.
type run struct {
	last uint64
	n    int
}

// maxRuns bounds the runs that are remembered for a stripe.
const maxRuns = 24

// NewOutgoing is for a stripe of k source symbols, of which none is to be sent yet. The first to be sent will be the one with id first.
func NewOutgoing(k, first int) Outgoing { return Outgoing{k: k, next: first} }

// All orders as many symbols as the stripe needs.
func (o *Outgoing) All() { o.want = o.k }

// Next is the id of the symbol that is sent next.
func (o *Outgoing) Next() int { return o.next }

// Wants tells whether anything is to be sent.
func (o *Outgoing) Wants() bool { return o.want > 0 }

// Repair tells whether what is sent next comes on top of the stripe's size.
func (o *Outgoing) Repair() bool { return o.sent >= o.k }

// Take gives the id of the next symbol. When all have been sent, it begins again at the first.
func (o *Outgoing) Take() (id int) {
	id = o.next
	o.next = (o.next + 1) % fec.MaxSymbols
	return id
}

// Note remembers that the symbol that was taken was sent with this sequence.
func (o *Outgoing) Note(sequence uint64) {
	o.want--
	o.sent++
	if n := len(o.runs); n > 0 && o.runs[n-1].last+1 == sequence {
		o.runs[n-1].last++
		o.runs[n-1].n++
		return
	}
	if len(o.runs) == maxRuns { // join the oldest two; both count as under way until the later has been heard
		o.runs[1].n += o.runs[0].n
		o.runs = append(o.runs[:0], o.runs[1:]...)
	}
	o.runs = append(o.runs, run{last: sequence, n: 1})
}

// underWay is the number of symbols that were sent after the one with sequence heard.
func (o *Outgoing) underWay(heard uint64) (n int) {
	for i := len(o.runs) - 1; i >= 0 && o.runs[i].last > heard; i-- {
		n += int(min(uint64(o.runs[i].n), o.runs[i].last-heard))
	}
	return n
}

// Supply orders what somebody needs beyond the symbols that it has, what was sent after the one with sequence heard, and what is ordered
// already, and tells how many that are. The needs of several overlap: the same new symbols serve them all.
func (o *Outgoing) Supply(have int, heard uint64) (more int) {
	more = max(0, o.k-o.want-o.underWay(heard)-have)
	o.want += more
	return more
}

// maxGuard bounds the loss that parity is sent for before anyone asks for it.
const maxGuard = 0.2

// Guard orders parity for a loss that is to be expected, once the stripe's size has been sent, and no more than that.
func (o *Outgoing) Guard(loss float64) {
	if o.sent == o.k {
		mean := min(loss, maxGuard) * float64(o.k)
		o.want = int(mean + 2*math.Sqrt(mean))
	}
}
