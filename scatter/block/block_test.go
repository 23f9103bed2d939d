package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func page(fill byte) []byte { return bytes.Repeat([]byte{fill}, PageSize) }

func contentsOf(t *rapid.T) []Content {
	owner := rapid.Custom(func(t *rapid.T) Owner {
		return Owner{rapid.Uint16().Draw(t, "vm"), rapid.Uint16().Draw(t, "block"), rapid.Uint32().Draw(t, "page")}
	})
	content := rapid.Custom(func(t *rapid.T) Content {
		var owners []Owner
		for _, o := range rapid.SliceOfN(owner, 1, 9).Draw(t, "owners") {
			for i := range rapid.IntRange(1, 5).Draw(t, "run") {
				owners = append(owners, Owner{o.VM, o.Block, o.Page + uint32(i)}) // behind the last page comes the first
			}
		}
		return Content{owners, page(rapid.Byte().Draw(t, "fill"))}
	})
	return rapid.SliceOfN(content, 0, 20).Draw(t, "contents")
}

var all = []Compression{None, Zstd, S2}

func newCodec(t testing.TB) (*Encoder, *Decoder) {
	t.Helper()
	e, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return e, d
}

func TestRoundTrip(t *testing.T) {
	e, d := newCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		want := contentsOf(t)
		b, err := e.Append(nil, want, rapid.SampledFrom(all).Draw(t, "compression"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(want, got.Contents, sameContent) {
			t.Fatalf("%d contents came back as %d others", len(want), len(got.Contents))
		}
		for i, c := range want {
			if !bytes.Equal(got.Pages[i*PageSize:(i+1)*PageSize], c.Data) {
				t.Fatalf("page %d is not where it belongs", i)
			}
		}
	})
}

func sameContent(a, b Content) bool {
	return slices.Equal(a.Owners, b.Owners) && bytes.Equal(a.Data, b.Data)
}

func TestCompressionShrinksAndNeverGrows(t *testing.T) {
	e, _ := newCodec(t)
	c := []Content{{[]Owner{{0, 0, 1}}, page(7)}}
	noise := make([]byte, PageSize)
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	plain, _ := e.Append(nil, c, None)
	for _, how := range []Compression{Zstd, S2} {
		if small, _ := e.Append(nil, c, how); len(small) >= len(plain)/10 || Compression(small[1]) != how {
			t.Errorf("a page of one byte takes %d of %d bytes in form %d", len(small), len(plain), small[1])
		}
		if same, _ := e.Append(nil, []Content{{c[0].Owners, noise}}, how); len(same) != len(plain) || Compression(same[1]) != None {
			t.Errorf("a page of noise takes %d of %d bytes in form %d", len(same), len(plain), same[1])
		}
	}
}

func TestEveryPrefixFails(t *testing.T) {
	e, d := newCodec(t)
	for _, compress := range all {
		b, err := e.Append(nil, []Content{{[]Owner{{1, 2, 3}, {1, 2, 4}, {1, 2, 5}, {1, 2, 1 << 31}}, page(1)}, {[]Owner{{5, 0, 9}}, page(2)}}, compress)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			var bad *FormatError
			if _, err := d.Decode(b[:i]); !errors.As(err, &bad) {
				t.Fatalf("prefix of %d of %d bytes: error %v", i, len(b), err)
			}
		}
	}
}

func TestAppendRefusesOversize(t *testing.T) {
	e, _ := newCodec(t)
	if _, err := e.Append(nil, make([]Content, MaxContents+1), None); err == nil {
		t.Error("too many contents accepted")
	}
	if _, err := e.Append(nil, []Content{{make([]Owner, MaxOwners+1), page(0)}}, None); err == nil {
		t.Error("too many owners accepted")
	}
	if _, err := e.Append(nil, []Content{{make([]Owner, 1), page(0)[1:]}}, None); err == nil {
		t.Error("short content accepted")
	}
}

// TestRunsAreShort: consecutive pages take a few bytes, however many they are; a page by itself takes no more for it.
func TestRunsAreShort(t *testing.T) {
	e, d := newCodec(t)
	long := make([]Owner, MaxOwners)
	for i := range long {
		long[i] = Owner{3, 1, uint32(1000 + i)}
	}
	for _, c := range []struct {
		owners []Owner
		most   int
	}{
		{long, 7}, {long[:2], 5}, {[]Owner{{1, 1, 5}, {1, 1, 7}, {1, 1, 9}}, 9},
		{[]Owner{{1, 1, 5}, {2, 1, 6}, {2, 2, 7}}, 9}, {[]Owner{{1, 1, 1<<32 - 1}, {1, 1, 0}}, 14},
	} {
		b, err := e.Append(nil, []Content{{c.owners, page(1)}}, None)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b) - header - PageSize - 1 - 3; n > c.most {
			t.Errorf("%d owners from %v on take %d bytes, want %d", len(c.owners), c.owners[0], n, c.most)
		}
		got, err := d.Decode(b)
		if err != nil || !slices.Equal(got.Contents[0].Owners, c.owners) {
			t.Errorf("owners from %v on did not come back: %v", c.owners[0], err)
		}
	}
}

// TestDecodeBoundsOwners: a run that is longer than what was said, or than there are pages, is refused before it takes memory.
func TestDecodeBoundsOwners(t *testing.T) {
	e, d := newCodec(t)
	good, err := e.Append(nil, []Content{{[]Owner{{1, 1, 3}, {1, 1, 4}, {1, 1, 5}}, page(1)}}, None)
	if err != nil {
		t.Fatal(err)
	}
	const count, first, more = header + 1, header + 4, header + 5
	for name, change := range map[string]func(b []byte){
		"more pages than owners":      func(b []byte) { b[more] = 60 },
		"fewer pages than owners":     func(b []byte) { b[more] = 0 },
		"before the first page":       func(b []byte) { b[first] = 1 },
		"owners that do not follow":   func(b []byte) { b[count] = 100 },
		"the version before this one": func(b []byte) { b[0] = version - 1 },
		"a form that is not known":    func(b []byte) { b[1] = byte(forms) },
	} {
		bad := slices.Clone(good)
		change(bad)
		var f *FormatError
		if _, err := d.Decode(bad); !errors.As(err, &f) {
			t.Errorf("%s: %v", name, err)
		}
	}
	beyond := []byte{version, 0, 0, 0, 0, 0, 1, 3, 1, 3}
	beyond = binary.AppendVarint(beyond, 1<<32-2)
	beyond = append(append(beyond, 1), page(1)...)
	binary.BigEndian.PutUint32(beyond[2:], uint32(len(beyond)-header))
	if _, err := d.Decode(beyond); err == nil {
		t.Error("a run goes beyond the last page")
	}
}

// TestExpandsToWhatWasSaid: what says that it is another length than the block does is refused before it takes memory.
func TestExpandsToWhatWasSaid(t *testing.T) {
	e, d := newCodec(t)
	for _, how := range []Compression{Zstd, S2} {
		b, err := e.Append(nil, []Content{{[]Owner{{1, 1, 3}}, page(1)}}, how)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []uint32{0, 1, PageSize, MaxRaw} {
			binary.BigEndian.PutUint32(b[2:], n)
			var bad *FormatError
			if _, err := d.Decode(b); !errors.As(err, &bad) {
				t.Errorf("form %d, said to be %d bytes: %v", how, n, err)
			}
		}
	}
	bomb := append([]byte{version, byte(S2), 0, 0, 0, 100}, 0xff, 0xff, 0xff, 0xff, 0x0f)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := d.Decode(bomb)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; err == nil || n > MaxRaw {
		t.Errorf("a block of 4 GiB: %v, %d bytes of memory", err, n)
	}
}

func FuzzDecode(f *testing.F) {
	e, d := newCodec(f)
	for _, compress := range all {
		b, err := e.Append(nil, []Content{{[]Owner{{1, 2, 3}, {1, 2, 4}}, page(1)}}, compress)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := d.Decode(b)
		if err != nil {
			return
		}
		again, err := e.Append(nil, got.Contents, None)
		if err != nil {
			t.Fatalf("decoded contents do not encode: %v", err)
		}
		if _, err := d.Decode(again); err != nil {
			t.Fatal(err)
		}
	})
}
