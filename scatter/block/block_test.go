package block

import (
	"bytes"
	"errors"
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
		return Content{rapid.SliceOfN(owner, 1, 9).Draw(t, "owners"), page(rapid.Byte().Draw(t, "fill"))}
	})
	return rapid.SliceOfN(content, 0, 20).Draw(t, "contents")
}

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
		b, err := e.Append(nil, want, rapid.Bool().Draw(t, "compress"))
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
	plain, _ := e.Append(nil, c, false)
	small, _ := e.Append(nil, c, true)
	if len(small) >= len(plain)/10 {
		t.Errorf("a page of one byte takes %d of %d bytes", len(small), len(plain))
	}
}

func TestEveryPrefixFails(t *testing.T) {
	e, d := newCodec(t)
	for _, compress := range []bool{false, true} {
		b, err := e.Append(nil, []Content{{[]Owner{{1, 2, 3}, {1, 2, 1 << 31}}, page(1)}, {[]Owner{{5, 0, 9}}, page(2)}}, compress)
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
	if _, err := e.Append(nil, make([]Content, MaxContents+1), false); err == nil {
		t.Error("too many contents accepted")
	}
	if _, err := e.Append(nil, []Content{{make([]Owner, MaxOwners+1), page(0)}}, false); err == nil {
		t.Error("too many owners accepted")
	}
	if _, err := e.Append(nil, []Content{{make([]Owner, 1), page(0)[1:]}}, false); err == nil {
		t.Error("short content accepted")
	}
}

func FuzzDecode(f *testing.F) {
	e, d := newCodec(f)
	for _, compress := range []bool{false, true} {
		b, err := e.Append(nil, []Content{{[]Owner{{1, 2, 3}}, page(1)}}, compress)
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
		again, err := e.Append(nil, got.Contents, false)
		if err != nil {
			t.Fatalf("decoded contents do not encode: %v", err)
		}
		if _, err := d.Decode(again); err != nil {
			t.Fatal(err)
		}
	})
}
