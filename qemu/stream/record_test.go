package stream

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"
)

// recorded is the record of a tail that arrives in pieces.
func recorded(t testing.TB, tail []byte, limit int) *Record {
	t.Helper()
	p := atTail(t, bytes.NewReader(tail), Options{})
	r := p.NewRecord(limit)
	if _, err := p.Tail(io.MultiWriter(io.Discard, r)); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRecordFindsNumbers: fields are where the description says, behind arrays, in subsections and in further instances.
func TestRecordFindsNumbers(t *testing.T) {
	const text = `{"page_size": 4096, "devices": [
		{"name": "first", "instance_id": 0, "fields": [{"name": "a", "size": 2, "array_len": 3}, {"name": "b", "size": 8}, {"name": "c", "size": 3}]},
		{"name": "cpu", "instance_id": 0, "fields": [{"name": "b", "size": 4}], "subsections": [
			{"vmsd_name": "cpu/x", "fields": [{"name": "d", "size": 1}], "subsections": [{"vmsd_name": "cpu/x/y", "fields": [{"name": "e", "size": 2}]}]},
			{"vmsd_name": "cpu/z", "fields": [{"name": "f", "size": 8}]}]},
		{"name": "cpu", "instance_id": 1, "fields": [{"name": "b", "size": 4}]}]}`
	sub := func(name string, state ...byte) []byte {
		return slices.Concat([]byte{5, byte(len(name))}, []byte(name), []byte{0, 0, 0, 1}, state)
	}
	tail := slices.Concat(
		fakeDevice("first", slices.Concat(make([]byte, 6), binary.BigEndian.AppendUint64(nil, 0x0006000600060006), []byte{0, 6, 0})),
		fakeDevice("cpu", slices.Concat([]byte{0, 0, 1, 2}, sub("cpu/x", 7), sub("cpu/x/y", 3, 4), sub("cpu/z", 0, 0, 0, 0, 0, 0, 0, 9))),
		fakeDevice("cpu", []byte{0, 0, 0, 5}), endMark(text))
	devices, err := recorded(t, tail, 1<<20).Devices()
	if err != nil || len(devices) != 3 {
		t.Fatalf("%d devices, %v", len(devices), err)
	}
	for _, c := range []struct {
		device int
		field  string
		value  uint64
		ok     bool
	}{
		{0, "a", 0, false}, {0, "b", 0x0006000600060006, true}, {0, "c", 0x600, false}, {0, "d", 0, false},
		{1, "b", 0x102, true}, {1, "d", 7, true}, {1, "e", 0x304, true}, {1, "f", 9, true}, {2, "b", 5, true}, {2, "f", 0, false},
	} {
		if v, ok := devices[c.device].Number(c.field); ok != c.ok || ok && v != c.value {
			t.Errorf("device %d, field %s: %#x, %v", c.device, c.field, v, ok)
		}
	}
	if d := devices[2]; d.Name != "cpu" || d.Instance != 1 {
		t.Errorf("device 2 is %s %d", d.Name, d.Instance)
	}
}

// TestRecordOfWhatIsNoTail: what is too long, cut short or does not add up is an error.
func TestRecordOfWhatIsNoTail(t *testing.T) {
	tail := fakeTail([]byte("one"), []byte("two"))
	if _, err := recorded(t, tail, len(tail)-1).Devices(); err != errLong {
		t.Errorf("longer than its limit: %v", err)
	}
	for i := range tail {
		r := &Record{limit: len(tail), footers: true}
		r.Write(tail[:i])
		if d, err := r.Devices(); err == nil {
			t.Fatalf("%d of %d bytes give %d devices", i, len(tail), len(d))
		}
	}
	for i, b := range tail[:bytes.LastIndex(tail, markStart)] {
		bad := slices.Clone(tail)
		bad[i] = b + 1
		r := &Record{limit: len(tail), footers: true}
		r.Write(bad)
		r.Devices() // must not panic
	}
}

// TestRecordOfCaptures: the state of real QEMUs is found.
func TestRecordOfCaptures(t *testing.T) {
	found := 0
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
			continue
		}
		r := p.NewRecord(MaxTail)
		tail, err := p.Tail(r)
		if err != nil {
			continue // without a description
		}
		devices, err := r.Devices()
		if err != nil || len(devices) != tail.Sections {
			t.Fatalf("%s: %d devices of %d, %v", name, len(devices), tail.Sections, err)
		}
		for _, d := range devices {
			if pat, ok := d.Number("env.pat"); ok && pat == 0x0007040600070406 {
				found++
			}
			if _, ok := d.Number("env.system_time_msr"); ok != (d.Name == "cpu") {
				t.Errorf("%s: device %s: %v", name, d.Name, ok)
			}
		}
	}
	if found == 0 {
		t.Error("no processor was found in any capture")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(fakeTail([]byte("one"), []byte("two")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Record{limit: 1 << 20, footers: true}
		r.Write(b)
		devices, err := r.Devices()
		if err != nil {
			return
		}
		for _, d := range devices {
			d.Number("x")
		}
	})
}
