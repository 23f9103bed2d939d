package control

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/scatter-vm/scatter/bench/tried"
)

// TestWordsOfPeers: a text is made harmless, a name that is none ends the connection.
func TestWordsOfPeers(t *testing.T) {
	n := 0
	long, rude := strings.Repeat("ü", MaxText), "\x1b]0;owned\x07\r\nlevel=ERROR \u202e"
	for _, m := range []Message{Welcome{Name: "h", Error: rude + long}, Welcome{Name: "h", QEMU: rude}, Examined{Error: rude, Untried: long}, Listening{NotJoined: rude, Blind: rude, Error: rude},
		Loaded{Error: rude}, Abort{Reason: rude}, Failed{Error: long}, Hello{Software: rude}} {
		n++
		body, _ := json.Marshal(m)
		got, err := parse(m.Type(), body)
		if err != nil {
			t.Errorf("%s: %v", m.Type(), err)
			continue
		}
		eachString(reflect.ValueOf(got), func(s string) {
			if len(s) > MaxText || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s: %.80q", m.Type(), s)
			}
		})
	}
	for _, bad := range []string{rude, strings.Repeat("x", MaxName+1), "a\nb", "\x00"} {
		for _, m := range []Message{Welcome{Name: bad}, Welcome{Name: "h", VMs: []string{"a", bad}}, Welcome{Name: bad, Error: "no"}, Prepare{Name: bad}, Prepare{Machine: bad}, Prepare{Blocks: []Block{{ID: bad}}},
			Prepare{Limits: []Limits{{Device: bad}}}, Examine{Name: bad}, Examine{Machine: bad}, Examine{CPU: []CPUWord{{Register: bad}}}, Examined{Off: []string{bad}}, Run{State: bad}, Prepare{Disks: []NewDisk{{Path: bad + strings.Repeat("/", MaxPath)}}}, Examine{Disks: []NewDisk{{Path: bad + strings.Repeat("/", MaxPath)}}}, State{State: VMState(bad)}} {
			n++
			body, _ := json.Marshal(m)
			if got, err := parse(m.Type(), body); err == nil || len(err.Error()) > 400 {
				t.Errorf("%s: %+v, %v", m.Type(), got, err)
			}
		}
	}
	tried.Inputs(t, "words of a peer", n)
	if got := Tidy("QEMU says: Größe\tfalsch"); got != "QEMU says: Größe falsch" {
		t.Errorf("got %q", got)
	}
}

// eachString yields the strings in a struct.
func eachString(v reflect.Value, yield func(string)) {
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			yield(f.String())
		}
	}
}
