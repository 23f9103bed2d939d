package scatter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
)

// preflight tries each VM's migration, and has every target try to start each VM. A VM that cannot leave, or that no target
// takes, stays.
func (e *evacuation) preflight(ctx context.Context) error {
	open, err := e.stillOpen()
	if err != nil {
		return err
	}
	if err := e.leave(open); err != nil {
		return err
	}
	if err := e.leave(e.staysByPlan()); err != nil {
		return err
	}
	if err := e.leave(e.tryToLeave(ctx)); err != nil {
		return err
	}
	if err := e.examine(ctx); err != nil {
		return err
	}
	e.nameFlags(ctx)
	e.tellUntried()
	return e.leave(e.refusedEverywhere())
}

// tryToLeave finds out what hinders each VM on this host.
func (e *evacuation) tryToLeave(ctx context.Context) [][]Blocker {
	why := make([][]Blocker, len(e.vms))
	var g errgroup.Group
	g.SetLimit(4)
	for i, v := range e.vms {
		g.Go(func() error {
			why[i] = e.forced(v, blockersOf(v.name(), v.preflight(ctx, func() error { return e.record(v, recSettings) })))
			return nil
		})
	}
	_ = g.Wait() // what was found is collected
	for _, v := range e.vms {
		for _, remark := range v.remarks {
			e.tell(Event{Type: "warning", VM: v.name(), Message: "vm " + v.name() + ": " + remark})
		}
	}
	return why
}

// forced leaves the blockers that the operator does not force; of the others he is warned.
func (e *evacuation) forced(v *sourceVM, why []Blocker) (left []Blocker) {
	for _, b := range why {
		if !e.cfg.Force || !b.Risk {
			left = append(left, b)
			continue
		}
		v.remarks = append(v.remarks, b.Problem)
	}
	return left
}

// refusedEverywhere finds the VMs that no target takes, or not the one that the operator has chosen.
func (e *evacuation) refusedEverywhere() [][]Blocker {
	why := make([][]Blocker, len(e.vms))
	for i, v := range e.vms {
		if all := e.refused.everywhere(i, len(e.links)); len(all) > 0 {
			why[i] = []Blocker{{VM: v.name(), Problem: "no target takes it: " + strings.Join(all, "; "), Remedy: remediesFor(all)}}
			continue
		}
		for host, l := range e.links {
			if err := e.refused.of(host, i); err != nil && e.cfg.Place[v.name()] == l.name() {
				why[i] = []Blocker{{VM: v.name(), Host: l.name(), Problem: "is placed there, but is refused: " + err.Error(), Remedy: remedyFor(err.Error())}}
			}
		}
	}
	return why
}

// examine asks each target about each VM and waits for all answers.
func (e *evacuation) examine(ctx context.Context) error {
	e.refused.open(len(e.links), len(e.vms))
	for host, l := range e.links {
		for i, v := range e.vms {
			err := l.roomFor(v)
			if err == nil {
				err = l.conn.Send(v.examineMessage(e.cfg.Force))
			}
			if err != nil {
				e.refused.answer(host, i, err)
			}
		}
	}
	silence := time.NewTimer(examineTimeout)
	defer silence.Stop()
	for {
		select {
		case <-e.refused.done:
			return nil
		case <-e.refused.news:
			silence.Reset(examineTimeout)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-silence.C:
			for host, l := range e.links {
				e.refused.hostLost(host, fmt.Errorf("%s: does not answer preflight's questions: see the log of 'scatter recv' there", l.name()))
			}
		}
	}
}

// examineMessage describes the VM to a target that is to try it. An operator who forces it says that the disks are the same.
func (v *sourceVM) examineMessage(force bool) control.Examine {
	p := v.prepareMessage()
	m := control.Examine{VM: p.VM, Name: p.Name, Argv: p.Argv, Machine: p.Machine, Header: p.Header}
	if !force {
		m.Written = v.written
	}
	for _, w := range v.cpu {
		m.CPU = append(m.CPU, control.CPUWord{EAX: w.EAX, ECX: w.ECX, Register: w.Register, Bits: w.Features})
	}
	return m
}

// refusalError is why a target would not take a VM.
type refusalError struct {
	host, why string
	off       []string // switches of the processor there that are off, where that is why
	flags     []string // of these: what the VM's processor has
}

func (e *refusalError) Error() string {
	if len(e.flags) > 0 {
		return fmt.Sprintf("%s: its processor lacks flags that the VM's has: %s", e.host, strings.Join(e.flags, ", "))
	}
	return e.host + ": " + e.why
}

// tellUntried warns of what only the start of the VM itself will show.
func (e *evacuation) tellUntried() {
	for host, l := range e.links {
		for i, v := range e.vms {
			if why := e.refused.whyUntried(host, i); why != "" {
				e.tell(Event{Type: "warning", VM: v.name(), Host: l.name(), Message: fmt.Sprintf("vm %s was not tried on %s: %s", v.name(), l.name(), why)})
			}
		}
	}
}

// nameFlags finds QEMU's names of the processor's flags that targets lack.
func (e *evacuation) nameFlags(ctx context.Context) {
	for host := range e.links {
		for i, v := range e.vms {
			refusal, ok := e.refused.of(host, i).(*refusalError)
			if !ok || len(refusal.off) == 0 {
				continue
			}
			on, _, err := v.client.CPUFlags(ctx, refusal.off...)
			if err != nil {
				e.log.Warn("flags of its processor cannot be named", "vm", v.name(), "err", err)
				continue
			}
			e.refused.explain(host, i, &refusalError{host: refusal.host, why: refusal.why, flags: on})
		}
	}
}

// roomFor tells whether the target could take the VM if it were the only one.
func (l *link) roomFor(v *sourceVM) error {
	switch memory := int64(v.vm.MemoryBytes); {
	case slices.Contains(l.welcome.VMs, v.name()):
		return fmt.Errorf("%s: a VM of this name is there already", l.name())
	case memory > l.welcome.Memory:
		return fmt.Errorf("%s: no room: %d MiB wanted, %d MiB free (recv --memory)", l.name(), memory>>20, l.welcome.Memory>>20)
	case l.welcome.VCPUs > 0 && v.vm.VCPUs > l.welcome.VCPUs:
		return fmt.Errorf("%s: no room: %d vcpus wanted, %d free (recv --vcpus)", l.name(), v.vm.VCPUs, l.welcome.VCPUs)
	}
	return nil
}

// examineTimeout is how long preflight waits for another answer of the targets. Each bounds its tries to less.
const examineTimeout = 2 * tryTimeout

// refusals keeps which targets would not take which VMs.
type refusals struct {
	mu      sync.Mutex // guards the fields below
	why     map[[2]int]error
	vms     int
	left    int
	untried map[[2]int]string // why
	done    chan struct{}     // closed when every answer is there
	news    chan struct{}     // gets something, now and then, while answers come
}

func (r *refusals) open(hosts, vms int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why, r.untried, r.vms, r.left = make(map[[2]int]error), make(map[[2]int]string), vms, hosts*vms
	r.done, r.news = make(chan struct{}), make(chan struct{}, 1)
}

// answer notes what host says about vm; nil = it takes it. Only the first answer counts, and none once all are there.
func (r *refusals) answer(host, vm int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]int{host, vm}
	if _, ok := r.why[key]; ok || r.left == 0 || vm < 0 || vm >= r.vms {
		return
	}
	r.why[key] = err
	select {
	case r.news <- struct{}{}:
	default:
	}
	if r.left--; r.left == 0 {
		close(r.done)
	}
}

// note keeps why host has not tried vm.
func (r *refusals) note(host, vm int, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if vm >= 0 && vm < r.vms && r.left > 0 {
		r.untried[[2]int{host, vm}] = why
	}
}

// whyUntried is why host has not tried vm; "" if it has.
func (r *refusals) whyUntried(host, vm int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.untried[[2]int{host, vm}]
}

// explain replaces a refusal by one that says more.
func (r *refusals) explain(host, vm int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why[[2]int{host, vm}] = err
}

// hostLost refuses all VMs that it has not answered about.
func (r *refusals) hostLost(host int, err error) {
	r.mu.Lock()
	vms := r.vms
	r.mu.Unlock()
	for vm := range vms {
		r.answer(host, vm, err)
	}
}

// renumber keeps what is known of some VMs, which have new numbers: VM i was kept[i].
func (r *refusals) renumber(kept []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.why
	r.why, r.vms = make(map[[2]int]error), len(kept)
	for key, err := range was {
		if now := slices.Index(kept, key[1]); now >= 0 {
			r.why[[2]int{key[0], now}] = err
		}
	}
}

// of is why host refuses vm, or nil.
func (r *refusals) of(host, vm int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why[[2]int{host, vm}]
}

// everywhere is the reasons of all hosts if every one refuses vm, else nothing.
func (r *refusals) everywhere(vm, hosts int) []string {
	var all []string
	for h := range hosts {
		err := r.of(h, vm)
		if err == nil {
			return nil
		}
		all = append(all, err.Error())
	}
	return all
}

// preflight finds out what the VM consists of and whether QEMU would let it go, and keeps the first part of its migration stream: a
// real migration is started and cancelled as soon as it has told its RAM blocks. note is called before anything is changed.
func (v *sourceVM) preflight(ctx context.Context, note func() error) error {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	var all problems
	all.add(v.checkMigration(ctx))
	all.add(v.takeStock(ctx))
	found := all.err()
	if found != nil && !onlyRisks(found) {
		return found
	}
	if err := note(); err != nil {
		return err
	}
	cpu, err := v.client.CPUWords(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	v.cpu = cpu
	if err := v.setCapabilities(ctx); err != nil {
		return err
	}
	herr := v.captureHeader(ctx)
	// Whatever was found, and whoever has lost patience, the VM must be left as it was.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), qmpTimeout)
	defer cancel()
	if err := errors.Join(herr, v.endMigration(ctx), v.restoreSettings(ctx)); err != nil {
		return err
	}
	return found
}

// checkMigration finds all that hinders a migration, or bends it, and notes what is to be put back after it.
func (v *sourceVM) checkMigration(ctx context.Context) error {
	info, err := v.client.QueryMigrate(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	var found problems
	if !idle(info.Status) {
		found.add(Blocker{VM: v.name(), Problem: fmt.Sprintf("a migration is already %s", info.Status), Remedy: "let it end, or cancel it (migrate_cancel)"})
	}
	for _, why := range info.BlockedReasons {
		found.add(Blocker{VM: v.name(), Problem: "QEMU refuses to migrate it: " + why, Remedy: remedyFor(why)})
	}
	caps, err := v.client.Capabilities(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	for _, why := range unfitCapabilities(caps) {
		found.add(why)
	}
	v.caps = capabilitiesToSet(caps)
	p, err := v.client.Parameters(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	v.params = qemu.Parameters{DowntimeLimit: p.DowntimeLimit, MaxBandwidth: p.MaxBandwidth, AvailSwitchoverBandwidth: p.AvailSwitchoverBandwidth}
	if err := v.checkParameters(ctx, p, &found); err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	if err := v.checkTracking(ctx, &found); err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return found.err()
}

// maxHeader bounds the part of the stream that preflight keeps.
const maxHeader = 512 << 10

// captureHeader reads the stream up to the end of the ram START section.
func (v *sourceVM) captureHeader(ctx context.Context) error {
	c, err := v.startMigration(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(qmpTimeout)); err != nil {
		return err
	}
	p := stream.NewParser(c, stream.Options{})
	if v.header, err = readHeader(p); errors.Is(err, io.ErrUnexpectedEOF) {
		return v.whyClosed(ctx, err)
	} else if err != nil {
		return fmt.Errorf("vm %s: migration stream: %w", v.name(), err)
	}
	v.blocks, err = matchBlocks(p.Blocks(), v.vm.Blocks)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return nil
}

// readHeader returns the bytes of a stream up to the end of the ram START section, which lists the RAM blocks.
func readHeader(p *stream.Parser) ([]byte, error) {
	var header []byte
	for {
		it, err := p.Next()
		if err != nil {
			return nil, noEOF(err)
		}
		if it.Kind == stream.KindPage || it.Kind == stream.KindZero || it.Kind == stream.KindTail || len(header) > maxHeader {
			return nil, fmt.Errorf("no list of ram blocks before %s", it.Kind)
		}
		header = append(header, it.Raw...)
		if it.Kind == stream.KindFooter && len(p.Blocks()) > 0 {
			return header, nil
		}
	}
}

// elsewhere tells why what a socket leads to is no VM that lives here.
func (v *sourceVM) elsewhere() error {
	if err := awayBy(v.vm.Status); err != nil {
		return Blocker{VM: v.name(), Problem: err.Error(), Remedy: "leave its socket out; if it lives nowhere else, 'cont' it first"}
	}
	return nil
}

// discoverVM opens a VM by its QMP socket. The error is a Blocker where there is a VM that cannot move.
func discoverVM(ctx context.Context, index int, socket string) (*sourceVM, error) {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	vm, client, err := qemu.Discover(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("vm at %s: %w", socket, err)
	}
	v := &sourceVM{index: index, vm: vm, client: client, host: -1, found: vm.Status}
	if v.proc, err = openProcess(vm.PID, socket, ""); err != nil {
		v.close()
		return nil, fmt.Errorf("vm %s: %w", vm.Name, err)
	}
	if v.mem, err = qemu.OpenMemory(vm.PID, vm.Blocks); err != nil {
		v.close()
		return nil, Blocker{VM: vm.Name, Problem: err.Error()}
	}
	return v, nil
}
