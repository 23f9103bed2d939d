package sender

import (
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// MinWindow is the smallest window that a target may have, in bytes: the least one is what all have.
const MinWindow = 2 << 20

// backgroundWindow is the part of the window that channels in the background share: one in so many.
const backgroundWindow = 4

const (
	// aheadWindow is the part of the window that channels whose blocks go ahead have for themselves, likewise.
	aheadWindow = 8
	// behindTime is how long the link takes for what is under way of others meanwhile: somebody may come to wait for that, and it cannot be overtaken.
	behindTime = 80 * time.Millisecond
)

// window is the bytes of blocks that wait for confirmation.
type window struct {
	size   int // that may
	used   int
	behind int // of it, by channels in the background
}

// take counts bytes that begin to wait, in the background or not.
func (w *window) take(bytes int, background bool) {
	w.used += bytes
	if background {
		w.behind += bytes
	}
}

// give counts bytes that wait no longer.
func (w *window) give(bytes int, background bool) { w.take(-bytes, background) }

// room tells whether so many more bytes may be taken for a channel's backlog now, where limit is the least of all windows. Channels in the
// background, of which there are so many, share a part of the window, so that they neither take the rest of it nor wait for it. Each
// channel may have one block under way.
func (w *window) room(l *backlog, more, limit, background int) bool {
	if w.used+more > limit || l.count-l.first >= wire.MaxOutstanding {
		return false
	}
	switch {
	case background == 0 || l.used == 0:
		return true
	case l.background:
		return l.used+more <= limit/backgroundWindow/background
	default:
		return w.used-w.behind+more <= limit-limit/backgroundWindow
	}
}
