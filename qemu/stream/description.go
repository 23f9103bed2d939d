package stream

import (
	"encoding/json"
	"fmt"
	"maps"
)

// description is the JSON text with which the source ends a pre-copy stream.
type description struct {
	PageSize uint64   `json:"page_size"`
	Devices  []device `json:"devices"`
}

type device struct {
	Name     string `json:"name"`
	Instance uint32 `json:"instance_id"`
	fields
}

// fields lists what a device sends. A subsection is itself a list of fields behind a head of its own; the size of a
// field includes what is nested in it.
type fields struct {
	Fields      []field      `json:"fields"`
	Subsections []subsection `json:"subsections"`
}

type field struct {
	Name     string  `json:"name"`
	Size     uint64  `json:"size"`
	ArrayLen *uint64 `json:"array_len"` // elements of that size; absent = 1
}

type subsection struct {
	Name string `json:"vmsd_name"`
	fields
}

const (
	fullHead       = 1 + 4 + 1 + 4 + 4 // type, id, length of the name, instance, version; without the name
	subsectionHead = 1 + 1 + 4         // type, length of the name, version; without the name
)

// describedSections parses a description and checks that the sections it lists are size bytes long. Those that came
// early are not counted. It returns the number of sections.
func describedSections(text []byte, size uint64, early map[string]int, footers bool) (int, error) {
	var d description
	if err := json.Unmarshal(text, &d); err != nil {
		return 0, fmt.Errorf("description: %w", err)
	}
	sum, n := d.sum(maps.Clone(early), footers)
	if sum != size {
		return 0, fmt.Errorf("description of %d bytes of device state: the tail has %d", sum, size)
	}
	return n, nil
}

// sum adds up the sections. A sum beyond MaxTail is cut off: it is wrong anyhow.
func (d *description) sum(early map[string]int, footers bool) (sum uint64, sections int) {
	for i := range d.Devices {
		dev := &d.Devices[i]
		if early[dev.Name] > 0 {
			early[dev.Name]--
			continue
		}
		sections++
		sum += fullHead + uint64(len(dev.Name)) + dev.sum()
		if footers {
			sum += footerSize
		}
		sum = min(sum, MaxTail+1)
	}
	return sum, sections
}

func (f *fields) sum() (sum uint64) {
	for _, x := range f.Fields {
		sum = min(sum+x.sum(), MaxTail+1)
	}
	for i := range f.Subsections {
		sub := &f.Subsections[i]
		sum = min(sum+subsectionHead+uint64(len(sub.Name))+sub.sum(), MaxTail+1)
	}
	return sum
}

func (x *field) sum() uint64 {
	if x.ArrayLen == nil {
		return min(x.Size, MaxTail+1)
	}
	return product(x.Size, *x.ArrayLen)
}

// product is a*b, cut off above MaxTail.
func product(a, b uint64) uint64 {
	a, b = min(a, MaxTail+1), min(b, MaxTail+1)
	return min(a*b, MaxTail+1)
}
