//go:build lab

package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
)

// program is what all tests run: scatter itself and a certificate for each host.
type program struct {
	dir    string
	binary string
}

// scatter is the program under test; TestMain sets it.
var scatter *program

// roleVariable makes the test binary play a part in a host instead of running tests.
const roleVariable = "SCATTER_FAULTS_ROLE"

// roles are the parts that it can play.
var roles = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(roleVariable)); len(words) > 0 {
		if err := roles[words[0]](words[1:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	p, err := newProgram(context.Background())
	if err != nil {
		log.Println(err)
		return 1
	}
	scatter = p
	defer os.RemoveAll(p.dir)
	defer dismiss()
	return m.Run()
}

// newProgram builds scatter and lets it make the certificates.
func newProgram(ctx context.Context) (*program, error) {
	dir, err := os.MkdirTemp("", "scatterfaults-")
	if err != nil {
		return nil, err
	}
	p := &program{dir: dir, binary: filepath.Join(dir, "scatter")}
	build := exec.CommandContext(ctx, "go", "build", "-o", p.binary, "github.com/scatter-vm/scatter/cmd/scatter")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("scatter: %w: %s", err, out), os.RemoveAll(dir))
	}
	return p, p.pki(ctx, "init", "--dir", p.tls("ca"))
}

// certify makes the certificates of hosts that have none yet.
func (p *program) certify(ctx context.Context, hosts ...*lab.Host) error {
	for _, h := range hosts {
		if _, err := os.Stat(p.tls(h.Name)); err == nil {
			continue
		}
		if err := p.pki(ctx, "issue", "--ca", p.tls("ca"), "--name", h.Name, "--ip", h.Addr.String(), "--dir", p.tls(h.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) pki(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, p.binary, append([]string{"pki"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("scatter pki %s: %w: %s", args[0], err, out)
	}
	return nil
}

// tls is the directory of a host's certificates, or of an authority.
func (p *program) tls(host string) string { return filepath.Join(p.dir, host) }
