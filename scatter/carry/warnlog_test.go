package carry

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/scatter/model"
)

func TestWarningsAreEvents(t *testing.T) {
	var got []model.Event
	log := slog.New(warnHandler{slog.DiscardHandler, func(e model.Event) { got = append(got, e) }})
	log.Info("nobody wants to know")
	log.Warn("target lost", "target", "h", "err", "away", "n", 3)
	log.With("more", 1).WithGroup("g").Error("worse")
	want := []model.Event{{Type: "warning", Host: "h", Message: "target lost: err away, n 3"}, {Type: "warning", Message: "worse"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
