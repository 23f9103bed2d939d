package stream

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRunStateOfCaptures: recorded streams tell how their VM stood when it was stopped, in pieces of any size.
func TestRunStateOfCaptures(t *testing.T) {
	for name, want := range map[string]string{
		"return-path-10.0": "running", "return-path-7.2": "running", "seabios-10.0": "running", "seabios-7.2": "running",
		"stopped-10.0": "prelaunch", "stopped-7.2": "prelaunch", "no-footers-7.2": "prelaunch",
	} {
		b := capture(t, name)
		for _, most := range []int{len(b), 4096, 7} {
			var f RunStateFinder
			for piece := range slices.Chunk(b[max(0, len(b)-200<<10):], most) {
				if n, err := f.Write(piece); n != len(piece) || err != nil {
					t.Fatal(n, err)
				}
			}
			if f.State() != want {
				t.Errorf("%s in pieces of %d: %q, want %q", name, most, f.State(), want)
			}
		}
	}
}

// globalState is the section as QEMU writes it.
func globalState(state string) []byte {
	b := append([]byte{typeFull, 0, 0, 0, 39}, runStateName...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(state)+1))
	return append(b, append([]byte(state), make([]byte, runStateBuffer-len(state))...)...)
}

// TestRunStateImitations: device state that a guest has shaped does not stand for the section.
func TestRunStateImitations(t *testing.T) {
	long := globalState("running")
	binary.BigEndian.PutUint32(long[5+len(runStateName):], 1<<31)
	notFull := globalState("running")
	notFull[0] = 0
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"the last one counts":    {append(globalState("running"), globalState("suspended")...), "suspended"},
		"a length that lies":     {append(globalState("paused"), long...), "paused"},
		"not a section":          {append(globalState("paused"), notFull...), "paused"},
		"words that are none":    {append(globalState("paused"), globalState("RUN\xff")...), "paused"},
		"cut short":              {globalState("paused")[:60], ""},
		"nothing at all":         {nil, ""},
		"the state is too long":  {append(globalState("paused"), globalState(string(bytes.Repeat([]byte("x"), 90)))...), "paused"},
		"one within another one": {append(globalState("paused")[:40], globalState("running")...), "running"},
	} {
		var f RunStateFinder
		for len(c.in) > 0 {
			n := min(len(c.in), 1+rand.IntN(50))
			_, _ = f.Write(c.in[:n])
			c.in = c.in[n:]
		}
		if f.State() != c.want {
			t.Errorf("%s: %q, want %q", name, f.State(), c.want)
		}
	}
}
