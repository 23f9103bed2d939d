package stream

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// captures returns the recorded streams by name. See testdata/capture for how they were made.
func captures(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.qevm.gz")
	if err != nil || len(files) < 20 {
		t.Fatalf("captures: %d files, %v", len(files), err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		all[strings.TrimSuffix(filepath.Base(f), ".qevm.gz")] = gunzip(t, f)
	}
	return all
}

func capture(t testing.TB, name string) []byte {
	t.Helper()
	return gunzip(t, filepath.Join("testdata", name+".qevm.gz"))
}

func gunzip(t testing.TB, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return b
}

func captureOptions(name string) Options {
	return Options{NoDescription: strings.HasPrefix(name, "no-description")}
}

// digest of wire bytes, as testdata/summary.py abbreviates it.
func digest(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b))[:16] }

// summary lists the items of a stream in the form of testdata/summary.py.
type summary struct {
	p       *Parser
	lines   []string
	repeat  int
	head    string // of the open section
	pages   int
	zeros   int
	chunks  int
	records hash.Hash
	key     []byte
	blob    []byte
	pack    []byte
}

func (s *summary) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if n := len(s.lines); n > 0 && strings.TrimPrefix(s.lines[n-1], fmt.Sprint(s.repeat, " ")) == text {
		s.repeat++
		s.lines[n-1] = fmt.Sprint(s.repeat, " ", text)
		return
	}
	s.repeat = 1
	s.lines = append(s.lines, "1 "+text)
}

// summarise parses a stream to its end. Sections of device state are not listed: they are opaque here.
func summarise(r io.Reader, opt Options) ([]string, error) {
	s := &summary{p: NewParser(r, opt)}
	for {
		it, err := s.p.Next()
		if err == io.EOF {
			return s.lines, nil
		}
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			s.line("refused %s", refused.What)
			return s.lines, nil
		}
		if err != nil {
			return s.lines, err
		}
		if err := s.add(it); err != nil {
			return s.lines, err
		}
	}
}

func (s *summary) add(it *Item) error {
	switch it.Kind {
	case KindHeader:
		machine := s.p.Header().Machine
		if machine == "" {
			machine = "-"
		}
		s.line("header %s %d %s", machine, len(it.Raw), digest(it.Raw))
	case KindCommand:
		s.line("command %v %s", it.Command, digest(it.Raw))
	case KindPackage:
		if s.pack = append(s.pack, it.Raw...); s.p.packed.left == 0 {
			s.line("package %d %s", len(s.pack), digest(s.pack))
		}
	case KindSectionStart:
		sec := it.Section
		s.open(fmt.Sprintf("start %s %d %d %d", sec.Name, sec.ID, sec.Instance, sec.Version))
	case KindSectionPart, KindSectionEnd:
		s.open(fmt.Sprintf("%v %s %d", it.Kind, it.Section.Name, it.Section.ID))
	case KindMemSize:
		for _, b := range s.p.Blocks() {
			s.line("block %s %d", b.Name, b.Length)
		}
	case KindPage, KindZero:
		s.record(it)
	case KindBlob:
		s.chunks++
		s.blob = append(s.blob, it.Raw...)
	case KindFooter:
		s.close(it.Section)
	case KindEarly:
		s.line("early %s %d %s", it.Section.Name, len(it.Raw), digest(it.Raw))
	case KindEnd:
		s.line("eof")
	case KindTail:
		return s.tail()
	}
	return nil
}

func (s *summary) open(head string) {
	s.head, s.pages, s.zeros, s.chunks, s.blob = head, 0, 0, 0, nil
	s.records = sha256.New()
}

func (s *summary) record(it *Item) {
	flag, data := byte(flagPage), it.Data
	if it.Kind == KindZero {
		flag, data = flagZero, []byte{0}
		s.zeros++
	} else {
		s.pages++
	}
	key := append(append(s.key[:0], flag), s.p.Blocks()[it.Block].Name...)
	s.key = append(strconv.AppendUint(append(key, 0), it.Offset, 10), 0)
	s.records.Write(s.key)
	s.records.Write(data)
}

func (s *summary) close(sec Section) {
	if sec.Name == ramName {
		s.line("%s %d %d %x", s.head, s.pages, s.zeros, s.records.Sum(nil)[:8])
	} else {
		s.line("%s %d %d %s", s.head, s.chunks, len(s.blob), digest(s.blob))
	}
}

func (s *summary) tail() error {
	var b bytes.Buffer
	tail, err := s.p.Tail(&b)
	if err != nil {
		return err
	}
	if tail.Bytes != uint64(b.Len()) || tail.Verified == s.p.opt.NoDescription {
		return fmt.Errorf("tail of %d bytes: %+v", b.Len(), tail)
	}
	if !tail.Verified {
		s.line("tail %d %s", b.Len(), digest(b.Bytes()))
		return nil
	}
	s.line("tail %d %s %d", b.Len(), digest(b.Bytes()), tail.Sections)
	return nil
}

// golden returns what testdata/summary.py found, without the sections of device state.
func golden(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "1 device ") })
}

func compareLines(t *testing.T, name string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "(none)", "(none)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s line %d:\n got  %s\n want %s", name, i+1, g, w)
		}
	}
}

func TestCapturesMatchIndependentParser(t *testing.T) {
	for name, b := range captures(t) {
		got, err := summarise(bytes.NewReader(b), captureOptions(name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		compareLines(t, name, got, golden(t, name))
	}
}

// drain parses a stream and drops what is in it.
func drain(p *Parser) error {
	for {
		it, err := p.Next()
		if err == nil && it.Kind == KindTail {
			_, err = p.Tail(io.Discard)
		}
		if err != nil {
			return err
		}
	}
}

func TestCapturesAreConsumedToTheLastByte(t *testing.T) {
	for name, b := range captures(t) {
		if strings.HasPrefix(name, "refused") {
			continue
		}
		r := bytes.NewReader(b)
		p := NewParser(r, captureOptions(name))
		if err := drain(p); err != io.EOF {
			t.Fatalf("%s: %v", name, err)
		}
		if p.Offset() != uint64(len(b)) || r.Len() != 0 {
			t.Errorf("%s: parsed %d of %d bytes, %d unread", name, p.Offset(), len(b), r.Len())
		}
	}
}

// pieces delivers a stream in reads of random lengths.
type pieces struct {
	b   []byte
	max int
	rnd *rand.Rand
}

func (r *pieces) Read(b []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := min(len(b), len(r.b), 1+r.rnd.IntN(r.max))
	copy(b, r.b[:n])
	r.b = r.b[n:]
	return n, nil
}

func TestCapturesInPieces(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, b := range captures(t) {
		opt := captureOptions(name)
		opt.Buffer = 1
		for _, size := range []int{19, 70000} {
			got, err := summarise(&pieces{b, size, rnd}, opt)
			if err != nil {
				t.Fatalf("%s in pieces of up to %d: %v", name, size, err)
			}
			compareLines(t, name, got, golden(t, name))
		}
	}
}

func TestCaptureByteByByte(t *testing.T) {
	for _, name := range []string{"postcopy-bitmaps-10.0", "virtio-mem-10.0", "no-footers-7.2"} {
		got, err := summarise(iotest.OneByteReader(bytes.NewReader(capture(t, name))), Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		compareLines(t, name, got, golden(t, name))
	}
}

// TestCapturesTruncated cuts each capture at many places. Nothing but the whole is a stream.
func TestCapturesTruncated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for name, b := range captures(t) {
		if strings.HasPrefix(name, "refused") || strings.HasPrefix(name, "no-description") {
			continue
		}
		cuts := []int{len(b) - 1, len(b) - 2}
		for i := range 200 {
			cuts = append(cuts, i)
		}
		for range 20 {
			cuts = append(cuts, rnd.IntN(len(b)))
		}
		for _, n := range cuts {
			if err := drain(NewParser(bytes.NewReader(b[:n]), Options{Buffer: 1})); err != io.ErrUnexpectedEOF {
				t.Fatalf("%s cut to %d of %d bytes: %v", name, n, len(b), err)
			}
		}
	}
}

// rewrite passes a stream through a Writer as it is.
func rewrite(b []byte, opt Options) ([]byte, error) {
	var out bytes.Buffer
	p, w := NewParser(bytes.NewReader(b), opt), NewWriter(&out)
	for {
		it, err := p.Next()
		if err == io.EOF {
			err := w.Flush()
			return out.Bytes(), err
		}
		if err != nil {
			return nil, err
		}
		if err := w.Item(p, it); err != nil {
			return nil, err
		}
		if it.Kind != KindTail {
			continue
		}
		if err := w.Flush(); err != nil {
			return nil, err
		}
		if _, err := p.Tail(&out); err != nil {
			return nil, err
		}
	}
}

func TestCapturesSurviveRewriting(t *testing.T) {
	for name, b := range captures(t) {
		if strings.HasPrefix(name, "refused") {
			continue
		}
		out, err := rewrite(b, captureOptions(name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := summarise(bytes.NewReader(out), captureOptions(name))
		if err != nil {
			t.Fatalf("%s rewritten: %v", name, err)
		}
		compareLines(t, name, got, golden(t, name))
		again, err := rewrite(out, captureOptions(name))
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%s: second rewriting differs, %v", name, err)
		}
	}
}

// TestCaptureMatchesDescription checks what the parser knows of device state against the names in the description.
func TestCaptureMatchesDescription(t *testing.T) {
	for name, b := range captures(t) {
		if strings.HasPrefix(name, "refused") || strings.HasPrefix(name, "no-description") {
			continue
		}
		p := NewParser(bytes.NewReader(b), Options{})
		var it *Item
		var err error
		for it, err = p.Next(); err == nil && it.Kind != KindTail; it, err = p.Next() {
		}
		if err != nil {
			continue // post-copy
		}
		var tail bytes.Buffer
		if _, err := p.Tail(&tail); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var d description
		if err := json.Unmarshal(tail.Bytes()[bytes.LastIndex(tail.Bytes(), []byte{0, 6, 0})+markSize:], &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d.PageSize != PageSize {
			t.Errorf("%s: page size %d", name, d.PageSize)
		}
		walkDevices(t, name, tail.Bytes(), &d, maps.Clone(p.early), p.Footers())
	}
}

// walkDevices checks that each section of device state begins where the sizes before it say.
func walkDevices(t *testing.T, name string, tail []byte, d *description, early map[string]int, footers bool) {
	t.Helper()
	for i := range d.Devices {
		one := &description{Devices: d.Devices[i : i+1]}
		n, sections := one.sum(early, footers)
		if sections == 0 {
			delete(early, d.Devices[i].Name)
			continue
		}
		want := d.Devices[i].Name
		if got := string(tail[6 : 6+int(tail[5])]); tail[0] != typeFull || got != want {
			t.Fatalf("%s: section %d of device state is %q, want %q", name, i, got, want)
		}
		tail = tail[n:]
	}
	if tail[0] != typeEnd || tail[1] != typeDescription {
		t.Fatalf("%s: device state ends in % x", name, tail[:2])
	}
}
