package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CPUWord is one register that the CPUID instruction shows to a guest.
type CPUWord struct {
	EAX      uint32  `json:"cpuid-input-eax"`
	ECX      *uint32 `json:"cpuid-input-ecx"` // nil: the leaf has no others
	Register string  `json:"cpuid-register"`
	Features uint32  `json:"features"`
}

// Name tells the words apart.
func (w CPUWord) Name() string {
	if w.ECX == nil {
		return fmt.Sprintf("CPUID[%Xh].%s", w.EAX, w.Register)
	}
	return fmt.Sprintf("CPUID[%Xh,%d].%s", w.EAX, *w.ECX, w.Register)
}

// maxCPUProperties bounds what is read of a processor.
const maxCPUProperties = 4096

// Processor tells what a VM's processor offers to the guest.
type Processor struct{ conn *Conn }

// ProcessorOf is that of the VM at the other end of a connection.
func ProcessorOf(conn *Conn) Processor { return Processor{conn} }

// VCPUThreads are the threads of QEMU that run the VM's processors, each once.
func (p Processor) VCPUThreads(ctx context.Context) (threads []int, err error) {
	var cpus []struct {
		Thread int `json:"thread-id"`
	}
	if err := p.conn.Do(ctx, "query-cpus-fast", nil, &cpus); err != nil {
		return nil, err
	}
	for _, c := range cpus {
		if !slices.Contains(threads, c.Thread) {
			threads = append(threads, c.Thread)
		}
	}
	return threads, nil
}

// first is the path of a VM's first processor, "" if it has none.
func (p Processor) first(ctx context.Context) (string, error) {
	var cpus []struct {
		Path string `json:"qom-path"`
	}
	if err := p.conn.Do(ctx, "query-cpus-fast", nil, &cpus); err != nil || len(cpus) == 0 {
		return "", err
	}
	return cpus[0].Path, nil
}

// CPUWords is what the first processor of a VM offers to the guest; nil where QEMU does not tell, as for other architectures than x86.
func (p Processor) CPUWords(ctx context.Context) ([]CPUWord, error) {
	path, err := p.first(ctx)
	if err != nil || path == "" {
		return nil, err
	}
	var words []CPUWord
	err = p.conn.Do(ctx, "qom-get", map[string]string{"path": path, "property": "feature-words"}, &words)
	if _, ok := errors.AsType[*QMPError](err); ok {
		return nil, nil
	}
	return words, err
}

// CPUFlags asks for switches of the first processor. Given none it asks for all. Those that it does not know are left out.
func (p Processor) CPUFlags(ctx context.Context, names ...string) (on, off []string, err error) {
	path, err := p.first(ctx)
	if err != nil || path == "" {
		return nil, nil, err
	}
	if len(names) == 0 {
		if names, err = p.switches(ctx, path); err != nil {
			return nil, nil, err
		}
	}
	for _, name := range names[:min(len(names), maxCPUProperties)] {
		var value bool
		err := p.conn.Do(ctx, "qom-get", map[string]string{"path": path, "property": name}, &value)
		switch _, unknown := errors.AsType[*QMPError](err); {
		case unknown:
		case err != nil:
			return nil, nil, err
		case value:
			on = append(on, name)
		default:
			off = append(off, name)
		}
	}
	return on, off, nil
}

// switches lists the properties of an object that are on or off. Of several spellings of a name only one counts.
func (p Processor) switches(ctx context.Context, path string) (names []string, err error) {
	var list []struct{ Name, Type string }
	if err := p.conn.Do(ctx, "qom-list", map[string]string{"path": path}, &list); err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, q := range list {
		if plain := strings.NewReplacer(".", "-", "_", "-").Replace(q.Name); q.Type == "bool" && !seen[plain] {
			seen[plain] = true
			names = append(names, q.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
