package move

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

func TestTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	tr, err := openTrace(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := []traceLine{
		{Event: "prepared", VM: 1, Host: 2, State: "bulk"},
		{Action: "log", Record: "commit", VM: 1, Error: "disk full"},
	}
	tr.write(want[0], nil)
	line := want[1]
	line.Error = ""
	tr.write(line, errors.New("disk full"))
	b := kit.ReadFile(t, path) // every line is there at once: a crash must not take it along
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	var got []traceLine
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var l traceLine
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
	tr, err := openTrace("", time.Now())
	if tr != nil || err != nil {
		t.Fatalf("%v, %v", tr, err)
	}
	tr.write(traceLine{}, nil)
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if _, err := openTrace(filepath.Join(t.TempDir(), "missing", "trace"), time.Now()); err == nil {
		t.Error("a trace in a missing directory")
	}
}

// TestNamesOfTheCore: each state, event and action has a name of its own, for traces and logs.
func TestNamesOfTheCore(t *testing.T) {
	seen := make(map[string]bool)
	once := func(kind, name string) {
		if name == "" || seen[kind+name] {
			t.Errorf("%s %q: empty, or used twice", kind, name)
		}
		seen[kind+name] = true
	}
	for s := handover.Planned; s <= handover.Doubt; s++ {
		once("state", s.String())
	}
	for k := handover.EvPrepared; k <= handover.EvCancel; k++ {
		once("event", k.String())
	}
	for k := handover.AcPrepare; k <= handover.AcFinal; k++ {
		once("action", k.String())
	}
	if got := handover.State(200).String(); got != "state 200" {
		t.Errorf("got %q", got)
	}
}
