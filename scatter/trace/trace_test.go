package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

func TestTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	tr, err := Open(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := []Line{
		{Event: "prepared", VM: 1, Host: 2, State: "bulk"},
		{Action: "log", Record: "commit", VM: 1, Error: "disk full"},
	}
	tr.Write(want[0], nil)
	line := want[1]
	line.Error = ""
	tr.Write(line, errors.New("disk full"))
	b := kit.ReadFile(t, path) // every line is there at once: a crash must not take it along
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	var got []Line
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var l Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil || l.AtS < 0 {
			t.Fatalf("%s: %v", s.Bytes(), err)
		}
		l.AtS = 0
		got = append(got, l)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNoTrace(t *testing.T) {
	tr, err := Open("", time.Now())
	if tr != nil || err != nil {
		t.Fatalf("%v, %v", tr, err)
	}
	tr.Write(Line{}, nil)
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing", "trace"), time.Now()); err == nil {
		t.Error("a trace in a missing directory")
	}
}
