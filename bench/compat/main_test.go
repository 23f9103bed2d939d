//go:build lab

package compat

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
)

var (
	atOnce = flag.Int("rows", 6, "rows that are tested at one time")
	list   = flag.String("list", "", "write a line about each row that fails to `file`")
)

// world is what all rows share.
var world struct {
	dir     string // certificates and the program; each row has a directory below
	program string // scatter
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", fmt.Sprint(*atOnce)); err != nil {
		log.Fatal(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "compat-") // short: sockets are in it
	if err != nil {
		log.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		log.Println(err)
		return 1
	}
	code := m.Run()
	return max(code, flag0(writeList()))
}

func flag0(err error) int {
	if err == nil {
		return 0
	}
	log.Println(err)
	return 1
}

// build makes the program and a certificate for each host. All hosts are on this machine's loopback.
func build(dir string) error {
	world.dir, world.program = dir, filepath.Join(dir, "scatter")
	commands := [][]string{
		{"go", "build", "-o", world.program, "github.com/scatter-vm/scatter/cmd/scatter"},
		{world.program, "pki", "init", "--dir", filepath.Join(dir, "ca")},
	}
	for _, host := range []string{sourceName, "target1", "target2"} {
		commands = append(commands, []string{world.program, "pki", "issue", "--ca", filepath.Join(dir, "ca"), "--name", host, "--ip", "127.0.0.1",
			"--dir", tlsDir(host)})
	}
	for _, c := range commands {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", c, err, out)
		}
	}
	return nil
}

const sourceName = "source"

func tlsDir(host string) string { return filepath.Join(world.dir, host+"-tls") }

// command runs a program to its end and returns what it has printed and its exit status.
func command(ctx context.Context, argv ...string) (stdout, stderr []byte, exit int, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var errs lab.Buffer
	cmd.Stderr = &errs
	stdout, err = cmd.Output()
	if _, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		err = nil
	}
	return stdout, []byte(errs.String()), cmd.ProcessState.ExitCode(), err
}
