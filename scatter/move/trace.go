package move

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// tracer writes every event that the core takes and every action that it gives, one JSON object per line, to find
// out afterwards why a VM went where it is. It belongs to the core's goroutine; a nil tracer is off.
type tracer struct {
	f     *os.File
	w     *bufio.Writer
	start time.Time
}

type traceLine struct {
	AtS    float64 `json:"at_s"`
	Event  string  `json:"event,omitempty"`
	Action string  `json:"action,omitempty"`
	Record string  `json:"record,omitempty"`
	VM     int     `json:"vm"`
	Host   int     `json:"host"`
	State  string  `json:"state,omitempty"`
	Error  string  `json:"error,omitempty"`
}

func openTrace(path string, start time.Time) (*tracer, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	return &tracer{f: f, w: bufio.NewWriter(f), start: start}, nil
}

func (t *tracer) write(l traceLine, err error) {
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

func (t *tracer) Close() error {
	if t == nil {
		return nil
	}
	return t.f.Close()
}
