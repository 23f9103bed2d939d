package scatter

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/scatter-vm/scatter/"

// rules is the table of packages and what of ours, and of others', they may know. A package's sub-packages follow its
// rule unless they have one of their own.
var rules = []struct {
	path   string
	ours   []string // of this module, with their sub-packages
	others []string // modules
	why    string
}{
	{"scatter/control", nil, nil, "the messages know nobody"},
	{"scatter/block", nil, []string{"github.com/klauspost/compress"}, "the format of a block knows nobody"},
	{"scatter/pki", nil, nil, "certificates know nobody"},
	{"dedup", []string{"dedup"}, []string{"github.com/zeebo/xxh3", "golang.org/x/sync"}, "finds equal pages, wherever they come from"},
	{"placement/problem", nil, nil, "says what is to be placed, not how"},
	{"placement/hypergraph", nil, nil, "knows units, classes and places, whatever they stand for"},
	{"placement/chance", nil, nil, "draws numbers"},
	{"placement/model", []string{"placement/hypergraph"}, nil, "the compact form knows no names"},
	{"placement/compile", []string{"placement/problem", "placement/model", "placement/hypergraph"}, nil, "leads from names to numbers"},
	{"placement/assign", []string{"placement/model", "placement/hypergraph"}, nil, "keeps an assignment, whoever changes it"},
	{"placement/pack", []string{"placement/model", "placement/assign"}, nil, "finds room"},
	{"placement/anneal", []string{"placement/hypergraph", "placement/model", "placement/assign", "placement/chance"}, nil, "one way to improve an assignment"},
	{"placement/local", []string{"placement/hypergraph", "placement/model", "placement/assign", "placement/chance"}, nil, "another"},
	{"placement/exact", []string{"placement/model", "placement/assign"}, nil, "tries all"},
	{"placement/bound", []string{"placement/model", "placement/assign"}, nil, "counts"},
	{"placement/multilevel", []string{"placement/hypergraph", "placement/model"}, nil, "coarser instances, whatever is done on them"},
	{"placement/search", []string{"placement/model", "placement/assign", "placement/pack", "placement/anneal", "placement/local", "placement/multilevel"}, nil, "composes ways to improve"},
	{"placement/conflict", []string{"placement/problem", "placement/compile", "placement/bound", "placement/exact", "placement/pack"}, nil, "explains why nothing was found"},
	{"placement/internal/kit", []string{"placement"}, []string{"pgregory.net/rapid", "github.com/google/go-cmp"}, "for tests"},
	{"placement", []string{"placement"}, nil, "no I/O, deterministic: the standard library is all it needs"},
	{"multicast", []string{"multicast"}, []string{"golang.org/x/net", "golang.org/x/sys", "github.com/klauspost/reedsolomon", "golang.org/x/crypto"}, "carries blocks, whatever is in them"},
	{"multicast/sender", []string{"multicast/clock", "multicast/coding", "multicast/congestion", "multicast/fifo", "multicast/seal", "multicast/wire"}, nil, "the source's side of the protocol: no I/O, no clock"},
	{"multicast/receiver", []string{"multicast/clock", "multicast/coding", "multicast/seal", "multicast/wire"}, nil, "a target's side of the protocol: no I/O, no clock"},
	{"multicast/congestion", []string{"multicast/clock", "multicast/wire"}, nil, "finds rates: no I/O, no clock"},
	{"qemu/stream", nil, nil, "parser and writer of a format"},
	{"qemu/cmdline", nil, nil, "the syntax of command lines: knows nobody"},
	{"qemu/vmname", nil, nil, "names of VMs know nobody"},
	{"qemu/process", nil, []string{"golang.org/x/sys"}, "starts programs, whatever they are"},
	{"qemu/confine", nil, []string{"github.com/landlock-lsm/go-landlock", "golang.org/x/sys"}, "confines a thread, whatever that starts"},
	{"qemu/monitor", nil, []string{"github.com/digitalocean/go-qemu", "golang.org/x/sys"}, "a QMP connection and what is said over it"},
	{"qemu/ram", nil, nil, "reads what a monitor says of memory: asks it through an interface"},
	{"qemu/memory", []string{"qemu/ram", "qemu/process"}, []string{"golang.org/x/sys"}, "reads and writes memory without a monitor"},
	{"qemu/survey", []string{"qemu/monitor", "qemu/process"}, nil, "asks a program what it is"},
	{"qemu/rehearsal", []string{"qemu/cmdline"}, []string{"golang.org/x/sys"}, "changes command lines that others have judged"},
	{"qemu/policy", []string{"qemu/cmdline", "qemu/vmname", "qemu/confine", "qemu/survey", "qemu/rehearsal"}, nil, "judges command lines: starts no VM"},
	{"qemu/inventory", []string{"qemu/inventory", "qemu/cmdline", "qemu/monitor"}, nil, "asks a monitor, and writes command lines"},
	{"qemu/internal/kit", nil, nil, "for tests"},
	{"qemu/quota", []string{"qemu/process"}, nil, "takes processor time from threads; knows no VM"},
	{"qemu/image", []string{"qemu/nbd", "qemu/process", "qemu/confine"}, []string{"golang.org/x/sys"}, "makes images, whatever is in them"},
	{"qemu/nbd", nil, []string{"golang.org/x/sync"}, "serves disks, and uses those of others, whatever they are"},
	{"qemu/traffic", []string{"qemu/process"}, nil, "reads what the host counts of network devices; asks no QEMU"},
	{"qemu", []string{"qemu"}, []string{"golang.org/x/sys"}, "a VM on this host: composes what is below it"},
	{"scatter/model", []string{"multicast/groups"}, nil, "the words of all rooms: knows none, does nothing"},
	{"scatter/modes", []string{"scatter/model"}, nil, "decides in which mode a VM moves: no I/O, no clock"},
	{"scatter/planning", []string{"scatter/model", "scatter/modes", "placement", "multicast/groups", "multicast/wire"}, nil, "decides what goes where: no I/O but what it is given to read"},
	{"scatter/steer", []string{"scatter/model", "scatter/modes", "scatter/planning"}, nil, "decides when a VM switches over: no I/O, no clock"},
	{"scatter/handover", []string{"scatter/model", "scatter/control"}, nil, "decides where a VM may run: no I/O, no clock"},
	{"scatter/journal", []string{"scatter/handover", "scatter/system"}, []string{"github.com/cespare/xxhash/v2"}, "keeps records on disk"},
	{"scatter/ledger", []string{"scatter/model", "scatter/planning", "scatter/block", "dedup", "multicast"}, nil, "what each target holds and still needs"},
	{"scatter/system", []string{"scatter/model", "scatter/control", "qemu"}, []string{"golang.org/x/sys", "golang.org/x/sync"}, "processes, memory and addresses of this host"},
	{"scatter/wire", []string{"scatter/model", "scatter/control", "scatter/pki", "scatter/system"}, []string{"golang.org/x/sys"}, "connections to targets"},
	{"scatter/hear", []string{"scatter/model", "scatter/control", "scatter/system", "multicast"}, nil, "counts probes for a source"},
	{"scatter/inspect", []string{"scatter/model", "scatter/control", "scatter/pki", "scatter/system", "scatter/wire", "multicast", "qemu"}, []string{"golang.org/x/sys"}, "looks at hosts and the way between them"},
	{"scatter/reclaim", []string{"scatter/fill", "scatter/hypervisor", "scatter/handover", "scatter/journal", "scatter/model", "scatter/control", "scatter/system", "scatter/wire", "qemu"}, nil, "decides what broken evacuations have left"},
	{"scatter/standstill", []string{"scatter/model", "scatter/system", "multicast"}, nil, "lets those go first that stand still"},
	{"scatter/trace", nil, nil, "writes lines; a leaf"},
	{"scatter/pageset", nil, nil, "sets of pages; a leaf"},
	{"scatter/filter", []string{"scatter/model", "scatter/pageset", "scatter/system", "dedup", "qemu/stream"}, nil, "leaves pages out of a stream"},
	{"scatter/fill", []string{"scatter/disk", "scatter/hypervisor", "scatter/pageset", "scatter/model", "scatter/control", "scatter/pages", "scatter/system", "scatter/wire", "dedup", "qemu"}, nil, "the pages of a VM that runs without them"},
	{"scatter/pages", []string{"scatter/handover", "scatter/pageset", "scatter/model", "scatter/control", "scatter/block", "scatter/system", "qemu"}, nil, "where pages come from and go to"},
	{"scatter/outlet", []string{"multicast"}, nil, "a rate and addresses that evacuations share"},
	{"scatter/refusals", nil, nil, "keeps answers; a leaf"},
	{"scatter/disk", []string{"scatter/handover", "scatter/hypervisor", "scatter/model", "scatter/system", "scatter/control", "scatter/block", "scatter/pages", "scatter/pageset", "dedup", "qemu"}, []string{"golang.org/x/sys", "golang.org/x/sync"}, "disks as regions of pages, on either side"},
	{"scatter/remedy", nil, nil, "what to do about words that come as text; a leaf"},
	{"scatter/hypervisor", []string{"scatter/hypervisor", "scatter/model", "scatter/control", "scatter/handover", "scatter/remedy", "scatter/system", "qemu"}, nil, "what owns the VMs of a host; knows no other host"},
	{"scatter/source", []string{"scatter/hypervisor", "scatter/pageset", "scatter/outlet", "scatter/disk", "scatter/refusals", "scatter/remedy", "scatter/model", "scatter/control", "scatter/block", "scatter/handover", "scatter/journal", "scatter/pages", "scatter/pki", "scatter/modes", "scatter/planning", "scatter/system", "scatter/wire",
		"dedup", "placement", "multicast", "qemu"}, []string{"golang.org/x/sync"}, "which VMs there are, what they hold, and where they go; knows no target but by its words"},
	{"scatter/carry", []string{"scatter/source", "scatter/model", "scatter/control", "scatter/block", "scatter/handover", "scatter/ledger", "scatter/planning", "scatter/system", "scatter/wire",
		"dedup", "multicast", "qemu"}, []string{"github.com/klauspost/compress", "golang.org/x/sync"}, "bulk"},
	{"scatter/move", []string{"scatter/disk", "scatter/modes", "scatter/filter", "scatter/trace", "scatter/standstill", "scatter/reclaim", "scatter/fill", "scatter/pages", "scatter/pageset", "scatter/hypervisor", "scatter/carry", "scatter/source", "scatter/steer", "scatter/model", "scatter/control", "scatter/handover", "scatter/journal", "scatter/planning", "scatter/system", "scatter/wire",
		"dedup", "multicast", "qemu"}, []string{"golang.org/x/sys"}, "a VM's way to its target; the drivers of the core"},
	{"scatter/bounds", []string{"scatter/system"}, nil, "what peers make a target hold"},
	{"scatter/trial", []string{"scatter/model", "scatter/control", "scatter/system", "qemu"}, []string{"golang.org/x/sys"}, "tries VMs on a target"},
	{"scatter/target/life", []string{"scatter/handover", "scatter/journal"}, nil, "where a target stands with a VM; knows nothing of it"},
	{"scatter/target", []string{"scatter/target/life", "scatter/disk", "scatter/hear", "scatter/reclaim", "scatter/pageset", "scatter/hypervisor", "scatter/bounds", "scatter/trial", "scatter/pages", "scatter/model", "scatter/control", "scatter/block", "scatter/handover", "scatter/journal", "scatter/pki", "scatter/system", "scatter/wire",
		"multicast", "qemu"}, []string{"github.com/klauspost/compress"}, "the target's side; knows no source but by its words"},
	{"scatter/internal/enginekit", []string{"scatter/hypervisor", "scatter/model", "scatter/handover", "scatter/journal", "scatter/planning", "scatter/system", "dedup", "placement", "qemu"}, []string{"pgregory.net/rapid", "github.com/google/go-cmp"}, "for tests"},
	{"scatter/internal/sitekit", []string{"scatter/internal/kit", "scatter/model", "scatter/target", "scatter/wire", "qemu"}, nil, "for tests"},
	{"scatter/internal/kit", []string{"scatter/model", "scatter/pki", "qemu"}, []string{"golang.org/x/sys"}, "for tests"},
	{"scatter", []string{"scatter", "dedup", "placement", "multicast", "qemu"},
		[]string{"github.com/cespare/xxhash/v2", "github.com/klauspost/compress", "golang.org/x/sync", "golang.org/x/sys"}, "the engine composes what is below it"},
	{"bench/problem", []string{"placement"}, nil, "makes problems for placement"},
	{"cmd/scatter/internal/usage", nil, nil, "tells one kind of error from all others"},
	{"cmd/scatter/internal/units", nil, nil, "words amounts, whatever they are of"},
	{"cmd/scatter/internal/flagfile", []string{"cmd/scatter/internal/usage"}, []string{"github.com/BurntSushi/toml"}, "reads and writes files, whatever is in them"},
	{"cmd/scatter/internal/config", []string{"cmd/scatter/internal/flagfile"}, []string{"github.com/spf13", "github.com/BurntSushi/toml"}, "gives flags their values, whatever they mean"},
	{"cmd/scatter/internal/targets", []string{"cmd/scatter/internal/flagfile", "cmd/scatter/internal/units", "cmd/scatter/internal/usage", "scatter"}, []string{"github.com/spf13/pflag"}, "finds targets"},
	{"cmd/scatter/internal/flags", []string{"cmd/scatter/internal/flagfile", "cmd/scatter/internal/targets", "cmd/scatter/internal/units", "cmd/scatter/internal/usage", "scatter"},
		[]string{"github.com/spf13/pflag"}, "turns flags into what the engine is told"},
	{"cmd/scatter/internal/discover", []string{"cmd/scatter/internal/usage", "scatter"}, nil, "finds VMs"},
	{"cmd/scatter/internal/view", []string{"cmd/scatter/internal/units", "scatter"}, []string{"github.com/vbauerster/mpb/v8", "golang.org/x/sys"}, "shows events: knows no command"},
	{"cmd/scatter/internal/render", []string{"cmd/scatter/internal/units", "scatter"}, nil, "writes results: knows no command"},
	{"cmd/scatter/internal/metrics", []string{"scatter"}, []string{"github.com/prometheus/client_golang"}, "tells Prometheus what recv holds"},
	{"cmd/scatter/internal/kit", []string{"scatter"}, []string{"github.com/google/go-cmp"}, "for tests"},
	{"cmd/scatter", []string{"cmd/scatter", "scatter", "qemu", "bench"}, []string{"github.com/spf13"}, "commands"},
}

// listed is what go list says of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports", "./cmd/...", "./scatter/...", "./dedup/...", "./multicast/...", "./placement/...", "./qemu/...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	all := make(map[string]listed)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

// TestPackagesKnowOnlyWhatTheyMay: dedup, placement, multicast and qemu do not know each other nor the engine.
func TestPackagesKnowOnlyWhatTheyMay(t *testing.T) {
	all := listPackages(t)
	checked := make(map[string]bool)
	for path, p := range all {
		own, ok := strings.CutPrefix(path, module)
		if !ok {
			continue
		}
		i := ruleFor(own)
		if i < 0 {
			t.Errorf("%s: has no rule", own)
			continue
		}
		rule := rules[i]
		checked[rule.path] = true
		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			allowed := rule.others
			if isOurs {
				imported, allowed = ours, rule.ours
			}
			if !all[imported].Standard && !slices.ContainsFunc(allowed, func(a string) bool { return within(imported, a) }) {
				t.Errorf("%s imports %s, which it may not: %s", own, imported, rule.why)
			}
		}
	}
	for _, r := range rules {
		if !checked[r.path] {
			t.Errorf("%s: there is no such package", r.path)
		}
	}
}

// ruleFor is the rule of a package: the longest path that it is within.
func ruleFor(path string) int {
	best := -1
	for i, r := range rules {
		if within(path, r.path) && (best < 0 || len(r.path) > len(rules[best].path)) {
			best = i
		}
	}
	return best
}
