package parts

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// maxDepth bounds how deep block nodes are stacked.
const maxDepth = 256

// Node is one block node: a format, a filter or the access to a file.
type Node struct {
	Name         string // "#block123" where QEMU has made it up
	Driver       string
	File         string // as QEMU tells it: a path, a URL, or json:{...}
	ReadOnly     bool
	DetectZeroes string
	Missing      bool   // its file is not there any more; QEMU has it open
	Inode        uint64 // of its file, if that is a regular one
	Allocated    int64  // bytes that this has on its file system
	Direct       bool   // past the host's page cache
	NoFlush      bool
	Encrypted    bool
	Size         int64 // bytes that the guest sees
	Header       Header
	Qcow2        *Qcow2 // nil: no image of that format
	Bitmaps      []Bitmap
	Children     []Child
}

// Qcow2 is how an image of that format is made.
type Qcow2 struct {
	Compat        string `json:"compat"`
	LazyRefcounts bool   `json:"lazy-refcounts"`
	RefcountBits  int    `json:"refcount-bits"`
	Corrupt       bool   `json:"corrupt"`
	ExtendedL2    bool   `json:"extended-l2"`
	Compression   string `json:"compression-type"`
	DataFile      string `json:"data-file"`

	Cluster   int  `json:"-"` // bytes
	Snapshots bool `json:"-"` // it has some inside
}

// Header is what an image's own header says of its backing file. Opened by its name, an image has that below it.
type Header struct{ Backing, Format string }

// Child is a node that another one uses.
type Child struct {
	Role string // file, backing, data-file, ...
	Node *Node
}

// Bitmap is a dirty bitmap.
type Bitmap struct {
	Name         string `json:"name"`
	Persistent   bool   `json:"persistent"`
	Busy         bool   `json:"busy"`
	Inconsistent bool   `json:"inconsistent"`
}

// Drive is a block device of the guest, or a drive that none uses.
type Drive struct {
	Name      string // id of the -drive; "" if its nodes are known by name only
	Device    string // QOM path of its device, "" = none
	Backend   string // the same as QEMU tells it: an id, or the path of what is behind a transport
	Removable bool
	TrayOpen  bool
	WriteBack bool
	Root      *Node             // nil: no medium
	Limits    map[string]uint64 // of throttling, by the names of block_set_io_throttle; those that are set
	Group     string            // of throttling
}

// Child is the node in a role, nil if there is none.
func (n *Node) Child(role string) *Node {
	for _, c := range n.Children {
		if c.Role == role {
			return c.Node
		}
	}
	return nil
}

// Named tells whether somebody gave the node its name.
func (n *Node) Named() bool { return n.Name != "" && !strings.HasPrefix(n.Name, "#") }

// IsMissing tells whether the node's file is not there any more.
func (n *Node) IsMissing() bool { return n.Missing }

// ByName tells whether opening the image by its name gives the chain that is below the node now.
func (n *Node) ByName() bool {
	b := n.Child("backing")
	if b == nil {
		return n.Header.Backing == ""
	}
	same := n.Header.Backing == b.File && (n.Header.Format == "" || n.Header.Format == b.Driver)
	return same && b.ByName()
}

// Find is the first node for which is says so, n itself or one below it.
func (n *Node) Find(is func(*Node) bool) *Node {
	if n == nil || is(n) {
		return n
	}
	for _, c := range n.Children {
		if found := c.Node.Find(is); found != nil {
			return found
		}
	}
	return nil
}

// blockInfo is QEMU's BlockDeviceInfo, as far as it matters.
type blockInfo struct {
	Node         string `json:"node-name"`
	Driver       string `json:"drv"`
	File         string `json:"file"`
	ReadOnly     bool   `json:"ro"`
	DetectZeroes string `json:"detect_zeroes"`
	Encrypted    bool   `json:"encrypted"`
	Group        string `json:"group"`
	Cache        struct {
		Direct    bool `json:"direct"`
		NoFlush   bool `json:"no-flush"`
		WriteBack bool `json:"writeback"`
	} `json:"cache"`
	Image struct {
		Size    int64  `json:"virtual-size"`
		Backing string `json:"backing-filename"`
		Full    string `json:"full-backing-filename"`
		Format  string `json:"backing-filename-format"`

		Cluster   int               `json:"cluster-size"`
		Snapshots []json.RawMessage `json:"snapshots"`
		Specific  struct {
			Type string `json:"type"`
			Data Qcow2  `json:"data"`
		} `json:"format-specific"`
	} `json:"image"`
	Bitmaps []Bitmap `json:"dirty-bitmaps"`
}

func (b blockInfo) node() *Node {
	backing := b.Image.Full
	if backing == "" {
		backing = b.Image.Backing
	}
	var made *Qcow2
	if b.Image.Specific.Type == "qcow2" {
		made = &b.Image.Specific.Data
		made.Cluster, made.Snapshots = b.Image.Cluster, len(b.Image.Snapshots) > 0
	}
	return &Node{Qcow2: made, Name: b.Node, Driver: b.Driver, File: b.File, ReadOnly: b.ReadOnly, DetectZeroes: b.DetectZeroes,
		Direct: b.Cache.Direct, NoFlush: b.Cache.NoFlush, Encrypted: b.Encrypted, Size: b.Image.Size,
		Header: Header{backing, b.Image.Format}, Bitmaps: b.Bitmaps}
}

// readNodes reads all block nodes, by name, with the edges between them.
func readNodes(ctx context.Context, m Monitor) (map[string]*Node, error) {
	var infos []blockInfo
	if err := m.Do(ctx, "query-named-block-nodes", map[string]bool{"flat": true}, &infos); err != nil {
		return nil, err
	}
	nodes := make(map[string]*Node, len(infos))
	for _, i := range infos {
		nodes[i.Node] = i.node()
	}
	return nodes, connect(ctx, m, nodes)
}

// connect reads which node uses which. The command is QEMU's only one for that, in all versions since 4.0.
func connect(ctx context.Context, m Monitor, nodes map[string]*Node) error {
	var graph struct {
		Nodes []struct {
			ID   uint64 `json:"id"`
			Name string `json:"name"`
			Type string `json:"type"`
		} `json:"nodes"`
		Edges []struct {
			Parent uint64 `json:"parent"`
			Child  uint64 `json:"child"`
			Role   string `json:"name"`
		} `json:"edges"`
	}
	if err := m.Do(ctx, "x-debug-query-block-graph", nil, &graph); err != nil {
		return err
	}
	byID := make(map[uint64]*Node, len(graph.Nodes))
	for _, n := range graph.Nodes {
		if n.Type == "block-driver" {
			byID[n.ID] = nodes[n.Name]
		}
	}
	for _, e := range graph.Edges {
		if p, c := byID[e.Parent], byID[e.Child]; p != nil && c != nil {
			p.Children = append(p.Children, Child{e.Role, c})
		}
	}
	for _, n := range nodes {
		if depth(n, 0) > maxDepth {
			return fmt.Errorf("block node %s: more than %d nodes below it", n.Name, maxDepth)
		}
	}
	return nil
}

func depth(n *Node, above int) int {
	deepest := above + 1
	for _, c := range n.Children {
		if above > maxDepth {
			break
		}
		deepest = max(deepest, depth(c.Node, above+1))
	}
	return deepest
}

// LimitNames are the limits of throttling that QEMU tells with a disk.
var LimitNames = strings.Fields(`bps bps_rd bps_wr iops iops_rd iops_wr bps_max bps_rd_max bps_wr_max iops_max iops_rd_max
	iops_wr_max bps_max_length bps_rd_max_length bps_wr_max_length iops_max_length iops_rd_max_length iops_wr_max_length iops_size`)

// readDrives reads the guest's block devices.
func readDrives(ctx context.Context, m Monitor, nodes map[string]*Node) ([]Drive, error) {
	var list []struct {
		Name      string          `json:"device"`
		Device    string          `json:"qdev"`
		Removable bool            `json:"removable"`
		TrayOpen  bool            `json:"tray_open"`
		Inserted  json.RawMessage `json:"inserted"`
	}
	if err := m.Do(ctx, "query-block", nil, &list); err != nil {
		return nil, err
	}
	drives := make([]Drive, len(list))
	for i, l := range list {
		d := &drives[i]
		*d = Drive{Name: l.Name, Device: devicePath(l.Device), Backend: l.Device, Removable: l.Removable, TrayOpen: l.TrayOpen}
		if l.Inserted == nil {
			continue
		}
		if err := d.insert(l.Inserted, nodes); err != nil {
			return nil, fmt.Errorf("query-block: %s: %w", d, err)
		}
	}
	return drives, nil
}

func (d *Drive) insert(inserted json.RawMessage, nodes map[string]*Node) error {
	var info blockInfo
	if err := json.Unmarshal(inserted, &info); err != nil {
		return err
	}
	var all map[string]any
	_ = json.Unmarshal(inserted, &all) // it was read once
	d.Limits, d.Group, d.WriteBack = map[string]uint64{}, info.Group, info.Cache.WriteBack
	for _, name := range LimitNames {
		if v, ok := all[name].(float64); ok && v > 0 {
			d.Limits[name] = uint64(v)
		}
	}
	if d.Root = nodes[info.Node]; d.Root == nil {
		return fmt.Errorf("node %s is not among the named ones", info.Node)
	}
	return nil
}

// String names the drive for people: by its own name, or by its device's.
func (d *Drive) String() string {
	switch {
	case d.Name != "":
		return d.Name
	case d.Device != "":
		return strings.TrimPrefix(d.Device, Peripheral)
	}
	return "without device"
}

// Where the devices are that an operator asked for.
const (
	Peripheral = "/machine/peripheral/"      // by their ids
	Anonymous  = "/machine/peripheral-anon/" // those without an id, numbered
)

// devicePath is the QOM path of the device that the guest sees, out of what query-block tells: an id or a path, which
// may be that of the device behind a transport.
func devicePath(qdev string) string {
	qdev = strings.TrimSuffix(qdev, "/virtio-backend")
	if qdev == "" || strings.HasPrefix(qdev, "/") {
		return qdev
	}
	return Peripheral + qdev
}
