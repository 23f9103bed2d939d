//go:build lab

package faults

import (
	"flag"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is the scatter under test; TestMain builds it.
var program string

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

// run builds scatter and runs the tests.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "scatterfaults-")
	if err != nil {
		log.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	defer dismiss()
	program = filepath.Join(dir, "scatter")
	build := exec.Command("go", "build", "-o", program, "github.com/scatter-vm/scatter/cmd/scatter")
	if out, err := build.CombinedOutput(); err != nil {
		log.Printf("scatter: %v: %s", err, out)
		return 1
	}
	return m.Run()
}
