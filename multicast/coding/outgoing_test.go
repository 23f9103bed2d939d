package coding

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/multicast/fec"
)

// TestOutgoingCountsWhatIsUnderWay: whoever has heard the path up to a sequence is supplied with what it lacks, less what was sent to it
// since; where more runs were sent than are remembered, with less, never with more.
func TestOutgoingCountsWhatIsUnderWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(1, fec.MaxSource).Draw(t, "k")
		o := NewOutgoing(k, rapid.IntRange(0, fec.MaxSymbols-1).Draw(t, "first"))
		o.All()
		var sequences []uint64
		last, gaps := uint64(0), 0
		for o.Wants() {
			last++
			if rapid.IntRange(0, 5).Draw(t, "gap") == 0 {
				last++
				gaps++
			}
			if want := o.Next(); o.Take() != want {
				t.Fatal("took another symbol than the next")
			}
			o.Note(last)
			sequences = append(sequences, last)
		}
		heard, flying := rapid.Uint64Range(0, last).Draw(t, "heard"), 0
		for _, s := range sequences {
			if s > heard {
				flying++
			}
		}
		have := rapid.IntRange(0, k).Draw(t, "have")
		exact := max(0, k-flying-have)
		if got := o.Supply(have, heard); got > exact || got != exact && gaps < maxRuns {
			t.Fatalf("supplied with %d symbols, lacks %d", got, exact)
		}
		if got := o.Supply(have, heard); got != 0 {
			t.Fatalf("supplied with %d more", got)
		}
	})
}
