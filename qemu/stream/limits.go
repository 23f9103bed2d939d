package stream

// PageSize is the size in bytes of the unit in which RAM records address guest memory.
const PageSize = 4096

// Bounds of what a stream may ask the reader to hold. A stream that exceeds one of them is malformed.
const (
	MaxMachineName   = 256       // bytes of the machine name
	MaxCapabilities  = 64        // names in the configuration
	MaxSections      = 64        // sections that were started
	MaxBlocks        = 4096      // RAM blocks
	MaxBitmapChunk   = 10240     // bytes of one dirty bitmap chunk
	MaxEarlyBitmap   = 1 << 20   // bytes of the bitmap of a virtio-mem device: 16 TiB in blocks of 2 MiB
	MaxPackage       = 256 << 20 // bytes of device state inside of PACKAGED
	MaxTail          = 256 << 20 // bytes of device state, end mark and description
	MaxDescription   = 1<<24 - 1 // bytes of the JSON text at the end of the tail
	MaxReturnPayload = 512       // bytes of a message on the return path
	MaxRecvBitmap    = 64 << 20  // bytes of a bitmap on the return path: a RAM block of 2 TiB
)

// maxItem bounds the wire bytes of one item: the largest is a RAM block list.
const maxItem = 2 << 20

const (
	minBuffer     = 16 << 10
	defaultBuffer = 256 << 10
)
