package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
)

// Record keeps a tail that is copied through it, so that the state of devices can be looked up. It is safe for concurrent use.
type Record struct {
	early   map[string]int
	footers bool
	limit   int

	mu   sync.Mutex // guards the fields below
	tail []byte
	over bool // longer than limit
}

// NewRecord makes a record of the tail that the parser is at; of one that is longer than limit it keeps nothing.
func (p *Parser) NewRecord(limit int) *Record {
	return &Record{early: maps.Clone(p.early), footers: p.footers, limit: min(limit, MaxTail)}
}

// Write takes a piece of the tail. It does not fail.
func (r *Record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over = r.over || len(r.tail)+len(b) > r.limit; r.over {
		r.tail = nil
		return len(b), nil
	}
	r.tail = append(r.tail, b...)
	return len(b), nil
}

// Device is the state of one device, as its QEMU describes it.
type Device struct {
	Name     string
	Instance uint32
	about    fields
	state    []byte
}

var (
	errLong = errors.New("device state: longer than what is kept of it")
	errOpen = errors.New("device state: no description at its end")
)

// Devices lists the devices of the tail, which must be complete. What they sent is the guest's to choose in part, as it is of any state.
func (r *Record) Devices() ([]Device, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, errLong
	}
	d, end, err := lastDescription(r.tail)
	if err != nil {
		return nil, err
	}
	return d.devices(r.tail[:end], maps.Clone(r.early), r.footers)
}

// lastDescription finds the description that a tail ends in, and where its mark begins. JSON contains no NUL, so it is behind the last
// mark, or one that overlaps with that.
func lastDescription(tail []byte) (*description, int, error) {
	for end := len(tail); ; {
		i := bytes.LastIndex(tail[:end], markStart)
		if i < 0 || len(tail)-i < markSize || len(tail)-end > markSize+MaxDescription {
			return nil, 0, errOpen
		}
		text := tail[i+markSize:]
		if int(binary.BigEndian.Uint32(tail[i+2:])) == len(text) {
			d := new(description)
			if err := json.Unmarshal(text, d); err != nil {
				return nil, 0, fmt.Errorf("device state: description: %w", err)
			}
			return d, i, nil
		}
		end = i + len(markStart) - 1
	}
}

// devices cuts the sections of device state apart.
func (d *description) devices(tail []byte, early map[string]int, footers bool) ([]Device, error) {
	var out []Device
	for i := range d.Devices {
		about := &d.Devices[i]
		if early[about.Name] > 0 {
			early[about.Name]--
			continue
		}
		head, size := fullHead+len(about.Name), about.sum()
		total := uint64(head) + size
		if footers {
			total += footerSize
		}
		if total > uint64(len(tail)) || tail[0] != typeFull || int(tail[5]) != len(about.Name) || string(tail[6:6+len(about.Name)]) != about.Name {
			return nil, fmt.Errorf("device state: %s %d is not where its description has it", about.Name, about.Instance)
		}
		out = append(out, Device{about.Name, about.Instance, about.fields, tail[head : head+int(size)]})
		tail = tail[total:]
	}
	if len(tail) > 0 {
		return nil, fmt.Errorf("device state: %d bytes that are not described", len(tail))
	}
	return out, nil
}

// Number is the value of a field that is a number of 1, 2, 4 or 8 bytes, also of one in a subsection; not ok means that the device sent
// none of this name.
func (d *Device) Number(name string) (value uint64, ok bool) { return d.about.number(name, d.state) }

func (f *fields) number(name string, state []byte) (uint64, bool) {
	for i := range f.Fields {
		x := &f.Fields[i]
		if x.Name == name && x.ArrayLen == nil {
			return bigEndian(state[:x.Size])
		}
		state = state[x.sum():]
	}
	for i := range f.Subsections {
		sub := &f.Subsections[i]
		head, size := subsectionHead+uint64(len(sub.Name)), sub.sum()
		if v, ok := sub.number(name, state[head:head+size]); ok {
			return v, true
		}
		state = state[head+size:]
	}
	return 0, false
}

func bigEndian(b []byte) (v uint64, ok bool) {
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v, len(b) == 1 || len(b) == 2 || len(b) == 4 || len(b) == 8
}
