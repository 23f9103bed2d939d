package scatter

import (
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
)

// gain remembers whether compression pays, to try rarely what gains nothing.
type gain struct {
	backoff int // pieces to skip after the next one that gains nothing
	skip    int // pieces left to skip
}

const (
	leastGain   = 0.04 // smaller by this share, or it was in vain
	mostSkipped = 15
)

// worth tells whether to try the next piece.
func (g *gain) worth() bool {
	if g.skip > 0 {
		g.skip--
		return false
	}
	return true
}

// note takes what a try has given, in bytes before and after.
func (g *gain) note(before, after int) {
	if float64(before-after) >= leastGain*float64(before) {
		g.backoff, g.skip = 0, 0
		return
	}
	g.backoff = min(2*g.backoff+1, mostSkipped)
	g.skip = g.backoff
}

// haste remembers how fast compression is, to leave it where it would slow an evacuation down.
type haste struct {
	rate  func() int64 // that it must keep up with, bytes/s
	speed float64      // of compression, bytes/s, smoothed; 0 = not measured
	slow  int          // pieces not tried because compression was slower
}

const (
	spareFactor  = 1.1 // how much faster than the link compression must be
	retrySlow    = 16  // one piece of so many is tried all the same, for the host may have become idle
	speedSmooths = 0.2
)

// keepsUp tells whether compression keeps up with the link.
func (h *haste) keepsUp() bool {
	if h.speed == 0 || outruns(h.speed, float64(h.rate())) {
		return true
	}
	h.slow++
	return h.slow%retrySlow == 0
}

// outruns tells whether compression at this speed never keeps a link of this rate waiting. Both are in bytes/s.
func outruns(speed, rate float64) bool { return rate*spareFactor < speed }

// measure takes how long a piece of n bytes took.
func (h *haste) measure(n int, took time.Duration) {
	speed := float64(n) / max(took.Seconds(), 1e-6)
	if h.speed == 0 {
		h.speed = speed
	}
	h.speed += speedSmooths * (speed - h.speed)
}

// packer compresses the frames of one VM's stream. A nil packer never does.
type packer struct {
	haste
	enc  *zstd.Encoder
	buf  []byte
	gain gain
}

func newPacker(rate func() int64) (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(frameSize))
	if err != nil {
		return nil, fmt.Errorf("stream compression: %w", err)
	}
	return &packer{haste: haste{rate: rate}, enc: enc}, nil
}

// try returns b compressed, valid until the next call, when that gains.
func (p *packer) try(b []byte) ([]byte, bool) {
	if p == nil || !p.keepsUp() || !p.gain.worth() {
		return nil, false
	}
	began := time.Now()
	p.buf = p.enc.EncodeAll(b, p.buf[:0])
	p.measure(len(b), time.Since(began))
	p.gain.note(len(b), len(p.buf))
	return p.buf, len(p.buf) < len(b)
}
