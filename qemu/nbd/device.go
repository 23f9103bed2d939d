package nbd

import (
	"context"
	"iter"
)

// Device is what is served: Size bytes, of which the server has checked that a request lies inside. Its methods are called from many goroutines at
// once, and obey their context. An error becomes one of the protocol's: ENOSPC, EPERM and EINVAL in its chain as such, any other as EIO.
type Device interface {
	// Read fills p with what lies at off.
	Read(ctx context.Context, p []byte, off uint64) error
	// Write puts p there. p is the server's again afterwards.
	Write(ctx context.Context, p []byte, off uint64) error
	// Zero has n bytes read as zero; hole: their room need not be kept.
	Zero(ctx context.Context, off, n uint64, hole bool) error
	// Flush returns when all that was answered before it was called outlives a crash of the host.
	Flush(ctx context.Context) error
}

// Mapper is a Device that knows what of it is allocated.
type Mapper interface {
	Device
	// Extents yields runs without a gap from off on, until the caller has enough; at least one.
	Extents(ctx context.Context, off, n uint64) iter.Seq2[Extent, error]
}

// Extent is a run of bytes that are alike.
type Extent struct {
	Bytes uint64
	Hole  bool // no room is kept for them
	Zero  bool // they read as zero
}

// Export is a device under a name.
type Export struct {
	Name     string
	Size     uint64 // bytes
	ReadOnly bool
	Device   Device
}

// flags are the transmission flags of an export.
func (e Export) flags() uint16 {
	f := uint16(hasFlags | sendFlush | sendFUA | sendTrim | sendWriteZeroes)
	if e.ReadOnly {
		f |= readOnly
	}
	return f
}
