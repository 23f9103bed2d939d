// Package trace records what the core takes and orders.
package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Tracer writes every event that the core takes and every action that it gives, one JSON object per line, to find
// out afterwards why a VM went where it is. It belongs to the core's goroutine; a nil Tracer is off.
type Tracer struct {
	f     *os.File
	w     *bufio.Writer
	start time.Time
}

// Line is an event or an action.
type Line struct {
	AtS    float64 `json:"at_s"`
	Event  string  `json:"event,omitempty"`
	Action string  `json:"action,omitempty"`
	Record string  `json:"record,omitempty"`
	VM     int     `json:"vm"`
	Host   int     `json:"host"`
	State  string  `json:"state,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// Open makes the file anew; no path: a Tracer that is off. The times in it are those since start.
func Open(path string, start time.Time) (*Tracer, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	return &Tracer{f: f, w: bufio.NewWriter(f), start: start}, nil
}

// Write adds a line, with the time and the reason why something went wrong.
func (t *Tracer) Write(l Line, err error) {
	if t == nil {
		return
	}
	l.AtS = time.Since(t.start).Seconds()
	if err != nil {
		l.Error = err.Error()
	}
	b, err := json.Marshal(l)
	if err == nil {
		t.w.Write(append(b, '\n')) // an error stays in the Writer; the trace is not worth a VM
		t.w.Flush()
	}
}

// Close closes the file.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	return t.f.Close()
}
