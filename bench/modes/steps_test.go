package main

import (
	"strings"
	"testing"
	"time"
)

func TestPassesAreReadFromTheLog(t *testing.T) {
	found := passLine.FindStringSubmatch(`time=2026-01-01T00:00:00.000Z level=DEBUG msg=pass vm=busy at_s=2.5 remaining=64000000 pause=1.2s taken=0.25 share=0.5 order=throttle`)
	if found == nil {
		t.Fatal("not found")
	}
	p, err := passOf(found[1:])
	if want := (pass{2.5, 64, 1200 * time.Millisecond, 0.25, 0.5, "throttle"}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	if text := stepsTable([]pass{p}); !strings.Contains(text, "| 2.50 s | 64.0 MB | 1200 ms ") || !strings.HasSuffix(text, "| throttle |\n") {
		t.Error(text)
	}
	if drawn := stepsPlot([]pass{p}); !strings.HasSuffix(drawn, "</svg>\n") {
		t.Error(drawn)
	}
}

func TestMixedGuestsHoldAsMuchAsCalmOnes(t *testing.T) {
	calm := hosted("calm")
	for i, g := range mixed() {
		if g.Workload.Pages() != calm[i].Workload.Pages() {
			t.Errorf("%s: %d pages, calm %d", g.Name, g.Workload.Pages(), calm[i].Workload.Pages())
		}
	}
}
