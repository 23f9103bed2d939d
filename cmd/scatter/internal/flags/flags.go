// Package flags has the flags that several commands share, and what they tell the engine.
package flags

import (
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// Required takes pairs of a flag's name and whether it was given. Its usage.Error names all that were not.
func Required(pairs ...any) error {
	var missing []string
	for i := 0; i < len(pairs); i += 2 {
		if !pairs[i+1].(bool) {
			missing = append(missing, "--"+pairs[i].(string))
		}
	}
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return usage.Errorf("%s is required", missing[0])
	}
	return usage.Errorf("%s are required", strings.Join(missing, ", "))
}

// Absolute makes paths independent of the working directory: the journal keeps them for a later recover.
func Absolute(paths ...*string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return &usage.Error{Err: err}
		}
		*p = abs
	}
	return nil
}

// Net are the flags of every command that moves VMs between hosts.
type Net struct {
	Interface string // network interface that leads to the other hosts
	TLSDir    string // of this host's certificates
	RunDir    string // of journal and sockets
}

// Add adds the flags to f.
func (n *Net) Add(f *pflag.FlagSet) {
	f.StringVar(&n.Interface, "interface", "", "network `interface` that leads to the other hosts (required)")
	f.StringVar(&n.TLSDir, "tls-dir", "", "`directory` of this host's certificates (required)")
	f.StringVar(&n.RunDir, "run-dir", scatter.DefaultRunDir, "`directory` of journal and sockets")
}
