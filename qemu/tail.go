package qemu

import (
	"os"
	"strings"
)

// maxTail is how much of a log is shown in an error, in bytes.
const maxTail = 2048

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxTail):]...)
	t.b = t.b[max(0, len(t.b)-maxTail):]
	return len(p), nil
}

func (t *tail) String() string { return oneLine(t.b) }

// logTail is the end of a file; nothing if it cannot be read.
func logTail(name string) string {
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
