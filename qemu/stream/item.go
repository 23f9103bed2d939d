package stream

import "fmt"

// Kind says what an Item is.
type Kind uint8

const (
	KindHeader       Kind = iota + 1 // magic, version and configuration; always the first item
	KindCommand                      // a command; for CmdPackaged its KindPackage items follow
	KindPackage                      // a piece of the device state announced by CmdPackaged
	KindSectionStart                 // opens a section and names it
	KindSectionPart                  // opens a section that was started before
	KindSectionEnd                   // like KindSectionPart; the source does not plan to send more of it
	KindMemSize                      // list of RAM blocks
	KindPage                         // one page of RAM
	KindZero                         // one page of RAM that holds zeros only
	KindEOS                          // closes the body of a ram section
	KindFooter                       // closes a section
	KindEarly                        // early state of a virtio-mem device
	KindBlob                         // a piece of the body of a section other than ram
	KindTail                         // device state begins: call Parser.Tail
	KindEnd                          // end mark of a post-copy stream
)

var kindNames = [...]string{
	KindHeader: "header", KindCommand: "command", KindPackage: "package", KindSectionStart: "start",
	KindSectionPart: "part", KindSectionEnd: "end", KindMemSize: "memsize", KindPage: "page", KindZero: "zero",
	KindEOS: "eos", KindFooter: "footer", KindEarly: "early", KindBlob: "blob", KindTail: "tail", KindEnd: "eof",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Item is one element of a stream. The parser reuses the struct and all byte slices in it: they are valid until the
// next call of Next or Tail.
type Item struct {
	Kind    Kind
	Raw     []byte  // exact wire bytes; nil for KindPage, KindZero and KindTail
	Section Section // the open section, for items between its opening and its footer, and for KindEarly

	Block  int    // KindPage, KindZero: index in Parser.Blocks
	Offset uint64 // KindPage, KindZero: offset in the block, bytes; a multiple of PageSize
	Data   []byte // KindPage: PageSize bytes

	Command Command // KindCommand
	Payload []byte  // KindCommand: the bytes after the length
}

// Section names a section. Its ID differs between QEMU processes: only the name says what it is.
type Section struct {
	ID       uint32
	Name     string
	Instance uint32
	Version  uint32
}

// RAMBlock is a block of guest memory as the source lists it. Lengths are bytes.
type RAMBlock struct {
	Name     string
	Length   uint64
	PageSize uint64 // of the host memory behind it; larger than the constant PageSize only with huge pages
}

const (
	ramName     = "ram"
	ramVersion  = 4
	bitmapName  = "dirty-bitmap"
	earlySuffix = "/virtio-mem-device-early"
)
