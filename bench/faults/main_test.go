//go:build lab

package faults

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
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
	if flagValue("test.run") != "" || flagValue("test.skip") != "" {
		return m.Run()
	}
	return runAll(m)
}

// runAll runs all tests, TestDeaths in a process of its own beside the others: it wants all processors for long, and they mostly wait
// for something to be over. It comes last in the queue for a processor.
func runAll(m *testing.M) int {
	restore, err := lab.ShareEqually() // else sessions are equal, and there are many more of TestDeaths
	if err != nil {
		log.Println(err)
		return 1
	}
	defer restore()
	var out lab.Buffer
	deaths := exec.Command("nice", "-n", "19", os.Args[0], "-test.run", "^TestDeaths$", "-test.v", "-test.timeout", flagValue("test.timeout"))
	deaths.Stdout, deaths.Stderr = &out, &out
	deaths.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := deaths.Start(); err != nil {
		log.Println(err)
		return 1
	}
	_ = flag.Set("test.skip", "^TestDeaths$") // the flag is known
	code := m.Run()
	if err := deaths.Wait(); err != nil {
		log.Printf("TestDeaths, beside the other tests: %v", err)
		code = max(code, 1)
	}
	fmt.Print(out.String())
	return code
}

func flagValue(name string) string { return flag.Lookup(name).Value.String() }
