package main

import (
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter"
)

func TestTablesAsJSON(t *testing.T) {
	for want, print := range map[string]func(*app) error{
		`{"type":"plan","format":1,"placement":{"database":"gamma","web1":"beta"},`: func(a *app) error { return a.printPlan(kit.Plan()) },
		`{"type":"report","total_time_s":61.2,`:                                     func(a *app) error { return a.printReport(kit.Report()) },
		`{"type":"finding","check":"c","level":`:                                    func(a *app) error { return a.printFindings([]scatter.Finding{{Check: "c", Level: "ok"}}) },
		`{"type":"recovered","vm":"a","where":"source","action":"none"}`: func(a *app) error {
			return a.printRecovered(&scatter.RecoverReport{VMs: []scatter.Recovered{{VM: "a", Where: scatter.OnSource, Action: "none"}}})
		},
	} {
		var w strings.Builder
		a := newApp(&w, &w, func(string) string { return "" })
		a.json = true
		if err := print(a); err != nil || !strings.HasPrefix(w.String(), want) || strings.Count(w.String(), "\n") != 1 {
			t.Errorf("got %q, %v; want one line that starts %q", w.String(), err, want)
		}
	}
}
