package handover

import (
	"encoding/json"
)

// RecordKind is what a journal record announces. Each is on disk before the act.
type RecordKind string

const (
	RecBegin    RecordKind = "begin"    // source: an evacuation; target: one that reached Begin
	RecSettings RecordKind = "settings" // source: migration capabilities and parameters of the VM are about to be changed; these it had
	RecPrepare  RecordKind = "prepare"  // source: VM and its target are about to be touched; target: a QEMU is about to start
	RecConverge RecordKind = "converge" // source: QEMU is about to migrate
	RecPause    RecordKind = "pause"    // source: scatter is about to stop the VM
	RecLoaded   RecordKind = "loaded"   // target: the VM is complete and waits for Run or Abort
	RecCommit   RecordKind = "commit"   // source: SHUT(0) is about to be given
	RecRun      RecordKind = "run"      // source: Run is about to be sent; target: cont is about to be given
	RecAbort    RecordKind = "abort"    // source: the VM is about to be taken back; target: it was given up
	RecStayed   RecordKind = "stayed"   // source: the VM is known to be here, as it was found
	RecDone     RecordKind = "done"     // source: the target runs the VM; target: its QEMU has said that it runs
	RecEnded    RecordKind = "ended"    // source: the VM has ended by itself
	RecEnd      RecordKind = "end"      // the evacuation has ended, nothing is open
)

// RecordRAM is the RAM of a VM on its target, and its stream.
type RecordRAM struct {
	Section uint32        `json:"section"` // id of ram in its stream
	Footers bool          `json:"footers"` // its sections have footers
	Blocks  []RecordBlock `json:"blocks"`  // in the order of the stream
}

// RecordBlock is one RAM block in a QEMU process.
type RecordBlock struct {
	ID     string `json:"id"`
	Length uint64 `json:"length"` // bytes
	Host   uint64 `json:"host"`   // address
}

// RecordDisk is an image.
type RecordDisk struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode"` // 0 = it is about to be made

	// What has to be known to go on with a VM that runs before the image is complete.
	Name  string `json:"name,omitempty"` // that the source has for it
	Bytes int64  `json:"bytes,omitempty"`
	Route *Route `json:"route,omitempty"`
}

// Route is how a disk is led past its image, and back to it, in QEMU's words.
type Route struct {
	Node   string          `json:"node"`
	Format json.RawMessage `json:"format"` // all options of the node but what it stands on (blockdev-reopen)
	File   json.RawMessage `json:"file"`   // of the image's own node (blockdev-add)
}

// Record is one line of a journal. Fields that a kind does not use are empty.
type Record struct {
	Kind       RecordKind `json:"kind"`
	Evacuation string     `json:"evacuation,omitempty"`
	Peer       string     `json:"peer,omitempty"` // target: the source's name
	VM         int        `json:"vm"`
	Name       string     `json:"name,omitempty"`
	Socket     string     `json:"socket,omitempty"` // QMP socket of the VM on this host
	PID        int        `json:"pid,omitempty"`
	Host       string     `json:"host,omitempty"` // source: target's name and address
	Address    string     `json:"address,omitempty"`
	TLSDir     string     `json:"tls_dir,omitempty"`
	Start      uint64     `json:"start,omitempty"`  // of the process: clock ticks since boot, tells a reused pid apart
	Paused     bool       `json:"paused,omitempty"` // source: was not running when last seen; target: is not to be continued
	State      string     `json:"state,omitempty"`  // source: run state at the switch-over, in QEMU's words
	Memory     int64      `json:"memory,omitempty"`
	VCPUs      int        `json:"vcpus,omitempty"`
	Cause      string     `json:"cause,omitempty"`
	Keep       bool       `json:"keep,omitempty"`   // source, recDone: the source QEMU is to be left, paused
	Untold     bool       `json:"untold,omitempty"` // source: the VM stays, but its target was lost and may hold it, paused

	PostCopy bool       `json:"postcopy,omitempty"` // the target is about to have the VM, or has it, without some of its pages
	RAM      *RecordRAM `json:"ram,omitempty"`      // target, with PostCopy: what has to be known to go on

	Disks []RecordDisk `json:"disks,omitempty"` // target: images that are made for the VM, and go if it never runs here
	Marks string       `json:"marks,omitempty"` // target, with PostCopy: file that says which pages of them are not there; "" = all are

	Caps   map[string]bool `json:"caps,omitempty"`   // RecSettings
	Params json.RawMessage `json:"params,omitempty"` // recSettings, as QEMU tells them
}
