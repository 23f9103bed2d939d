package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

var testBlocks = []RAMBlock{{"mem", 0x4000, PageSize}, {"rom", 0x1000, PageSize}}

func newTestWriter() (*Writer, *bytes.Buffer) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.SetRAM(2, true, testBlocks)
	return w, &b
}

// must fails the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWriterGolden(t *testing.T) {
	w, b := newTestWriter()
	must(t,
		w.Command(CmdPing, []byte{0, 0, 0, 5}),
		w.BeginPart(), w.Zero(0, 0x1000), w.Page(0, 0x2000, pageOfOnes), w.Zero(1, 0), w.Zero(0, 0), w.Zero(0, 0x3000), w.EndPart(),
		w.BeginPart(), w.Zero(0, 0x1000), w.EndPart(),
		w.Flush(),
	)
	ones := strings.Repeat("01", PageSize)
	want := unhex(t, "08 0002 0004 00000005"+
		hexPart+"0000000000001002 03 'mem' 00  0000000000002028"+ones+"0000000000000002 03 'rom' 00"+
		"0000000000000002 03 'mem' 00  0000000000003022 00"+hexEOS+hexFooter+
		hexPart+"0000000000001002 03 'mem' 00"+hexEOS+hexFooter)
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("got %d bytes, want %d", b.Len(), len(want))
	}
}

// TestFinishEndsPostCopy: the parser of what a writer adds to a post-copy stream finds its end.
func TestFinishEndsPostCopy(t *testing.T) {
	for _, foot := range []bool{true, false} {
		var b bytes.Buffer
		w := NewWriter(&b)
		w.SetRAM(2, foot, testBlocks)
		must(t, w.BeginPart(), w.Zero(0, 0), w.EndPart(), w.Finish(), w.Flush())
		want := hexPart + "0000000000000002 03 'mem' 00" + hexEOS + hexFooter + "03 00000002" + hexEOS + hexFooter + "00"
		if !foot {
			want = strings.ReplaceAll(want, hexFooter, "")
		}
		if want := unhex(t, want); !bytes.Equal(b.Bytes(), want) {
			t.Errorf("% x, want % x", b.Bytes(), want)
		}
	}
}

func TestWriterWithoutFooters(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.SetRAM(2, false, testBlocks)
	must(t, w.BeginPart(), w.EndPart(), w.Flush())
	if want := unhex(t, hexPart+hexEOS); !bytes.Equal(b.Bytes(), want) {
		t.Errorf("% x, want % x", b.Bytes(), want)
	}
}

// TestWritersInterleave puts sections of two writers one after another: each must be complete by itself.
func TestWritersInterleave(t *testing.T) {
	x, xb := newTestWriter()
	y, yb := newTestWriter()
	stream := bytes.NewBuffer(unhex(t, hexRAM))
	for range 3 {
		must(t, x.BeginPart(), x.Zero(0, 0x1000), x.Zero(0, 0x2000), x.EndPart(), x.Flush())
		must(t, y.BeginPart(), y.Zero(1, 0), y.EndPart(), y.Flush())
		stream.Write(xb.Next(xb.Len()))
		stream.Write(yb.Next(yb.Len()))
	}
	items, err := parseAll(stream, Options{})
	if err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	var got []byte
	for _, it := range items {
		if it.Kind == KindZero {
			got = append(got, "mr"[it.Block], '0'+byte(it.Offset>>12))
		}
	}
	if want := strings.Repeat("m1m2r0", 3); string(got) != want {
		t.Errorf("records %s, want %s", got, want)
	}
}

func TestWriterMisuse(t *testing.T) {
	w, b := newTestWriter()
	for name, err := range map[string]error{
		"page outside of a section": w.Page(0, 0, pageOfOnes),
		"zero outside of a section": w.Zero(0, 0),
		"end without begin":         w.EndPart(),
	} {
		if err != ErrNoSection {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := NewWriter(b).BeginPart(); err != ErrNoRAM {
		t.Errorf("part before ram is known: %v", err)
	}
	must(t, w.BeginPart())
	if err := w.BeginPart(); err != ErrSectionOpen {
		t.Errorf("part in a part: %v", err)
	}
	if err := w.Command(CmdPing, nil); err != ErrSectionOpen {
		t.Errorf("command in a part: %v", err)
	}
	for name, err := range map[string]error{
		"block":     w.Zero(2, 0),
		"negative":  w.Zero(-1, 0),
		"alignment": w.Zero(0, 1),
		"offset":    w.Zero(0, 0x4000),
		"overflow":  w.Zero(0, ^uint64(PageSize-1)),
		"size":      w.Page(0, 0, pageOfOnes[1:]),
	} {
		if err == nil {
			t.Errorf("bad %s is accepted", name)
		}
	}
	must(t, w.EndPart(), w.Flush())
	if want := unhex(t, hexPart+hexEOS+hexFooter); !bytes.Equal(b.Bytes(), want) {
		t.Errorf("misuse left bytes: % x", b.Bytes())
	}
	if err := w.Command(CmdPing, make([]byte, 1<<16)); err == nil {
		t.Error("command of 64 KiB is accepted")
	}
}

func TestWriterInABorrowedSection(t *testing.T) {
	var b bytes.Buffer
	p, w := NewParser(bytes.NewReader(unhex(t, hexBitmap+"01"+hexFooter)), Options{}), NewWriter(&b)
	for it, err := p.Next(); err == nil; it, err = p.Next() {
		must(t, w.Item(p, it))
		switch {
		case it.Kind == KindSectionStart && it.Section.Name == bitmapName:
			if err := w.Zero(0, 0); err != ErrNoSection {
				t.Errorf("page in %s: %v", it.Section.Name, err)
			}
		case it.Kind == KindSectionStart:
			if err := w.EndPart(); err != ErrNoSection {
				t.Errorf("end of a section of the source: %v", err)
			}
		case it.Kind == KindHeader:
			if err := w.Follow(p); err != ErrNoRAM {
				t.Errorf("follow before ram: %v", err)
			}
		}
	}
}

// TestTargetPrependsAnEarlierStart is what a target does: the head of a cancelled migration, pages of its own, then the
// rest of the real stream without the pages that it has.
func TestTargetPrependsAnEarlierStart(t *testing.T) {
	b := capture(t, "return-path-10.0")
	var out bytes.Buffer
	w := NewWriter(&out)

	early := NewParser(bytes.NewReader(b), Options{})
	for {
		it, err := early.Next()
		must(t, err, w.Raw(it.Raw))
		if it.Kind == KindFooter {
			break
		}
	}
	must(t, w.Follow(early), w.BeginPart())
	blocks := early.Blocks()
	for off := uint64(0); off < blocks[0].Length; off += PageSize {
		must(t, w.Page(0, off, pageOfOnes))
	}
	must(t, w.EndPart())

	late, started, dropped := NewParser(bytes.NewReader(b), Options{}), false, 0
	for {
		it, err := late.Next()
		must(t, err)
		if it.Kind == KindTail {
			break
		}
		drop := it.Kind == KindZero && it.Offset%(2*PageSize) == 0
		if started && !drop {
			must(t, w.Item(late, it))
		}
		if started && drop {
			dropped++
		}
		started = started || it.Kind == KindFooter
	}
	must(t, w.Flush())
	tail, err := late.Tail(&out)
	must(t, err)
	whole, err := summarise(bytes.NewReader(out.Bytes()), Options{})
	must(t, err)
	items, err := parseAll(bytes.NewReader(out.Bytes()), Options{})
	if err != io.EOF || !tail.Verified {
		t.Fatalf("%v, %+v", err, tail)
	}
	want := golden(t, "return-path-10.0")
	if got := whole[len(whole)-1]; got != want[len(want)-1] {
		t.Errorf("tail %s, want %s", got, want[len(want)-1])
	}
	pages, zeros := 0, 0
	for _, it := range items {
		switch it.Kind {
		case KindPage:
			pages++
		case KindZero:
			zeros++
		default:
		}
	}
	if pages != 262+4096 || zeros != 4044-dropped || dropped < 1000 {
		t.Errorf("%d pages, %d zeros, %d dropped", pages, zeros, dropped)
	}
}
