package cmdline

import (
	"slices"
	"strings"
	"testing"
)

func TestKeyvalRoundTrip(t *testing.T) {
	for in, want := range map[string]string{
		"a=1,b=2": "a=1,b=2", "x": "x", "x,server,nowait": "x,server=on,wait=off", "x,a=1,,2,b=": "x,a=1,,2,b=", "a=,": "a=", "type=x": "x",
		"a,,b,c=d": "a,,b,c=d", "a==b": "a==b",
	} {
		pairs, err := ParseKeyval(in, "type")
		if got := FormatKeyval(pairs, "type"); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

func TestArguments(t *testing.T) {
	words := strings.Fields("-m 16 --S -nodefaults disk.img -unknown value -other -device VGA,id=v -name")
	var back []string
	for _, a := range Arguments(words) {
		back = append(back, a.Words()...)
	}
	want := strings.Fields("-m 16 -S -nodefaults disk.img -unknown value -other -device VGA,id=v -name")
	if !slices.Equal(back, want) || len(Arguments(words)) != 8 {
		t.Errorf("%+v", Arguments(words))
	}
}
