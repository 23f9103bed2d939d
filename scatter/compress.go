package scatter

import (
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
)

// gain decides whether compressing the next piece is worth its time. Compression must never slow an evacuation down: it is
// tried only while it is faster than the link, and rarely while it gains nothing.
type gain struct {
	speed   float64 // bytes/s of compression, smoothed; 0 = not measured
	backoff int     // pieces to skip after the next one that gains nothing
	skip    int     // pieces left to skip
	slow    int     // pieces not tried because compression is slower than the link
}

const (
	leastGain    = 0.04 // smaller by this share, or it was in vain
	mostSkipped  = 15
	spareFactor  = 1.1 // how much faster than the link compression must be
	retrySlow    = 16  // one piece of so many is tried all the same
	speedSmooths = 0.2
)

// worth tells whether to try at this link rate in bytes/s; 0 = unknown.
func (g *gain) worth(rate int64) bool {
	if g.skip > 0 {
		g.skip--
		return false
	}
	if g.speed == 0 || float64(rate)*spareFactor < g.speed {
		return true
	}
	g.slow++
	return g.slow%retrySlow == 0 // the machine may have become idle
}

// note takes what a try has cost and given, in bytes before and after.
func (g *gain) note(before, after int, took time.Duration) {
	speed := float64(before) / max(took.Seconds(), 1e-6)
	if g.speed == 0 {
		g.speed = speed
	}
	g.speed += speedSmooths * (speed - g.speed)
	if float64(before-after) >= leastGain*float64(before) {
		g.backoff, g.skip = 0, 0
		return
	}
	g.backoff = min(2*g.backoff+1, mostSkipped)
	g.skip = g.backoff
}

// packer compresses the frames of one VM's stream. A nil packer never does.
type packer struct {
	enc  *zstd.Encoder
	buf  []byte
	gain gain
	rate func() int64
}

func newPacker(rate func() int64) (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(frameSize))
	if err != nil {
		return nil, fmt.Errorf("stream compression: %w", err)
	}
	return &packer{enc: enc, rate: rate}, nil
}

// try returns b compressed, valid until the next call, when that gains.
func (p *packer) try(b []byte) ([]byte, bool) {
	if p == nil || !p.gain.worth(p.rate()) {
		return nil, false
	}
	began := time.Now()
	p.buf = p.enc.EncodeAll(b, p.buf[:0])
	p.gain.note(len(b), len(p.buf), time.Since(began))
	return p.buf, len(p.buf) < len(b)
}
