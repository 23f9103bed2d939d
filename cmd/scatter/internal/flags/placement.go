package flags

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flagfile"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// placement are the flags that say where VMs may go and what is to be kept small.
type placement struct {
	place       []string
	constraints string
	objective   string
	balance     balanceFlag
	budget      time.Duration
	seed        uint64
	partial     bool
}

// balanceFlag is how much more than its share a target may get: a number, "off", or what is usual.
type balanceFlag struct {
	slack float64 // negative: off
	given bool
}

func (b *balanceFlag) Set(s string) error {
	b.given, b.slack = true, -1
	if s == "off" {
		return nil
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n <= 1000) {
		return errors.New("must be above 0 and at most 1000, or off")
	}
	b.slack = n
	return nil
}

func (b *balanceFlag) String() string {
	switch {
	case b.slack < 0:
		return "off"
	case b.slack == 0:
		return ""
	}
	return strconv.FormatFloat(b.slack, 'g', -1, 64)
}

func (b *balanceFlag) Type() string { return "share|off" }

func (p *placement) add(f *pflag.FlagSet) {
	f.StringArrayVar(&p.place, "place", nil, "put a VM on a certain target, as `VM=HOST`; may be repeated")
	f.StringVar(&p.constraints, "constraints", "", "TOML or JSON `file` with labels of VMs and hosts, and constraints on the placement")
	f.StringVar(&p.objective, "objective", "", "what the placement is to make small: `traffic|makespan|hosts` (default: traffic)")
	f.Var(&p.balance, "balance", fmt.Sprintf("let no target get more than 1 + this times its `share` of the VMs' memory, by what it has free; off: as much as it has room for (default: %v, or what --problem says)", scatter.DefaultBalance))
	f.DurationVar(&p.budget, "budget", 0, "how long to search for a placement, on one core (default: as long as pays)")
	f.Uint64Var(&p.seed, "seed", 0, "`number` that the search begins with; the same gives the same placement")
	f.BoolVar(&p.partial, "partial", false, "move as many VMs as there is room for; the others stay")
}

// maxBudget bounds a search.
const maxBudget = 24 * time.Hour

// read checks the flags, and reads the file.
func (p *placement) read() (place map[string]string, rules scatter.Rules, err error) {
	if place, err = parsePairs("place", p.place); err != nil {
		return nil, rules, &usage.Error{Err: err}
	}
	switch {
	case !slices.Contains([]string{"", scatter.ObjectiveTraffic, scatter.ObjectiveMakespan, scatter.ObjectiveHosts}, p.objective):
		return nil, rules, usage.Errorf("--objective %q: must be traffic, makespan or hosts", p.objective)
	case p.budget < 0 || p.budget > maxBudget:
		return nil, rules, usage.Errorf("--budget %v: must be 0 to %v", p.budget, maxBudget)
	case p.constraints == "":
		return place, rules, nil
	}
	read := readTOMLRules
	if filepath.Ext(p.constraints) == ".json" {
		read = scatter.ReadRules
	}
	rules, err = flagfile.Read("constraints", p.constraints, read)
	return place, rules, err
}

// override sets in a problem what the flags say.
func (p *placement) override(to *scatter.Problem) (passed []string, err error) {
	place, rules, err := p.read()
	if err != nil {
		return nil, err
	}
	if p.objective != "" {
		to.Objective = p.objective
	}
	if p.balance.given {
		to.Balance = max(0, p.balance.slack)
	}
	if p.budget > 0 {
		to.Budget = p.budget
	}
	if p.seed > 0 {
		to.Seed = p.seed
	}
	to.Partial = to.Partial || p.partial
	for _, vm := range slices.Sorted(maps.Keys(place)) {
		to.Constraints = append(to.Constraints, scatter.Pin("--place "+vm+"="+place[vm], vm, place[vm]))
	}
	return rules.Apply(to)
}

// readTOMLRules reads rules as TOML: the same tables as JSON has objects.
func readTOMLRules(r io.Reader) (scatter.Rules, error) {
	var tables map[string]any
	if _, err := flagfile.DecodeTOML(r, &tables); err != nil {
		return scatter.Rules{}, err
	}
	return scatter.RulesOf(tables)
}
