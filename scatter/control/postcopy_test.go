package control

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPagesRoundTrip: what was put into the messages of post-copy comes out of them, in its order.
func TestPagesRoundTrip(t *testing.T) {
	type page struct {
		Region int
		Page   uint32
		Data   []byte
	}
	full := bytes.Repeat([]byte{7}, PageBytes)
	want := []page{{0, 1, full}, {65535, 1<<32 - 1, nil}, {3, 0, full}}
	var pages, wants []byte
	for _, p := range want {
		pages, wants = AppendPage(pages, p.Region, p.Page, p.Data), AppendWant(wants, p.Region, p.Page)
	}
	var got []page
	if err := EachPage(pages, func(region int, n uint32, data []byte) error {
		got = append(got, page{region, n, bytes.Clone(data)})
		return nil
	}); err != nil || cmp.Diff(want, got) != "" {
		t.Error(err, cmp.Diff(want, got))
	}
	i := 0
	for region, n := range (Wants{wants}).Each() {
		if region != want[i].Region || n != want[i].Page {
			t.Errorf("want %d: %d %d", i, region, n)
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d wants", i)
	}
	m := Lacks{AppendRun(AppendRun(AppendLacks(nil, 9), 1, 2), 5, 1<<32-1)}
	var runs [][2]uint32
	for first, n := range m.Runs() {
		runs = append(runs, [2]uint32{first, n})
	}
	if region, ok := m.Region(); !ok || region != 9 || cmp.Diff([][2]uint32{{1, 2}, {5, 1<<32 - 1}}, runs) != "" {
		t.Error(region, ok, runs)
	}
}

// TestMalformedPagesAreRefused: whatever a peer puts into such a message, no more is read than there is.
func TestMalformedPagesAreRefused(t *testing.T) {
	good := AppendPage(AppendPage(nil, 1, 2, make([]byte, PageBytes)), 1, 3, nil)
	nothing := func(int, uint32, []byte) error { return nil }
	for n := range good {
		if err := EachPage(good[:n], nothing); err == nil && n != 0 && n != pageHead+PageBytes {
			t.Errorf("%d of %d bytes are taken", n, len(good))
		}
	}
	if EachPage([]byte{0, 0, 0, 0, 0, 0, 2}, nothing) == nil {
		t.Error("a page of no kind is taken")
	}
	stop := errors.New("stop")
	if err := EachPage(good, func(int, uint32, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want %v", err, stop)
	}
	for n := range 20 {
		m := Lacks{make([]byte, n)}
		if _, ok := m.Region(); ok != (n == 2 || n == 10 || n == 18) {
			t.Errorf("%d bytes: %v", n, ok)
		}
		for range m.Runs() {
		}
		for range (Wants{make([]byte, n)}).Each() {
		}
	}
}
