package planning

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/scatter-vm/scatter/multicast/groups"
	"github.com/scatter-vm/scatter/scatter/model"
)

// PlanFormat is the version of Plan as JSON. A later one is not read.
const PlanFormat = 1

// Plan is what an evacuation is going to do. As JSON it can be kept, changed and executed: Placement is what counts, the rest says why,
// and lets a later run see whether the plan still holds.
type Plan struct {
	Format    int               `json:"format"`    // PlanFormat
	Placement map[string]string `json:"placement"` // VM -> host; VMs that stay are not in it

	Objective  string          `json:"objective"` // what the placement makes small: traffic, makespan or hosts
	Capacity   string          `json:"capacity"`  // how the VMs' memory counts on a host: sum or shared
	Seed       uint64          `json:"seed"`
	Cost       int64           `json:"cost"`        // by the objective: bytes on all hosts' links, nanoseconds, or hosts
	LowerBound int64           `json:"lower_bound"` // no placement of these VMs under these constraints costs less
	Optimal    bool            `json:"optimal"`     // proven: no placement is better
	HostsUsed  int             `json:"hosts_used"`
	Unplaced   []string        `json:"unplaced,omitempty"` // VMs for which there is no room; they stay
	Stays      []model.Blocker `json:"stays,omitempty"`    // why VMs that cannot move stay; they are nowhere else in the plan
	Conflict   *Conflict       `json:"conflict,omitempty"` // why there is no placement

	Balance *PlanBalance `json:"balance,omitempty"` // what is paid for hosts that get alike; not where the placement was given

	VMs     []PlanVM      `json:"vms"`
	Hosts   []PlanHost    `json:"hosts"`
	Groups  []PlanGroup   `json:"groups"` // in the order of sending
	Limits  PlanLimits    `json:"limits"`
	Traffic PlanTraffic   `json:"traffic"`
	Classes []PlanClasses `json:"classes"`
	Sharing []PlanSharing `json:"sharing"` // most bytes first

	Pages            model.Pages     `json:"pages"`
	PredictedBytes   int64           `json:"predicted_bytes"`    // on the source's link
	PredictedTimeS   float64         `json:"predicted_time_s"`   // 0 when the rate is not known
	PredictedRateBPS int64           `json:"predicted_rate_bps"` // of the source's link, for which times are predicted; 0 = not known
	Joins            int             `json:"joins"`
	Leaves           int             `json:"leaves"`
	Blockers         []model.Blocker `json:"blockers"`

	Problem *Problem `json:"-"` // what it was made from
}

// PlanBalance is how evenly the VMs are placed, and what that costs beside the best placement found that need not be even.
type PlanBalance struct {
	Slack      float64 `json:"slack"`        // no host gets more than 1 + this times its share by free memory; 0 = no such bound could be kept
	ExtraBytes int64   `json:"extra_bytes"`  // on all hosts' links
	ExtraTimeS float64 `json:"extra_time_s"` // until the slowest link is done; may be negative
}

// PlanVM is one VM's line in a plan.
type PlanVM struct {
	Name        string      `json:"name"`
	Host        string      `json:"host"` // that was planned; Placement may have been changed since
	Reason      string      `json:"reason"`
	MemoryBytes int64       `json:"memory_bytes"`
	VCPUs       int         `json:"vcpus"`
	Pages       model.Pages `json:"pages"`

	DiskBytes    int64    `json:"disk_bytes,omitempty"` // of its disks that travel, which are no hole
	ContentBytes int64    `json:"content_bytes"`        // distinct contents that it needs
	SentBytes    int64    `json:"sent_bytes"`           // of these: that only it needs
	SavedBytes   int64    `json:"saved_bytes"`          // that the next best host would cost on top; negative: only room decided
	NextHost     string   `json:"next_host,omitempty"`  // the next best; empty: no other may take it
	SharesWith   []string `json:"shares_with"`          // VMs on the same host that share most with it
	TimeS        float64  `json:"predicted_time_s"`     // when it runs on its host; 0 when the rate is not known
	DowntimeMS   int64    `json:"predicted_downtime_ms"`

	Mode        model.Mode `json:"mode,omitempty"` // in which it moves; empty: of a plan whose VMs are only described
	ModeReason  string     `json:"mode_reason,omitempty"`
	ExposedS    float64    `json:"predicted_exposed_s,omitempty"` // for which it lives on both hosts
	Throttle    float64    `json:"predicted_throttle,omitempty"`  // share of its processors' time that is taken
	LostS       float64    `json:"predicted_lost_s,omitempty"`    // of its guest's work
	SendsBPS    *int64     `json:"sends_bps,omitempty"`           // its guest, before the plan; nothing: not known
	ReceivesBPS *int64     `json:"receives_bps,omitempty"`
}

// PlanHost is what a target receives.
type PlanHost struct {
	Name           string   `json:"name"`
	Address        string   `json:"address"`
	MemoryBytes    int64    `json:"memory_bytes"` // room before the evacuation
	VCPUs          int      `json:"vcpus"`        // 0 = unlimited
	Rack           string   `json:"rack,omitempty"`
	VMs            []string `json:"vms"`
	DeliveredBytes int64    `json:"delivered_bytes"` // of contents
	PredictedBytes int64    `json:"predicted_bytes"` // on its link

	SendsBPS    *int64 `json:"sends_bps,omitempty"` // before the evacuation; nothing: not known
	ReceivesBPS *int64 `json:"receives_bps,omitempty"`
}

// PlanGroup is a target set in the order of sending: what its hosts get by one multicast address, or a single host by unicast.
type PlanGroup struct {
	Hosts    []string `json:"hosts"`
	Address  string   `json:"address"` // multicast group, or "unicast"
	Contents int      `json:"contents"`
	Bytes    int64    `json:"bytes"`

	CopiedBytes int64 `json:"copied_bytes"` // of Bytes: what other entries bring to other hosts as well
	WastedBytes int64 `json:"wasted_bytes"` // what its hosts receive without need, summed over them

	// Groups of one lane follow one another on one address: a host that needs two in a row stays joined. Unicast: all zero.
	Lane   int `json:"lane,omitempty"`   // from 1
	Opens  int `json:"opens,omitempty"`  // place in the order, from 1, at whose beginning its hosts are to join
	Joins  int `json:"joins,omitempty"`  // hosts that join for it
	Leaves int `json:"leaves,omitempty"` // hosts that leave after it
}

// PlanLimits is what the plan may use of multicast.
type PlanLimits struct {
	Groups      int  `json:"max_groups"`
	Memberships int  `json:"max_memberships"`
	Unicast     bool `json:"unicast"` // no group at all
}

// PlanTraffic is what a plan uses of the network, by the cost model that chose the groups. Bytes are the contents' own, before
// compression and without headers.
type PlanTraffic struct {
	SourceBytes      int64 `json:"source_bytes"`       // on the source's link
	HostBytes        int64 `json:"host_bytes"`         // on all hosts' links
	DuplicatedBytes  int64 `json:"duplicated_bytes"`   // of SourceBytes: what was sent before
	WastedBytes      int64 `json:"wasted_bytes"`       // of HostBytes: what a group brings to members that do not need it
	OverheardBytes   int64 `json:"overheard_bytes"`    // of HostBytes: what reaches hosts that have just left, or have joined early
	Changes          int   `json:"changes"`            // joins and leaves
	ChangePriceBytes int64 `json:"change_price_bytes"` // bytes on a host's link that weigh as much as a join or a leave
}

// PlanClasses sums up the classes with the same number of VMs.
type PlanClasses struct {
	VMs     int   `json:"vms"` // that own each of them
	Classes int   `json:"classes"`
	Bytes   int64 `json:"bytes"`
}

// PlanSharing is how many bytes two VMs have in common.
type PlanSharing struct {
	VMs   [2]string `json:"vms"`
	Bytes int64     `json:"bytes"`
}

// Conflict is a smallest set of VMs and constraints that cannot all be satisfied.
type Conflict struct {
	VMs         []string `json:"vms"`
	Constraints []string `json:"constraints"`
	Resources   []string `json:"resources"` // that fall short: memory, vcpus, max_vms
	Proven      bool     `json:"proven"`    // otherwise the search found no placement, but one may exist
}

// Bounds of a plan that is read.
const (
	maxPlanBytes = 64 << 20
	maxPlanList  = 1 << 20
)

// ReadPlan reads a plan that was kept, as Plan's JSON or as one line of `scatter plan --json`.
func ReadPlan(r io.Reader) (*Plan, error) {
	var head struct {
		Format *int `json:"format"`
	}
	b, err := readBounded(r, maxPlanBytes)
	if err != nil {
		return nil, err
	}
	switch err := json.Unmarshal(b, &head); {
	case err != nil:
		return nil, fmt.Errorf("not a plan: %w", err)
	case head.Format == nil:
		return nil, errors.New("not a plan: it has no format")
	case *head.Format != PlanFormat:
		return nil, fmt.Errorf("plan of format %d: this scatter reads format %d", *head.Format, PlanFormat)
	}
	p := struct {
		Type string `json:"type"` // of the JSON line
		*Plan
	}{Plan: new(Plan)}
	if err := strictly(b, &p); err != nil {
		return nil, err
	}
	return p.Plan, p.Plan.validate()
}

// ModeOf is the mode in which the plan has a VM move; "" if it says nothing of that.
func (p *Plan) ModeOf(vm string) model.Mode {
	if i := slices.IndexFunc(p.VMs, func(v PlanVM) bool { return v.Name == vm }); i >= 0 && p.VMs[i].Mode.Valid() {
		return p.VMs[i].Mode
	}
	return ""
}

// readBounded reads all of r, unless that is more than limit bytes.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d MiB", limit>>20)
	}
	return b, err
}

// validate checks what an execution relies on.
func (p *Plan) validate() error {
	for _, vm := range slices.Sorted(maps.Keys(p.Placement)) {
		if vm == "" || p.Placement[vm] == "" {
			return fmt.Errorf("placement: %q on %q: a name is empty", vm, p.Placement[vm])
		}
	}
	if len(p.Placement) == 0 {
		return errors.New("placement: empty: nothing would move")
	}
	if n := max(len(p.VMs), len(p.Hosts), len(p.Groups), len(p.Sharing)); n > maxPlanList {
		return fmt.Errorf("a list of %d: too long", n)
	}
	return p.Limits.complete()
}

// complete puts defaults where nothing is said.
func (l *PlanLimits) complete() error {
	l.Groups = cmp.Or(l.Groups, groups.DefaultGroups)
	l.Memberships = cmp.Or(l.Memberships, groups.DefaultMemberships)
	switch {
	case l.Groups < 0 || l.Groups > model.MaxGroups:
		return fmt.Errorf("limits.max_groups %d: must be 1 to %d", l.Groups, model.MaxGroups)
	case l.Memberships < 0 || l.Memberships > model.MaxGroups:
		return fmt.Errorf("limits.max_memberships %d: must be 1 to %d", l.Memberships, model.MaxGroups)
	}
	return nil
}
