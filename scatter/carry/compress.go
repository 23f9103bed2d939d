package carry

import (
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/scatter-vm/scatter/scatter/planning"
)

// haste remembers how fast compression is, to do without where it would slow an evacuation down.
type haste struct {
	rate   func() int64 // that it must keep up with, bytes/s
	speed  float64      // of compression, bytes/s, smoothed; 0 = not measured
	waived int          // pieces not tried because compression was slower
}

const (
	retryWaived  = 16 // one piece of so many is tried all the same, for the host may have become idle
	speedSmooths = 0.2
)

// keepsUp tells whether compression keeps up with the link.
func (h *haste) keepsUp() bool {
	if h.speed == 0 || planning.Outruns(h.speed, float64(h.rate())) {
		return true
	}
	h.waived++
	return h.waived%retryWaived == 0
}

// measure takes how long a piece of n bytes took.
func (h *haste) measure(n int, took time.Duration) {
	speed := float64(n) / max(took.Seconds(), 1e-6)
	if h.speed == 0 {
		h.speed = speed
	}
	h.speed += speedSmooths * (speed - h.speed)
}

// Packer compresses the frames of one VM's stream. A nil packer never does.
type Packer struct {
	haste
	enc  *zstd.Encoder
	buf  []byte
	gain planning.Gain
}

// NewPacker makes a packer for a stream. rate is what compression must keep up with, in bytes/s.
func NewPacker(rate func() int64) (*Packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(FrameSize))
	if err != nil {
		return nil, fmt.Errorf("stream compression: %w", err)
	}
	return &Packer{haste: haste{rate: rate}, enc: enc}, nil
}

// Try returns b compressed, valid until the next call, when that gains.
func (p *Packer) Try(b []byte) ([]byte, bool) {
	if p == nil || !p.keepsUp() || !p.gain.Worth() {
		return nil, false
	}
	began := time.Now()
	p.buf = p.enc.EncodeAll(b, p.buf[:0])
	p.measure(len(b), time.Since(began))
	p.gain.Note(len(b), len(p.buf))
	return p.buf, len(p.buf) < len(b)
}

// FrameSize is the most that one frame carries.
const FrameSize = 128 << 10
