package source

import (
	"testing"
	"testing/fstest"
)

func TestLinkSpeed(t *testing.T) {
	root := fstest.MapFS{}
	for name, text := range map[string]string{"fast": "25000\n", "down": "-1\n", "strange": "quick\n", "idle": "0\n"} {
		root["sys/class/net/"+name+"/speed"] = &fstest.MapFile{Data: []byte(text)}
	}
	for name, want := range map[string]int64{"fast": 3_125_000_000, "down": 0, "strange": 0, "idle": 0, "missing": 0, "": 0} {
		if got := linkSpeed(root, name); got != want {
			t.Errorf("%q: %d bytes/s, want %d", name, got, want)
		}
	}
}

func TestExpectedRate(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want int64
	}{{Config{Rate: 5, Interface: "lo"}, 5}, {Config{Interface: "lo"}, 0}, {Config{Interface: "no-such"}, 0}} {
		if got := (&Party{run: run{Cfg: c.cfg}}).ExpectedRate(); got != c.want {
			t.Errorf("rate %d on %s: %d, want %d", c.cfg.Rate, c.cfg.Interface, got, c.want)
		}
	}
}
