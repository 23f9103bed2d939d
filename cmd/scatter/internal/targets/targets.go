// Package targets finds the hosts that are to receive VMs, by flags and a file of hosts.
package targets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flagfile"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// Flags say which hosts are targets: --to and --hosts.
type Flags struct {
	to    []string
	hosts string
}

// Add adds the flags to f. required is what the help of --to says of when it must be given.
func (t *Flags) Add(f *pflag.FlagSet, required string) {
	f.StringArrayVar(&t.to, "to", nil, fmt.Sprintf("a target, as `[NAME=]HOST[:PORT]`, or the name of one in --hosts; may be repeated (default port: %d)%s", scatter.DefaultPort, required))
	f.StringVar(&t.hosts, "hosts", "", "TOML `file` with hosts and what is known of them; without --to all but this one are targets")
}

// Given tells whether there are to be targets.
func (t *Flags) Given() bool { return len(t.to) > 0 || t.hosts != "" }

// Read finds the targets, and what the file of hosts says about them, by the hosts' names. self are the names of this host, which is none. Names
// are looked up, each for at most 5 s. A target that cannot be found, and one that comes twice, is a usage.Error.
func (t *Flags) Read(ctx context.Context, self []string) ([]scatter.TargetAddr, map[string]scatter.HostRules, error) {
	var book hostBook
	var err error
	if t.hosts != "" {
		if book, err = flagfile.Read("hosts", t.hosts, readHosts); err != nil {
			return nil, nil, err
		}
	}
	to := t.to
	if len(to) == 0 {
		for _, h := range book.Host {
			if !slices.Contains(self, h.Name) {
				to = append(to, h.Name)
			}
		}
		if t.hosts != "" && len(to) == 0 {
			return nil, nil, usage.Errorf("--hosts: %s: no host beside this one (%s)", t.hosts, strings.Join(self, ", "))
		}
	}
	targets, err := parseTargets(ctx, to, &book)
	if err != nil {
		return nil, nil, &usage.Error{Err: err}
	}
	return targets, book.rules(), nil
}

// hostBook is a file of hosts.
type hostBook struct {
	Host []hostEntry `toml:"host"`
}

// hostEntry is one host. Address is HOST[:PORT]; without one, the name is looked up.
type hostEntry struct {
	Name    string            `toml:"name"` // as in its certificate
	Address string            `toml:"address"`
	Labels  map[string]string `toml:"labels"`
	Rack    string            `toml:"rack"`
	Link    string            `toml:"link"` // rate, as in 10gbit
	link    int64             // bits per second
}

// readHosts reads a file of hosts.
func readHosts(r io.Reader) (book hostBook, err error) {
	meta, err := flagfile.DecodeTOML(r, &book)
	if err != nil {
		return book, err
	}
	if extra := meta.Undecoded(); len(extra) > 0 {
		return book, fmt.Errorf("unknown key %q", extra[0].String())
	}
	seen := make(map[string]bool)
	for i := range book.Host {
		h := &book.Host[i]
		if h.Name == "" || seen[h.Name] {
			return book, fmt.Errorf("host %d: name %q: must be a name of its own", i+1, h.Name)
		}
		seen[h.Name] = true
		if h.Link != "" {
			rate, err := units.ParseRate(h.Link)
			if err != nil {
				return book, fmt.Errorf("host %s: link: %w", h.Name, err)
			}
			h.link = 8 * rate
		}
	}
	if len(book.Host) == 0 {
		return book, errors.New("no [[host]] in it")
	}
	return book, nil
}

// rules is what the file says that placement can use.
func (b *hostBook) rules() map[string]scatter.HostRules {
	rules := make(map[string]scatter.HostRules)
	for _, h := range b.Host {
		rules[h.Name] = scatter.HostRules{Labels: h.Labels, Rack: h.Rack, LinkBPS: h.link}
	}
	return rules
}

// find gives the host of that name.
func (b *hostBook) find(name string) *hostEntry {
	if i := slices.IndexFunc(b.Host, func(h hostEntry) bool { return h.Name == name }); i >= 0 {
		return &b.Host[i]
	}
	return nil
}

// parseTargets finds several targets and refuses one that comes twice.
func parseTargets(ctx context.Context, list []string, book *hostBook) ([]scatter.TargetAddr, error) {
	var all []scatter.TargetAddr
	seen := map[string]string{}
	for _, s := range list {
		t, err := parseTarget(ctx, s, book)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", s, err)
		}
		for _, key := range []string{t.Addr.String(), t.Name} {
			if other := seen[key]; key != "" && other != "" {
				return nil, fmt.Errorf("target %q: same as %q", s, other)
			}
			seen[key] = s
		}
		all = append(all, t)
	}
	return all, nil
}

// parseTarget reads [NAME=]HOST[:PORT], or the name of a host in the book. Without NAME, a host that is named by a name must have it in its
// certificate.
func parseTarget(ctx context.Context, s string, book *hostBook) (t scatter.TargetAddr, err error) {
	name, at, named := strings.Cut(s, "=")
	switch h := book.find(s); {
	case h != nil:
		name, at = h.Name, h.Address
		if at == "" {
			at = h.Name
		}
	case !named:
		name, at = "", s
	case name == "":
		return t, errors.New("empty name")
	}
	host, port, err := splitHost(at)
	if err != nil {
		return t, err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		if addr, err = lookUp(ctx, host); err != nil {
			return t, err
		}
		if name == "" {
			name = host
		}
	}
	if port == 0 || addr.IsMulticast() || addr.IsUnspecified() {
		return t, fmt.Errorf("%s: must be a host's address with a port > 0", netip.AddrPortFrom(addr, port))
	}
	return scatter.TargetAddr{Name: name, Addr: netip.AddrPortFrom(addr.Unmap(), port)}, nil
}

// splitHost parts HOST[:PORT]. An IPv6 address with a port must be in brackets, without one it may be.
func splitHost(s string) (host string, port uint16, err error) {
	const usual = scatter.DefaultPort
	if bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"); bare != "" {
		if a, err := netip.ParseAddr(bare); err == nil {
			if a.Is6() && bare == s && strings.HasSuffix(s, fmt.Sprintf(":%d", usual)) {
				return "", 0, fmt.Errorf("is it a part of the address, or the port? write [%s]:%d, or [%s]", strings.TrimSuffix(s, fmt.Sprintf(":%d", usual)), usual, s)
			}
			return bare, usual, nil
		}
	}
	if !strings.Contains(s, ":") {
		s += fmt.Sprintf(":%d", usual)
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "", 0, errors.New("want HOST:PORT, as in beta:7400, 10.0.0.2:7400 or [fd00::2]:7400")
	}
	n, err := net.LookupPort("tcp", text)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: want a number from 1 to 65535", text)
	}
	return host, uint16(n), nil
}

// lookUpTimeout bounds the search for a host's address.
const lookUpTimeout = 5 * time.Second

// lookUp finds the address of a host.
func lookUp(ctx context.Context, host string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(all) == 0 {
		return netip.Addr{}, fmt.Errorf("no address found for this name (%w): give an address, as in NAME=10.0.0.2:7400", err)
	}
	return all[0].Unmap(), nil
}
