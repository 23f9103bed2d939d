package monitor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/digitalocean/go-qemu/qmp"
)

// MaxLine bounds one QMP message, in bytes. The longest in practice is the schema, 0.2 MiB.
const MaxLine = 16 << 20

// errLine says that a message is longer than MaxLine.
var errLine = fmt.Errorf("message longer than %d bytes", MaxLine)

// Message is one line from QEMU. Exactly one of Greeting, Event, Return and Error is there.
type Message struct {
	Greeting *Greeting `json:"QMP"`
	qmp.Event
	Return json.RawMessage `json:"return"`
	Error  *Refusal        `json:"error"`
	ID     *uint64         `json:"id"`
}

// Greeting is what a QEMU says first.
type Greeting struct {
	Version      qmp.Version `json:"version"`
	Capabilities []string    `json:"capabilities"`
}

// Refusal is what a QEMU says instead of a result.
type Refusal struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// ParseMessage decodes one line. What it returns shares no memory with line.
func ParseMessage(line []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(line, &m); err != nil {
		return Message{}, fmt.Errorf("message %.60q: %w", line, err)
	}
	kinds := 0
	for _, is := range []bool{m.Greeting != nil, m.Event.Event != "", m.Return != nil, m.Error != nil} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return Message{}, fmt.Errorf("message %.60q: neither greeting, event nor reply", line)
	}
	return m, nil
}

// ReadLine returns the next line that is not blank, in memory of its own. The end in mid-line is
// io.ErrUnexpectedEOF.
func ReadLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > MaxLine {
			return nil, errLine
		}
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case len(bytes.TrimSpace(line)) == 0:
			line = line[:0]
		default:
			return line, nil
		}
	}
}
