package stream

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// class tells errors apart as far as they depend on the stream only.
func class(err error) string {
	switch {
	case errors.As(err, new(*FormatError)):
		return "format"
	case errors.As(err, new(*RefusedError)):
		return "refused"
	default:
		return err.Error()
	}
}

// FuzzParser checks that the items of a stream do not depend on how its bytes arrive, and that a stream made of them
// has the same items.
func FuzzParser(f *testing.F) {
	for _, m := range messages {
		f.Add(append(append(unhex(f, m.before), unhex(f, m.wire)...), unhex(f, m.after)...), uint64(1))
	}
	f.Add(append(beforeTail(f), fakeTail([]byte("state"))...), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		if len(b) > 1<<20 {
			return
		}
		whole, err := parseAll(bytes.NewReader(b), Options{})
		in := &pieces{b, 5000, rand.New(rand.NewPCG(seed, 0))}
		parts, partsErr := parseAll(in, Options{Buffer: 1})
		whole, parts = joinPackages(whole), joinPackages(parts)
		if hasTail(whole) { // an end may be found in the middle when the bytes stop there
			return
		}
		compareItems(t, parts, whole)
		if class(err) != class(partsErr) {
			t.Fatalf("in pieces %v, in one %v", partsErr, err)
		}
		rewriteItems(t, b, whole)
	})
}

func hasTail(items []Item) bool {
	return len(items) > 0 && items[len(items)-1].Kind == KindTail
}

// joinPackages makes one item of the pieces of each package.
func joinPackages(items []Item) []Item {
	var out []Item
	for _, it := range items {
		if n := len(out); it.Kind == KindPackage && n > 0 && out[n-1].Kind == KindPackage {
			out[n-1].Raw = append(out[n-1].Raw, it.Raw...)
			continue
		}
		out = append(out, it)
	}
	return out
}

func compareItems(t *testing.T, got, want []Item) {
	t.Helper()
	if n := len(got) - len(want); n > 1 || n < -1 || n != 0 && !lastIsPackage(got, want) {
		t.Fatalf("%d items, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !equalItems(got[i], want[i]) && !(i == len(want)-1 && want[i].Kind == KindPackage) {
			t.Fatalf("item %d:\n got  %+v\n want %+v", i, got[i], want[i])
		}
	}
}

// lastIsPackage tells whether a package was cut: how much of it was returned before the error depends on the pieces.
func lastIsPackage(a, b []Item) bool {
	longer := a
	if len(b) > len(a) {
		longer = b
	}
	return longer[len(longer)-1].Kind == KindPackage
}

// rewriteItems passes the items through a Writer and parses what it made.
func rewriteItems(t *testing.T, b []byte, want []Item) {
	t.Helper()
	var out bytes.Buffer
	p, w := NewParser(bytes.NewReader(b), Options{}), NewWriter(&out)
	it, err := p.Next()
	for ; err == nil; it, err = p.Next() {
		must(t, w.Item(p, it))
	}
	must(t, w.Flush())
	out.Write(b[p.Offset():])
	got, _ := parseAll(&out, Options{})
	if got = joinPackages(got); len(got) >= len(want) {
		compareItems(t, got[:len(want)], want)
		return
	}
	// The rest of the stream may begin with a record that continues a block of a section that was cut off.
	compareItems(t, got, want[:len(got)])
	if len(got) < len(want)-1 {
		t.Fatalf("%d items of %d: %v", len(got), len(want), err)
	}
}

// FuzzReturnPath checks that a message that can be read is written as it was.
func FuzzReturnPath(f *testing.F) {
	for _, c := range returns {
		f.Add(unhex(f, c.wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, err := ReadReturn(r)
		if err != nil {
			return
		}
		used := b[:len(b)-r.Len()]
		if out := m.Append(nil); !bytes.Equal(out, used) {
			t.Fatalf("read % x, wrote % x", used, out)
		}
	})
}

// FuzzTail compares the search for the end with its twin, after each piece.
func FuzzTail(f *testing.F) {
	for _, payload := range hostile() {
		f.Add(fakeTail(payload), uint64(1), true)
		f.Add(fakeTail(payload, payload), uint64(2), true)
		f.Add(payload, uint64(3), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64, footers bool) {
		if len(b) > 4096 {
			return
		}
		rnd := rand.New(rand.NewPCG(seed, 0))
		s := tailScanner{footers: footers}
		for at := 0; at < len(b); {
			n := 1 + rnd.IntN(min(len(b)-at, 64))
			got := s.feed(b[at : at+n])
			at += n
			if want := endsHere(b[:at], nil, footers); got != want {
				t.Fatalf("after %d of %d bytes: end %v, want %v", at, len(b), got, want)
			}
		}
	})
}
