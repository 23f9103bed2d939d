package nbd

// Numbers of the protocol, by the names of proto.md.
const (
	magicServer     = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT"
	magicReply      = 0x0003e889045565a9 // to an option
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Flags of the handshake, which both sides have.
const (
	fixedNewstyle = 1 << iota
	noZeroes      // behind the answer to optExportName
)

// Options.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMeta        = 9
	optSetMeta         = 10
)

// Replies to options.
const (
	repAck     = 1
	repServer  = 2
	repInfo    = 3
	repMeta    = 4
	repError   = 1 << 31 // and above
	repUnsup   = 1<<31 + 1
	repInvalid = 1<<31 + 3
	repUnknown = 1<<31 + 6
	repTooBig  = 1<<31 + 9
)

// Kinds of information in repInfo.
const (
	infoExport    = 0
	infoBlockSize = 3
)

// Transmission flags.
const (
	hasFlags        = 1 << 0
	readOnly        = 1 << 1
	sendFlush       = 1 << 2
	sendFUA         = 1 << 3
	sendTrim        = 1 << 5
	sendWriteZeroes = 1 << 6
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6
	cmdBlockStatus = 7
)

// Flags of commands.
const (
	flagFUA    = 1 << 0
	flagNoHole = 1 << 1
	flagReqOne = 1 << 3
)

// Chunks of structured replies.
const (
	chunkDone        = 1 // flag: the last one
	chunkNone        = 0
	chunkOffsetData  = 1
	chunkOffsetHole  = 2
	chunkBlockStatus = 5
	chunkErrors      = 1 << 15 // and above
	chunkError       = 1<<15 + 1
)

// States of base:allocation.
const (
	stateHole = 1 << iota
	stateZero
)

// Errors, which are Linux's numbers.
const (
	errPerm        = 1
	errIO          = 5
	errNoMemory    = 12
	errInvalid     = 22
	errNoSpace     = 28
	errOverflow    = 75
	errUnsupported = 95
	errShutdown    = 108
)

// baseAllocation is the only metadata context that our server has.
const baseAllocation = "base:allocation"

// Bounds of what a client can make us hold.
const (
	MaxRequest = 32 << 20 // bytes in one READ or WRITE, as QEMU has it (block/nbd.h)

	minBlock       = 1
	preferredBlock = 4096
	maxOption      = 64 << 10 // bytes of an option; names are at most 4096 bytes long
	maxOptions     = 1000     // in one handshake
	maxFlight      = 64 << 20 // bytes in requests that are under way on one connection
	leastCost      = 64 << 10 // that each of them counts for at least
	maxExtents     = 1024     // in one reply
	maxTold        = 1 << 17  // extents in one reply of a server, as QEMU has it (nbd/server.c)
	maxAtOnce      = 16       // requests of a client, as QEMU's own has it
	maxChunks      = 4096     // of the reply to one READ
	maxWords       = 4096     // bytes of text in an error
)
