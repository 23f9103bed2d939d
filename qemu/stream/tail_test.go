package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// endsHere is the dumb twin of tailScanner: is this a whole tail? It tries each place at which the end may begin.
func endsHere(tail []byte, early map[string]int, footers bool) bool {
	for i := 0; i+markSize+len(jsonHead) <= len(tail); i++ {
		text := tail[i+markSize:]
		if tail[i] != 0 || tail[i+1] != 6 || int(binary.BigEndian.Uint32(tail[i+2:])) != len(text) || len(text) > MaxDescription {
			continue
		}
		if !bytes.HasPrefix(text, []byte(jsonHead)) {
			continue
		}
		if _, err := describedSections(text, uint64(i), early, footers); err == nil {
			return true
		}
	}
	return false
}

// fakeDevice returns a section of device state with the payload.
func fakeDevice(name string, payload []byte) []byte {
	b := append([]byte{typeFull, 0, 0, 0, 7, byte(len(name))}, name...)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 1)
	b = append(b, payload...)
	return append(b, typeFooter, 0, 0, 0, 7)
}

// fakeEnd returns the end mark and a description of devices with payloads of these sizes.
func fakeEnd(sizes ...int) []byte {
	var d strings.Builder
	d.WriteString(`{"page_size": 4096, "devices": [`)
	for i, n := range sizes {
		if i > 0 {
			d.WriteString(", ")
		}
		fmt.Fprintf(&d, `{"name": "dev%d", "instance_id": 0, "fields": [{"name": "x", "type": "buffer", "size": %d}]}`, i, n)
	}
	d.WriteString("]}")
	return endMark(d.String())
}

func endMark(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{typeEnd, typeDescription}, uint32(len(text))), text...)
}

func fakeTail(payloads ...[]byte) []byte {
	var b []byte
	var sizes []int
	for i, p := range payloads {
		b = append(b, fakeDevice(fmt.Sprint("dev", i), p)...)
		sizes = append(sizes, len(p))
	}
	return append(b, fakeEnd(sizes...)...)
}

// beforeTail is a stream up to its tail.
func beforeTail(t testing.TB) []byte { return unhex(t, hexRAM+hexEnd+hexEOS+hexFooter) }

// atTail returns a parser that is at the tail of a stream that goes on with r.
func atTail(t testing.TB, r io.Reader, opt Options) *Parser {
	t.Helper()
	p := NewParser(io.MultiReader(bytes.NewReader(beforeTail(t)), r), opt)
	for {
		it, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		if it.Kind == KindTail {
			return p
		}
	}
}

// hostile are payloads with which device state imitates the end of a tail.
func hostile() map[string][]byte {
	text := `{"page_size": 4096, "devices": []}`
	long := endMark(text)
	long[5]++ // ends one byte into what follows
	huge := endMark(text)
	huge[2] = 1
	return map[string][]byte{
		"none":              []byte("quiet"),
		"complete end":      endMark(text),
		"long end":          long,
		"huge end":          huge,
		"cut mark":          {0, 6, 0, 0},
		"marks":             bytes.Repeat([]byte{0, 6, 0, 0}, 50),
		"mark in mark":      {0, 6, 0, 6, 0, 0, '{', '"', '{', '"', ':', '1', '}'},
		"end in end":        endMark(`{"` + string(endMark(text))),
		"zeros":             make([]byte, 300),
		"braces":            bytes.Repeat([]byte(`{"`), 100),
		"open to the end":   append(endMark(text)[:4], 0xff, 0xff, '{', '"'),
		"reaches real end":  append(endMark(text)[:4], 0, 0xff, '{', '"'),
		"mark with newline": append([]byte{0, 6, 0, 0, 0, 40}, "{\"a\":\n1}"...),
	}
}

// TestTailEnd feeds each tail byte by byte, and asks the twin at each.
func TestTailEnd(t *testing.T) {
	for name, payload := range hostile() {
		for _, tail := range [][]byte{fakeTail(payload), fakeTail(payload, payload), fakeTail(nil, payload, []byte("x"))} {
			s := tailScanner{footers: true}
			for i := range tail {
				got, want := s.feed(tail[i:i+1]), endsHere(tail[:i+1], nil, true)
				if got != want || got != (i == len(tail)-1) {
					t.Fatalf("%s: after %d of %d bytes: end %v, want %v", name, i+1, len(tail), got, want)
				}
			}
		}
	}
}

// TestTailEndInPieces cuts tails at all places into two and at random into more.
func TestTailEndInPieces(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for name, payload := range hostile() {
		tail := fakeTail([]byte("first"), payload, []byte("last"))
		for cut := 1; cut < len(tail); cut++ {
			s := tailScanner{footers: true}
			if s.feed(tail[:cut]) || !s.feed(tail[cut:]) {
				t.Fatalf("%s: cut at %d of %d", name, cut, len(tail))
			}
		}
		for range 200 {
			s, rest := tailScanner{footers: true}, tail
			for len(rest) > 0 {
				n := 1 + rnd.IntN(len(rest))
				if end := s.feed(rest[:n]); end != (n == len(rest)) {
					t.Fatalf("%s: end %v with %d bytes to come", name, end, len(rest)-n)
				}
				rest = rest[n:]
			}
		}
	}
}

// TestTailCaptureByteByByte finds the end of real device state at its last byte and not before.
func TestTailCaptureByteByByte(t *testing.T) {
	b := capture(t, "virtio-mem-10.0")
	p := NewParser(bytes.NewReader(b), Options{})
	for it, err := p.Next(); it == nil || it.Kind != KindTail; it, err = p.Next() {
		must(t, err)
	}
	var tail bytes.Buffer
	if _, err := p.Tail(&tail); err != nil {
		t.Fatal(err)
	}
	s := tailScanner{early: p.early, footers: true}
	for i, c := range tail.Bytes() {
		if end := s.feed([]byte{c}); end != (i == tail.Len()-1) {
			t.Fatalf("end %v after %d of %d bytes", end, i+1, tail.Len())
		}
	}
	if len(p.early) != 1 || (&tailScanner{footers: true}).feed(tail.Bytes()) {
		t.Error("an early device is counted in the tail")
	}
	if (&tailScanner{early: p.early}).feed(tail.Bytes()) {
		t.Error("footers are not counted")
	}
}

// TestTailWindowIsBounded checks that device state full of false marks is not kept.
func TestTailWindowIsBounded(t *testing.T) {
	s := tailScanner{footers: true}
	piece := bytes.Repeat([]byte{0, 6, 0, 0xff, 0, 0, '{', '"', 1, 0xff}, 10000)
	for range 200 {
		s.feed(piece)
	}
	if n := cap(s.window); n > 4*len(piece) {
		t.Errorf("window of %d bytes after pieces of %d", n, len(piece))
	}
}

// TestTailWhileTheConnectionStaysOpen is the return path: QEMU sends the last byte and waits.
func TestTailWhileTheConnectionStaysOpen(t *testing.T) {
	source, sink := socketPair(t)
	tail := fakeTail(bytes.Repeat([]byte{7}, 100000), []byte("x"))
	sent := make(chan error, 1)
	go func() {
		_, err := source.Write(append(beforeTail(t), tail...))
		sent <- err
	}()
	p := NewParser(sink, Options{})
	for it, err := p.Next(); it == nil || it.Kind != KindTail; it, err = p.Next() {
		must(t, err)
	}
	var out bytes.Buffer
	got, err := p.Tail(&out)
	must(t, err, <-sent)
	if want := (Tail{uint64(len(tail)), 2, true}); got != want || !bytes.Equal(out.Bytes(), tail) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if _, err := p.Next(); err != io.EOF {
		t.Errorf("next after the tail: %v", err)
	}
	must(t, source.Close())
	if _, err := p.Tail(&out); err != io.EOF || out.Len() != len(tail) {
		t.Errorf("tail after the close: %v, %d bytes", err, out.Len())
	}
}

func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer l.Close()
	a, err = net.Dial("unix", l.Addr().String())
	must(t, err)
	b, err = l.Accept()
	must(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestTailFalseEnd is a guest that knows where a read will stop, and put a consistent end there. What follows is not
// lost.
func TestTailFalseEnd(t *testing.T) {
	// The device's payload is such that its first bytes and the head of its section form a whole tail of one device.
	head := fullHead + len("dev0")
	trap := fakeEnd(0)
	payload := append([]byte{typeFooter, 0, 0, 0, 7}, trap...)
	tail := fakeTail(append(payload, "and more state"...))
	cut := head + len(payload)
	sink, source := io.Pipe()
	go func() {
		source.Write(tail[:cut])
		source.Write(tail[cut:])
		source.Close()
	}()
	p := atTail(t, sink, Options{})
	var out bytes.Buffer
	if got, err := p.Tail(&out); err != nil || got.Bytes != uint64(cut) {
		t.Fatalf("false end: %+v, %v", got, err)
	}
	got, err := p.Tail(&out)
	if err != nil || !got.Verified || !bytes.Equal(out.Bytes(), tail) {
		t.Errorf("true end: %+v, %v", got, err)
	}
	if _, err := p.Tail(&out); err != io.EOF {
		t.Errorf("behind the true end: %v", err)
	}
}

// TestTailDeadline gets a caller out of a tail whose end is not to be found, without loss.
func TestTailDeadline(t *testing.T) {
	source, sink := socketPair(t)
	tail := fakeTail([]byte("state"))
	p := atTail(t, sinkAfter(t, source, sink, tail[:20]), Options{})
	var out bytes.Buffer
	must(t, sink.SetReadDeadline(time.Now()))
	if _, err := p.Tail(&out); !errors.Is(err, os.ErrDeadlineExceeded) || !bytes.Equal(out.Bytes(), tail[:20]) {
		t.Fatalf("%v, %d bytes", err, out.Len())
	}
	must(t, sink.SetReadDeadline(time.Time{}))
	_, err := source.Write(tail[20:])
	must(t, err)
	if got, err := p.Tail(&out); err != nil || !got.Verified || !bytes.Equal(out.Bytes(), tail) {
		t.Errorf("%+v, %v", got, err)
	}
}

// sinkAfter returns a reader of sink once b arrived in it.
func sinkAfter(t *testing.T, source io.Writer, sink io.Reader, b []byte) io.Reader {
	t.Helper()
	_, err := source.Write(b)
	must(t, err)
	got := make([]byte, len(b))
	_, err = io.ReadFull(sink, got)
	must(t, err)
	return io.MultiReader(bytes.NewReader(got), sink)
}

func TestTailErrors(t *testing.T) {
	good := fakeTail([]byte("state"))
	wrong := append(fakeDevice("dev0", []byte("state")), fakeEnd(4)...)
	for _, c := range []struct {
		name string
		tail []byte
		opt  Options
		want string
	}{
		{"good", good, Options{}, "<nil>"},
		{"cut", good[:len(good)-1], Options{}, "unexpected EOF"},
		{"cut to the end mark", good[:len(fakeDevice("dev0", []byte("state")))+1], Options{}, "unexpected EOF"},
		{"does not add up", wrong, Options{}, fmt.Sprintf("migration stream offset %d: description of 27 bytes of device state: the tail has 28", len(beforeTail(t))+len(wrong))},
		{"no description", good[:len(fakeDevice("dev0", []byte("state")))+1], Options{NoDescription: true}, "<nil>"},
		{"no description, cut", good[:20], Options{NoDescription: true}, "unexpected EOF"},
	} {
		p := atTail(t, bytes.NewReader(c.tail), c.opt)
		if _, err := p.Tail(io.Discard); fmt.Sprint(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestTailOrder(t *testing.T) {
	p := NewParser(bytes.NewReader(beforeTail(t)), Options{})
	if _, err := p.Tail(io.Discard); err != ErrNoTail {
		t.Errorf("tail before the header: %v", err)
	}
	p = atTail(t, bytes.NewReader(fakeTail(nil)), Options{})
	if _, err := p.Next(); err != ErrTailPending {
		t.Errorf("next instead of the tail: %v", err)
	}
	full := errors.New("full")
	if _, err := p.Tail(writerFunc(func([]byte) (int, error) { return 0, full })); err != full {
		t.Errorf("error of the writer: %v", err)
	}
	if _, err := p.Tail(io.Discard); err != full {
		t.Errorf("tail after an error: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestTailIsBounded(t *testing.T) {
	zeros := readerFunc(func(b []byte) (int, error) { clear(b); return len(b), nil })
	p := atTail(t, io.MultiReader(bytes.NewReader([]byte{typeFull}), zeros), Options{Buffer: 8 << 20})
	_, err := p.Tail(io.Discard)
	if malformed := (*FormatError)(nil); !errors.As(err, &malformed) || p.tail.result.Bytes > MaxTail {
		t.Errorf("%v after %d bytes", err, p.tail.result.Bytes)
	}
}

func TestDescriptionSums(t *testing.T) {
	text := `{"configuration": {}, "page_size": 4096, "devices": [
		{"name": "early", "instance_id": 0, "fields": [{"size": 9}]},
		{"name": "ab", "instance_id": 0, "fields": [{"size": 4}, {"size": 2, "array_len": 3}, {"size": 5, "array_len": 0}],
		 "subsections": [{"vmsd_name": "ab/s", "fields": [{"size": 7}], "subsections": [{"vmsd_name": "t", "fields": []}]}]}]}`
	const want = 14 + 2 + 4 + 6 + (6 + 4 + 7) + (6 + 1) + 5
	if n, err := describedSections([]byte(text), want, map[string]int{"early": 1}, true); err != nil || n != 1 {
		t.Errorf("%d sections, %v", n, err)
	}
	if _, err := describedSections([]byte(text), want-5, map[string]int{"early": 1}, false); err != nil {
		t.Errorf("without footers: %v", err)
	}
	var d description
	over := `{"devices": [{"name": "a", "fields": [{"size": 18446744073709551615, "array_len": 18446744073709551615}, {"size": 18446744073709551615}]}]}`
	must(t, json.Unmarshal([]byte(over), &d))
	if n, _ := d.sum(nil, true); n != MaxTail+1 {
		t.Errorf("overflowing sum is %d", n)
	}
}
