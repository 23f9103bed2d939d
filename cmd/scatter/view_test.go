package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
)

func TestJSONLines(t *testing.T) {
	var out, talk bytes.Buffer
	a := newApp(&out, &talk, func(string) string { return "" })
	a.json = true
	v := a.newView(true)
	for _, e := range kit.Evacuation {
		v.Event(e)
	}
	v.Log.Error("oops", "vm", "web")
	v.Close()
	kit.Golden(t, "events.json", out.String())
	if !strings.Contains(talk.String(), `"msg":"oops","vm":"web"`) {
		t.Errorf("log %q", talk.String())
	}
}

func TestQuietJSON(t *testing.T) {
	var out bytes.Buffer
	a := newApp(&out, &bytes.Buffer{}, func(string) string { return "" })
	a.json = true
	v := a.newView(false)
	v.Event(kit.Evacuation[0])
	v.Close()
	if out.Len() > 0 {
		t.Errorf("got %q", out.String())
	}
}
