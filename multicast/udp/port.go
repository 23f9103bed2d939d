package udp

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Port tells how many bytes have left by an interface, from whomever.
type Port struct {
	name  string
	table *os.File // of the network namespace that it was opened in
	text  []byte
}

// OpenPort opens the interface's counters.
func OpenPort(o Options) (*Port, error) {
	p := &Port{name: o.Interface, text: make([]byte, 4<<10)}
	err := o.in(func() (err error) {
		p.table, err = os.Open("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("interface %q: counters: %w", o.Interface, err)
	}
	return p, nil
}

// maxTable bounds the table of interfaces that is read.
const maxTable = 1 << 20

// Sent is the number of bytes that have left. For one goroutine.
func (p *Port) Sent() (uint64, error) {
	n, err := p.table.ReadAt(p.text, 0)
	for n == len(p.text) && n < maxTable { // there may be more
		p.text = make([]byte, 2*n)
		n, err = p.table.ReadAt(p.text, 0)
	}
	if n == 0 {
		return 0, fmt.Errorf("interface %q: counters: %w", p.name, err)
	}
	return sentBytes(p.text[:n], p.name)
}

// sentColumn is where a line of the table has the bytes sent.
const sentColumn = 8

// sentBytes finds an interface in the kernel's table.
func sentBytes(table []byte, name string) (uint64, error) {
	for line := range bytes.Lines(table) {
		before, columns, found := bytes.Cut(line, []byte(":"))
		if !found || string(bytes.TrimSpace(before)) != name {
			continue
		}
		if fields := bytes.Fields(columns); len(fields) > sentColumn {
			return strconv.ParseUint(string(fields[sentColumn]), 10, 64)
		}
	}
	return 0, fmt.Errorf("interface %q: no counters", name)
}

// Close closes the counters.
func (p *Port) Close() error { return p.table.Close() }
