package process

import (
	"fmt"
	"os"
	"strings"
)

// maxTail is how much of a log is shown in an error, in bytes.
const maxTail = 2048

// Tail keeps the end of what is written to it.
type Tail struct{ b []byte }

// Write takes it all and never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxTail):]...)
	t.b = t.b[max(0, len(t.b)-maxTail):]
	return len(p), nil
}

// String is the end, as one line.
func (t *Tail) String() string { return oneLine(t.b) }

// LogTail is the end of a file; nothing if it cannot be read.
func LogTail(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	b := make([]byte, min(info.Size(), maxTail))
	n, _ := f.ReadAt(b, info.Size()-int64(len(b)))
	return oneLine(b[:n])
}

// oneLine makes text fit for an error: lines are joined, other control characters dropped.
func oneLine(b []byte) string {
	text := strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// Limited keeps what is written to it, and refuses to take more than its limit; a program that says more is cut off.
type Limited struct {
	Limit int // bytes
	b     []byte
}

// Write takes all of p, or nothing.
func (l *Limited) Write(p []byte) (int, error) {
	if len(p) > l.Limit-len(l.b) {
		return 0, fmt.Errorf("printed more than %d bytes", l.Limit)
	}
	l.b = append(l.b, p...)
	return len(p), nil
}

// Bytes is what was written.
func (l *Limited) Bytes() []byte { return l.b }
