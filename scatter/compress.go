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

// packer compresses the frames of one VM's stream. A nil packer never does.
type packer struct {
	enc  *zstd.Encoder
	buf  []byte
	gain gain
	rate func() int64 // of the link, bytes/s

	speed float64 // of compression, bytes/s, smoothed; 0 = not measured
	slow  int     // frames not tried because compression was slower than the link
}

const (
	spareFactor  = 1.1 // how much faster than the link compression must be: it must never slow an evacuation down
	retrySlow    = 16  // one frame of so many is tried all the same, for the host may have become idle
	speedSmooths = 0.2
)

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
	if p == nil || !p.fast() || !p.gain.worth() {
		return nil, false
	}
	began := time.Now()
	p.buf = p.enc.EncodeAll(b, p.buf[:0])
	p.measure(len(b), time.Since(began))
	p.gain.note(len(b), len(p.buf))
	return p.buf, len(p.buf) < len(b)
}

// fast tells whether compression keeps up with the link.
func (p *packer) fast() bool {
	if p.speed == 0 || float64(p.rate())*spareFactor < p.speed {
		return true
	}
	p.slow++
	return p.slow%retrySlow == 0
}

func (p *packer) measure(n int, took time.Duration) {
	speed := float64(n) / max(took.Seconds(), 1e-6)
	if p.speed == 0 {
		p.speed = speed
	}
	p.speed += speedSmooths * (speed - p.speed)
}
