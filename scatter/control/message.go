package control

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// Type tells messages apart on the wire. The numbers are part of the protocol.
type Type uint8

// The messages, by direction: up to 31 and from 96 they go to the target, from 32 to 63 they come from it,
// Multicast, Ping and Failed go both ways.
const (
	TypeHello     Type = 1
	TypeBegin     Type = 2
	TypePrepare   Type = 3
	TypeRun       Type = 4
	TypeAbort     Type = 5
	TypeQuery     Type = 6
	TypeDigest    Type = 7
	TypeEnd       Type = 8
	TypeExamine   Type = 9
	TypeListen    Type = 10
	TypeCount     Type = 11
	TypeWelcome   Type = 32
	TypePrepared  Type = 33
	TypeLoaded    Type = 34
	TypeRunning   Type = 35
	TypeState     Type = 36
	TypeDigested  Type = 37
	TypeBegun     Type = 38
	TypeExamined  Type = 39
	TypeListening Type = 40
	TypeCounted   Type = 41
	TypeFilled    Type = 42
	TypeWants     Type = 43
	TypeSynced    Type = 44
	TypeMulticast Type = 64
	TypePing      Type = 65
	TypeFailed    Type = 66
	TypeData      Type = 96
	TypePacked    Type = 97
	TypeDataEnd   Type = 98
	TypeLacks     Type = 99
	TypeTakeOver  Type = 100
	TypePages     Type = 101
	TypePackPages Type = 102
	TypeSync      Type = 103
)

// Message is one of the structs of this package.
type Message interface{ Type() Type }

// rawMessage is a message whose body is not JSON.
type rawMessage interface{ bytes() []byte }

// Purpose says what a connection is for.
type Purpose string

const (
	PurposeControl Purpose = "control" // one per target and evacuation
	PurposeStream  Purpose = "stream"  // one per VM: its filtered migration stream
	PurposeRecover Purpose = "recover" // asks for the state of VMs of an earlier evacuation
	PurposeFill    Purpose = "fill"    // one per VM that runs on its target and lacks pages: these
)

// Hello opens a connection.
type Hello struct {
	Version    int     `json:"version"`
	Purpose    Purpose `json:"purpose"`
	Evacuation string  `json:"evacuation"`         // 16 hex digits
	VM         int     `json:"vm"`                 // index, with PurposeStream and PurposeFill
	Software   string  `json:"software,omitempty"` // for logs
}

// Welcome answers Hello and tells what the target offers.
type Welcome struct {
	Version int      `json:"version"`
	Name    string   `json:"name"`
	Memory  int64    `json:"memory"`          // bytes of guest RAM it has room for
	VCPUs   int      `json:"vcpus"`           // 0 = unlimited
	VMs     []string `json:"vms"`             // names in use on this target
	QEMU    string   `json:"qemu,omitempty"`  // version of the QEMU that it would start
	Error   string   `json:"error,omitempty"` // why the connection is refused

	Traffic *Traffic `json:"traffic,omitempty"` // what passes its link already; nil: not known
}

// Traffic is what a host sends and receives, in bytes/s.
type Traffic struct {
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
}

// Begin starts the data plane of an evacuation.
type Begin struct {
	Key    []byte     `json:"key"`    // 32 bytes, seals the datagrams
	Source netip.Addr `json:"source"` // sender of the datagrams
	Window int        `json:"window"` // bytes of blocks on their way at most
}

// Begun answers Begin.
type Begun struct {
	Datagram netip.AddrPort `json:"datagram"` // where unicast datagrams go
}

// Block is one RAM block of a VM.
type Block struct {
	ID     string `json:"id"`
	Length uint64 `json:"length"`
}

// Prepare asks the target to make room for a VM and to start its QEMU.
type Prepare struct {
	VM      int      `json:"vm"` // index in the evacuation
	Name    string   `json:"name"`
	Argv    []string `json:"argv"`
	Memory  int64    `json:"memory"`
	VCPUs   int      `json:"vcpus"`
	Machine string   `json:"machine"`
	Blocks  []Block  `json:"blocks"` // in the order of the stream
	Header  []byte   `json:"header"` // stream from its first byte to the end of section "ram" start
	Limits  []Limits `json:"limits,omitempty"`

	// Disks are to be made, and come before the VM runs. Their pages follow those of the blocks, by their numbers: the first is region len(Blocks).
	Disks []NewDisk `json:"disks,omitempty"`
	// PostCopy: the VM may take over before all of its pages are there. Header has what says so to QEMU.
	PostCopy bool `json:"postCopy,omitempty"`
}

// NewDisk is a disk that is to be made, all zero.
type NewDisk struct {
	Path  string `json:"path"` // as the source calls it
	Bytes int64  `json:"bytes"`
	Data  int64  `json:"data"` // of these, that are no hole

	// Qcow2 is how its image is made; nil: it is raw.
	Qcow2 *Qcow2 `json:"qcow2,omitempty"`
	// Backing are the images below it, from the next one on, which are only read: the target has them already, with the same contents.
	Backing []Backing `json:"backing,omitempty"`
	// Inode is that of the source's file, in Examine: a file of this name and inode is the same one, and the disk need not travel. 0: it is to be made.
	Inode uint64 `json:"inode,omitempty"`
}

// Qcow2 is how an image of that format is made, in QEMU's words.
type Qcow2 struct {
	Cluster       int    `json:"cluster"` // bytes
	Compat        string `json:"compat"`
	LazyRefcounts bool   `json:"lazyRefcounts,omitempty"`
	RefcountBits  int    `json:"refcountBits"`
	ExtendedL2    bool   `json:"extendedL2,omitempty"`
	Compression   string `json:"compression,omitempty"` // "" = zlib
}

// Backing is an image below another one.
type Backing struct {
	Path   string `json:"path"` // as the source calls it
	Format string `json:"format"`
	Inode  uint64 `json:"inode"`
	Bytes  int64  `json:"bytes"` // of its file
	Sum    []byte `json:"sum"`   // SHA-256 of these
}

// Limits are limits of a disk that its command line does not say.
type Limits struct {
	Device string            `json:"device"` // as block_set_io_throttle takes it
	Group  string            `json:"group,omitempty"`
	Values map[string]uint64 `json:"values"` // by the names of block_set_io_throttle
}

// Examine asks whether the target would take a VM. It may start the VM's QEMU to find out, and ends it at once.
type Examine struct {
	VM      int      `json:"vm"`
	Name    string   `json:"name"`
	Argv    []string `json:"argv"`
	Machine string   `json:"machine"`

	Header   []byte    `json:"header,omitempty"`   // as in Prepare; none: the QEMU is not started
	PostCopy bool      `json:"postCopy,omitempty"` // as in Prepare
	CPU      []CPUWord `json:"cpu,omitempty"`      // what the VM's first processor offers to its guest

	Disks   []NewDisk `json:"disks,omitempty"`   // as in Prepare
	Written []File    `json:"written,omitempty"` // what the VM writes to, and so must be the same file on both ends
}

// File is a regular file of the source.
type File struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode"`
}

// CPUWord is a register of the CPUID instruction with its bits.
type CPUWord struct {
	EAX      uint32  `json:"eax"`
	ECX      *uint32 `json:"ecx,omitempty"` // nil: the leaf has no others
	Register string  `json:"register"`
	Bits     uint32  `json:"bits"`
}

// Examined answers Examine.
type Examined struct {
	VM    int    `json:"vm"`
	Error string `json:"error,omitempty"` // why it would not
	// Off is the switches of the processor here that are off, by QEMU's names, where the VM's processor has what this one lacks.
	Off []string `json:"off,omitempty"`
	// Untried is why the VM's QEMU was not started, where the rest says nothing against the VM.
	Untried string `json:"untried,omitempty"`
	// Shared are those of the disks, by their places in Examine, of which the source's file is here already.
	Shared []int `json:"shared,omitempty"`
	// NoPostCopy is why the VM must have all of its memory before it runs here, where nothing else is against it.
	NoPostCopy string `json:"noPostCopy,omitempty"`
}

// Listen asks the target to count probes. It ends what an earlier Listen began.
type Listen struct {
	Key            []byte     `json:"key"`            // 32 bytes, authenticates the probes
	Source         netip.Addr `json:"source"`         // sender of the probes
	AnySource      netip.Addr `json:"anySource"`      // group to join
	SourceSpecific netip.Addr `json:"sourceSpecific"` // group to join, for Source only
	Port           uint16     `json:"port"`           // of the groups
	Seconds        int        `json:"seconds"`        // to listen for
}

// Listening answers Listen, and tells what the target has for receiving.
type Listening struct {
	Datagram    netip.AddrPort `json:"datagram"`            // where unicast probes go
	NotJoined   string         `json:"notJoined,omitempty"` // why it is not a member of both groups
	Blind       string         `json:"blind,omitempty"`     // why it does not see what passes its interface
	MTU         int            `json:"mtu"`                 // of its interface
	Buffer      int            `json:"buffer"`              // bytes that a socket may hold
	Merges      bool           `json:"merges"`              // its system hands datagrams over merged
	Memberships int            `json:"memberships"`         // groups that a socket may join; -1 = not known
	Error       string         `json:"error,omitempty"`     // why it cannot listen
}

// Count asks what has come since Listen.
type Count struct{}

// Counted answers Count.
type Counted struct {
	Probes  []Probed   `json:"probes"`
	Queries int        `json:"queries"` // of IGMP or MLD, that passed the interface
	Querier netip.Addr `json:"querier"` // sender of the last one
}

// Probed is how many rounds of probes have come by a path, with packets of a size.
type Probed struct {
	Path   uint8 `json:"path"`   // as in the probes
	Packet int   `json:"packet"` // bytes
	Seen   bool  `json:"seen"`   // they passed the interface; otherwise a socket heard them
	Rounds int   `json:"rounds"`
}

// Prepared answers Prepare: the QEMU waits for pages.
type Prepared struct {
	VM   int    `json:"vm"`
	Zero []bool `json:"zero"` // by block: all its bytes are known to be zero

	// DisksFirst is why the disks that come with a VM must be there before it takes over; "": they need not.
	DisksFirst string `json:"disks_first,omitempty"`
}

// Loaded says that the target's QEMU has loaded the whole VM and is paused, and what it consists of.
type Loaded struct {
	VM       int       `json:"vm"`
	Disks    []Disk    `json:"disks"`              // ordered by their devices
	Devices  []string  `json:"devices"`            // ordered: id and type of each
	Rewrites []Rewrite `json:"rewrites,omitempty"` // how names of files were changed on the way
	Renamed  bool      `json:"renamed,omitempty"`  // they may have any other name here: a launcher decides
	Error    string    `json:"error,omitempty"`    // why the disks are not known
}

// Disk is a block device of the guest with the nodes that are behind it.
type Disk struct {
	Device string  `json:"device"`
	Layers []Layer `json:"layers,omitempty"` // none: no medium
}

// Layer is one node behind a disk; each is followed by those that it uses.
type Layer struct {
	Depth    int    `json:"depth,omitempty"`
	Role     string `json:"role,omitempty"` // in which the one above uses it
	Name     string `json:"name,omitempty"` // if somebody gave it one
	Driver   string `json:"driver"`
	File     string `json:"file"`
	Size     int64  `json:"size,omitempty"` // bytes that the guest sees
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Rewrite replaces the beginning of names of files; the longest that fits counts.
type Rewrite struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Run is the go-ahead: from here on the VM lives on the target.
type Run struct {
	VM    int    `json:"vm"`
	State string `json:"state"` // run state at the switch-over, in QEMU's words; the VM is continued if it is running or suspended
}

// Running answers Run.
type Running struct {
	VM int `json:"vm"`
}

// Abort undoes what was done for a VM. It is ignored once Run was received.
type Abort struct {
	VM     int    `json:"vm"`
	Reason string `json:"reason"`
}

// Digest asks for a digest of a loaded VM's RAM, in which some bytes count as zeros.
type Digest struct {
	VM   int    `json:"vm"`
	Skip []Span `json:"skip,omitempty"` // at most MaxSkips
}

// Span is some bytes of one page of RAM.
type Span struct {
	Block  int    `json:"block"`  // index in the VM's stream
	Offset uint64 `json:"offset"` // in the block
	Length uint32 `json:"length"` // up to the end of the page at most
}

// MaxSkips bounds the spans that a digest leaves out.
const MaxSkips = 8192

// Digested answers Digest: per block the SHA-256 of every chunk's SHA-256.
type Digested struct {
	VM   int      `json:"vm"`
	Sums [][]byte `json:"sums"`
}

// Query asks what became of a VM.
type Query struct {
	VM int `json:"vm"`
}

// VMState is where a target stands with a VM.
type VMState string

const (
	StateUnknown   VMState = "unknown"   // never heard of, or nothing is left of it
	StateHeld      VMState = "held"      // a QEMU waits, its stream is not complete
	StateLoading   VMState = "loading"   // its stream is complete, its QEMU has not loaded it yet
	StateLoaded    VMState = "loaded"    // loaded and paused, waits for Run or Abort
	StateLacking   VMState = "lacking"   // as loaded, but pages are missing: never run, its source has all of it
	StateLaunching VMState = "launching" // Run was received, its QEMU has not said yet that it runs
	StateFilling   VMState = "filling"   // it runs on the target, or is about to, and lacks pages that only its source has
	StateRunning   VMState = "running"   // it lives on the target: its QEMU has said so
	StateEnded     VMState = "ended"     // it has lived on the target and has ended there
	StateAborted   VMState = "aborted"   // given up, and never run
)

// State answers Query.
type State struct {
	VM    int     `json:"vm"`
	State VMState `json:"state"`
}

// Failed says that the target cannot go on with a VM.
type Failed struct {
	VM      int    `json:"vm"`
	Error   string `json:"error"`
	Refused bool   `json:"refused,omitempty"` // answers Run: the VM was not run. The target holds it still, unless its QEMU has ended
}

// End closes an evacuation in order.
type End struct{}

// Ping keeps a silent connection alive and proves that the peer is too. It tells what the peer's process has used.
type Ping struct {
	CPU    float64 `json:"cpu,omitempty"`    // seconds so far
	Memory int64   `json:"memory,omitempty"` // bytes resident, at most so far
}

// Multicast carries messages that package multicast sends to itself.
type Multicast struct{ Body []byte }

// Data carries bytes of a VM's migration stream.
type Data struct{ Body []byte }

// Packed carries bytes of a VM's migration stream, compressed by zstd.
type Packed struct{ Body []byte }

// DataEnd is the end of a VM's migration stream; of the device state, where the VM takes over before it has all pages.
type DataEnd struct{}

// Lacks are pages that a VM lacks when it takes over: u16 region, then runs of u32 first, u32 number; see AppendRun and Runs. What
// is not named is in place. With PurposeFill it comes from the target, before anything else, and names what it lacks still.
type Lacks struct{ Body []byte }

// TakeOver says that all that the VM lacks was named. With PurposeStream its device state follows, as data; with PurposeFill pages may come.
type TakeOver struct {
	Blocks []Block `json:"blocks,omitempty"` // with PurposeFill: the regions by their numbers
	Bulk   bool    `json:"bulk,omitempty"`   // with PurposeStream: blocks may bring what it lacks, too; all of them are made from now on
}

// Pages are pages that a VM lacks: see AppendPage and EachPage. Any that it does not lack are dropped. Before the end of a stream they are pages of
// its disks, each of which counts.
type Pages struct{ Body []byte }

// PackedPages is Pages, compressed by zstd.
type PackedPages struct{ Body []byte }

// Sync asks, in a VM's stream, that all pages of its disks that came before it outlive a crash of the host.
type Sync struct {
	Last bool `json:"last,omitempty"` // no more of them come: the images are let go of
}

// Synced answers Sync.
type Synced struct {
	VM int `json:"vm"`
}

// Wants are pages that the guest waits for: u16 region, u32 page of each.
type Wants struct{ Body []byte }

// Filled says that a VM that runs on the target lacks nothing any more, and how often its guest has waited for a page.
type Filled struct {
	VM     int     `json:"vm"`
	Waits  int64   `json:"waits"`  // that were answered
	Median float64 `json:"median"` // ms that half of them took at most, from QEMU's question to its answer
	Most   float64 `json:"most"`   // the same for 99 of 100
}

func (Hello) Type() Type       { return TypeHello }
func (Begin) Type() Type       { return TypeBegin }
func (Prepare) Type() Type     { return TypePrepare }
func (Run) Type() Type         { return TypeRun }
func (Abort) Type() Type       { return TypeAbort }
func (Query) Type() Type       { return TypeQuery }
func (Digest) Type() Type      { return TypeDigest }
func (End) Type() Type         { return TypeEnd }
func (Examine) Type() Type     { return TypeExamine }
func (Examined) Type() Type    { return TypeExamined }
func (Listen) Type() Type      { return TypeListen }
func (Listening) Type() Type   { return TypeListening }
func (Count) Type() Type       { return TypeCount }
func (Counted) Type() Type     { return TypeCounted }
func (Welcome) Type() Type     { return TypeWelcome }
func (Begun) Type() Type       { return TypeBegun }
func (Prepared) Type() Type    { return TypePrepared }
func (Loaded) Type() Type      { return TypeLoaded }
func (Running) Type() Type     { return TypeRunning }
func (State) Type() Type       { return TypeState }
func (Digested) Type() Type    { return TypeDigested }
func (Multicast) Type() Type   { return TypeMulticast }
func (Ping) Type() Type        { return TypePing }
func (Failed) Type() Type      { return TypeFailed }
func (Data) Type() Type        { return TypeData }
func (Packed) Type() Type      { return TypePacked }
func (DataEnd) Type() Type     { return TypeDataEnd }
func (Filled) Type() Type      { return TypeFilled }
func (Wants) Type() Type       { return TypeWants }
func (Lacks) Type() Type       { return TypeLacks }
func (TakeOver) Type() Type    { return TypeTakeOver }
func (Pages) Type() Type       { return TypePages }
func (PackedPages) Type() Type { return TypePackPages }
func (Sync) Type() Type        { return TypeSync }
func (Synced) Type() Type      { return TypeSynced }

func (m Multicast) bytes() []byte   { return m.Body }
func (m Data) bytes() []byte        { return m.Body }
func (m Packed) bytes() []byte      { return m.Body }
func (m Wants) bytes() []byte       { return m.Body }
func (m Lacks) bytes() []byte       { return m.Body }
func (m Pages) bytes() []byte       { return m.Body }
func (m PackedPages) bytes() []byte { return m.Body }

func parse(t Type, body []byte) (Message, error) {
	switch t {
	case TypeMulticast:
		return Multicast{body}, nil
	case TypeData:
		return Data{body}, nil
	case TypePacked:
		return Packed{body}, nil
	case TypeWants:
		return Wants{body}, nil
	case TypeLacks:
		return Lacks{body}, nil
	case TypePages:
		return Pages{body}, nil
	case TypePackPages:
		return PackedPages{body}, nil
	case TypeTakeOver:
		return decode[TakeOver](body)
	case TypeFilled:
		return decode[Filled](body)
	case TypeHello:
		return decode[Hello](body)
	case TypeBegin:
		return decode[Begin](body)
	case TypePrepare:
		return decode[Prepare](body)
	case TypeRun:
		return decode[Run](body)
	case TypeAbort:
		return decode[Abort](body)
	case TypeQuery:
		return decode[Query](body)
	case TypeDigest:
		return decode[Digest](body)
	case TypeEnd:
		return decode[End](body)
	case TypeExamine:
		return decode[Examine](body)
	case TypeExamined:
		return decode[Examined](body)
	case TypeListen:
		return decode[Listen](body)
	case TypeListening:
		return decode[Listening](body)
	case TypeCount:
		return decode[Count](body)
	case TypeCounted:
		return decode[Counted](body)
	case TypeWelcome:
		return decode[Welcome](body)
	case TypeBegun:
		return decode[Begun](body)
	case TypePrepared:
		return decode[Prepared](body)
	case TypeLoaded:
		return decode[Loaded](body)
	case TypeRunning:
		return decode[Running](body)
	case TypeState:
		return decode[State](body)
	case TypeDigested:
		return decode[Digested](body)
	case TypePing:
		return decode[Ping](body)
	case TypeFailed:
		return decode[Failed](body)
	case TypeDataEnd:
		return decode[DataEnd](body)
	case TypeSync:
		return decode[Sync](body)
	case TypeSynced:
		return decode[Synced](body)
	}
	return nil, fmt.Errorf("unknown %s", t)
}

func decode[M Message](body []byte) (Message, error) {
	var m M
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Type(), err)
	}
	if s, ok := any(&m).(sane); ok {
		if err := s.sane(); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Type(), err)
		}
	}
	return m, nil
}

var typeNames = map[Type]string{
	TypeHello: "hello", TypeBegin: "begin", TypePrepare: "prepare", TypeRun: "run", TypeAbort: "abort",
	TypeQuery: "query", TypeDigest: "digest", TypeEnd: "end", TypeWelcome: "welcome", TypeBegun: "begun",
	TypePrepared: "prepared", TypeLoaded: "loaded", TypeRunning: "running", TypeState: "state",
	TypeDigested: "digested", TypeMulticast: "multicast", TypePing: "ping", TypeFailed: "failed",
	TypeExamine: "examine", TypeExamined: "examined", TypeListen: "listen", TypeListening: "listening",
	TypeCount: "count", TypeCounted: "counted", TypeData: "data", TypePacked: "packed", TypeDataEnd: "data end",
	TypeFilled: "filled", TypeWants: "wants", TypeLacks: "lacks", TypeTakeOver: "take over", TypePages: "pages", TypePackPages: "packed pages",
	TypeSync: "sync", TypeSynced: "synced",
}

func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("message type %d", uint8(t))
}
