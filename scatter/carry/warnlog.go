package carry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/scatter-vm/scatter/scatter/model"
)

// warnHandler passes log records on, and tells warnings as events too: what a part of the evacuation warns
// of belongs into its report.
type warnHandler struct {
	slog.Handler
	tell func(model.Event)
}

// warnTo is a log whose warnings are told as events, and nothing else of it is kept.
func warnTo(tell func(model.Event)) *slog.Logger {
	return slog.New(warnHandler{slog.DiscardHandler, tell})
}

// Enabled: warnings are wanted whatever the log's own level is.
func (h warnHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || h.Handler.Enabled(ctx, l)
}

func (h warnHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		ev := model.Event{Type: "warning", Message: r.Message}
		var more []string
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "target" {
				ev.Host = a.Value.String()
			} else {
				more = append(more, fmt.Sprintf("%s %v", a.Key, a.Value))
			}
			return true
		})
		if len(more) > 0 {
			ev.Message += ": " + strings.Join(more, ", ")
		}
		h.tell(ev)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h warnHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnHandler{h.Handler.WithAttrs(attrs), h.tell}
}

func (h warnHandler) WithGroup(name string) slog.Handler {
	return warnHandler{h.Handler.WithGroup(name), h.tell}
}
