package targets

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flagfile"
	"github.com/scatter-vm/scatter/scatter"
)

func TestParseTargets(t *testing.T) {
	for arg, want := range map[string]string{
		"beta=10.0.0.2:7401": "beta=10.0.0.2:7401", "10.0.0.3:7400": "10.0.0.3:7400", "[fd00::1]:7402": "[fd00::1]:7402",
		"beta=10.0.0.2": "beta=10.0.0.2:7400", "fd00::2": "[fd00::2]:7400", "beta=fd00::2": "beta=[fd00::2]:7400", "[fd00::2]": "[fd00::2]:7400",
		"localhost:7403": "localhost=127.0.0.1:7403", "localhost": "localhost=127.0.0.1:7400", "beta=localhost": "beta=127.0.0.1:7400", "::ffff:10.0.0.9": "10.0.0.9:7400",
	} {
		got, err := parseTargets(t.Context(), []string{arg}, &hostBook{})
		if err != nil {
			t.Errorf("%q: %v", arg, err)
		} else if s := strings.Replace(got[0].String(), "[::1]", "127.0.0.1", 1); s != want {
			t.Errorf("%q: %s, want %s", arg, s, want)
		}
	}
	for arg, want := range map[string]string{
		"=10.0.0.2:1": "empty name", "10.0.0.2:0": "port > 0", "10.0.0.2:70000": "from 1 to 65535", "10.0.0.2:": "port > 0", "239.0.0.1:7400": "host's address", "0.0.0.0:7400": "host's address",
		"no-such-host.invalid:7400": "no address found", "": "want HOST:PORT", "fd00::2:7400": "write [fd00::2]:7400", "a:b:c": "want HOST:PORT", "beta=": "want HOST:PORT", ":7400": "want HOST:PORT",
	} {
		if got, err := parseTargets(t.Context(), []string{arg}, &hostBook{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", arg, got, err, want)
		}
	}
	for _, twice := range [][]string{{"a=10.0.0.2:1", "a=10.0.0.3:1"}, {"10.0.0.2", "b=10.0.0.2:7400"}} {
		if _, err := parseTargets(t.Context(), twice, &hostBook{}); err == nil || !strings.Contains(err.Error(), "same as") {
			t.Errorf("%q: %v", twice, err)
		}
	}
}

const someHosts = `
[[host]]
name = "alpha"
address = "10.0.0.1"

[[host]]
name = "beta"
address = "10.0.0.2:7401"
rack = "r1"
link = "25gbit"
labels = { disk = "ssd" }

[[host]]
name = "localhost"
`

// TestHostsFile: all hosts but this one are targets, or those that are named; what the file says of them reaches the placement.
func TestHostsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts.toml")
	if err := os.WriteFile(path, []byte(someHosts), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to   []string
		want []string
	}{
		{nil, []string{"beta=10.0.0.2:7401", "localhost=127.0.0.1:7400"}},
		{[]string{"beta"}, []string{"beta=10.0.0.2:7401"}},
		{[]string{"alpha", "gamma=10.0.0.3"}, []string{"alpha=10.0.0.1:7400", "gamma=10.0.0.3:7400"}},
	} {
		f := Flags{to: c.to, hosts: path}
		got, rules, err := f.Read(t.Context(), []string{"alpha"})
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, g := range got {
			text = append(text, strings.Replace(g.String(), "[::1]", "127.0.0.1", 1))
		}
		if !slices.Equal(text, c.want) {
			t.Errorf("--to %q: %q, want %q", c.to, text, c.want)
		}
		if d := cmp.Diff(scatter.HostRules{Labels: map[string]string{"disk": "ssd"}, Rack: "r1", LinkBPS: 25e9}, rules["beta"]); d != "" {
			t.Error(d)
		}
	}
	if _, _, err := (&Flags{hosts: path}).Read(t.Context(), []string{"alpha", "beta", "localhost"}); err == nil || !strings.Contains(err.Error(), "no host beside this one") {
		t.Errorf("got %v", err)
	}
	for text, want := range map[string]string{
		"": "no [[host]]", "[[host]]\n": "a name of its own", "[[host]]\nname='a'\n[[host]]\nname='a'\n": "a name of its own", "[[host]]\nname='a'\nrak='r'\n": "rak",
		"[[host]]\nname='a'\nlink='10'\n": "may mean bits or bytes", "host": "expected", strings.Repeat("#", flagfile.MaxTOML+1): "larger than",
	} {
		if _, err := readHosts(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}
