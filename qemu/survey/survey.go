package survey

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/qemu/monitor"
	"github.com/scatter-vm/scatter/qemu/process"
)

// Survey is what a QEMU program says of itself.
type Survey struct {
	Version  string            // such as 10.0.2 (Debian 1:10.0.2+ds-2)
	Machines map[string]bool   // machine types, by all their names
	Aliases  map[string]string // other names of devices: of virtio-net it is virtio-net-pci
	Sandbox  bool              // it can do without system calls

	version [2]int
}

// AtLeast compares its version.
func (s Survey) AtLeast(major, minor int) bool {
	return slices.Compare(s.version[:], []int{major, minor}) >= 0
}

// surveyTimeout bounds a survey: a program may lie on storage that does not answer.
const surveyTimeout = 10 * time.Second

// Programs surveys QEMU programs, each once as long as its file stays the same.
type Programs struct {
	mu    sync.Mutex // guards known
	known map[string]surveyed
}

// surveyed is a survey and the file that it is of.
type surveyed struct {
	file os.FileInfo
	Survey
}

// isOf tells whether a survey is of the file as it is now.
func (s surveyed) isOf(file os.FileInfo) bool {
	return os.SameFile(s.file, file) && s.file.ModTime().Equal(file.ModTime())
}

// Survey starts the program, without a machine in it, and asks it. It takes some 20 ms.
func (p *Programs) Survey(ctx context.Context, binary string) (Survey, error) {
	file, err := os.Stat(binary)
	if err != nil {
		return Survey{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.known[binary]; ok && s.isOf(file) {
		return s.Survey, nil
	}
	s, err := survey(ctx, binary)
	if err != nil {
		return Survey{}, fmt.Errorf("%s: %w", binary, err)
	}
	if p.known == nil {
		p.known = make(map[string]surveyed)
	}
	p.known[binary] = surveyed{file, s}
	return s, nil
}

// questions are asked one after the other; the last ends QEMU.
var questions = []string{
	`{"execute":"qmp_capabilities"}`, `{"execute":"query-machines"}`,
	`{"execute":"human-monitor-command","arguments":{"command-line":"info qdm"}}`, `{"execute":"query-command-line-options"}`, `{"execute":"quit"}`,
}

func survey(ctx context.Context, binary string) (Survey, error) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-qmp", "stdio")
	cmd.Stdin = strings.NewReader(strings.Join(questions, ""))
	cmd.Dir, cmd.Env = "/", process.Environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	out := &process.Limited{Limit: monitor.MaxLine}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		return Survey{}, errors.Join(context.Cause(ctx), err)
	}
	return readSurvey(bytes.NewReader(out.Bytes()))
}

// readSurvey reads the greeting and the answers to the questions.
func readSurvey(r io.Reader) (s Survey, err error) {
	var answers []json.RawMessage
	for in := bufio.NewReader(r); ; {
		line, err := monitor.ReadLine(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s, err
		}
		m, err := monitor.ParseMessage(line)
		switch {
		case err != nil:
			return s, err
		case m.Error != nil:
			return s, fmt.Errorf("it refuses to answer: %s", m.Error.Desc)
		case m.Greeting != nil:
			s.greet(m.Greeting)
		case m.Return != nil:
			answers = append(answers, m.Return)
		}
	}
	if len(answers) < 4 {
		return s, errors.New("does not answer as QEMU does")
	}
	err = s.learn(answers)
	return s, err
}

// greet takes the version from the greeting.
func (s *Survey) greet(g *monitor.Greeting) {
	v := g.Version
	s.version = [2]int{v.QEMU.Major, v.QEMU.Minor}
	s.Version = fmt.Sprintf("%d.%d.%d", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro)
	if v.Package != "" {
		s.Version += " (" + v.Package + ")"
	}
}

// learn takes the rest from the answers.
func (s *Survey) learn(answers []json.RawMessage) (err error) {
	if s.Machines, err = machineNames(answers[1]); err != nil {
		return err
	}
	s.Aliases, err = deviceAliases(answers[2])
	s.Sandbox = bytes.Contains(answers[3], []byte(`"option": "sandbox"`))
	return err
}

func machineNames(answer json.RawMessage) (map[string]bool, error) {
	var list []struct{ Name, Alias string }
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("machine types: %w", err)
	}
	names := make(map[string]bool)
	for _, m := range list {
		names[m.Name] = true
		if m.Alias != "" {
			names[m.Alias] = true
		}
	}
	return names, nil
}

var aliasLine = regexp.MustCompile(`name "([^"]+)", .*\balias "([^"]+)"`)

func deviceAliases(answer json.RawMessage) (map[string]string, error) {
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	aliases := make(map[string]string)
	for _, m := range aliasLine.FindAllStringSubmatch(text, -1) {
		aliases[m[2]] = m[1]
	}
	return aliases, nil
}
