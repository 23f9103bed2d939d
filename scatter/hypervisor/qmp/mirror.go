package qmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/nbd"
	"github.com/scatter-vm/scatter/scatter/system"
)

// mirrorName begins the names of a mirror's job, its node, and its end of the socket.
const mirrorName = "scatter-mirror-"

// mirrors are block jobs of QEMU that tell of what a guest writes to its disks. They copy nothing that lies there already (sync=none), and the guest
// waits for none of them (copy-mode=background): who is told answers at once, and where he does not, or is gone, only the job ends.
type mirrors struct {
	client *qemu.Client
	vm     string

	mu  sync.Mutex // guards all
	all []*mirror
}

// mirror is that of one disk.
type mirror struct {
	name  string
	conn  net.Conn // our end
	ended chan struct{}
}

// Mirror has QEMU tell d of each write to the disk on a node from now on, those that are under way included.
func (m *mirrors) Mirror(ctx context.Context, node string, bytes int64, d nbd.Device) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := fmt.Sprint(mirrorName, len(m.all))
	defer func() {
		if err != nil {
			err = fmt.Errorf("vm %s: mirror of disk %s: %w", m.vm, node, err)
		}
	}()
	conn, err := m.client.GiveSocket(ctx, name)
	if err != nil {
		return err
	}
	one := &mirror{name: name, conn: conn, ended: make(chan struct{})}
	go func() { // ends with the connection, which EndMirrors and DropMirrors wait for
		defer close(one.ended)
		_ = nbd.Serve(context.Background(), conn, nbd.Export{Size: uint64(bytes), Device: d})
	}()
	m.all = append(m.all, one)
	add := map[string]any{"driver": "nbd", "node-name": name, "server": map[string]string{"type": "fd", "str": name}}
	if err := m.client.Do(ctx, "blockdev-add", add, nil); err != nil {
		return err
	}
	events := m.client.Subscribe(64)
	defer events.Close()
	start := map[string]any{"job-id": name, "device": node, "target": name, "sync": "none", "copy-mode": "background", "granularity": 4096}
	if err := m.client.Do(ctx, "blockdev-mirror", start, nil); err != nil {
		return err
	}
	return m.await(ctx, events, name, "BLOCK_JOB_READY")
}

// await waits for an event of a job. The job's end is an error where it says why, or where something else was to come.
func (m *mirrors) await(ctx context.Context, events *qemu.Subscription, job, want string) error {
	for {
		select {
		case ev, ok := <-events.C:
			switch device, _ := ev.Data["device"].(string); {
			case !ok:
				return m.client.Err()
			case device != job:
				continue
			}
			why, failed := ev.Data["error"].(string)
			switch {
			case failed:
				return errors.New(why)
			case ev.Event == want:
				return nil
			case ev.Event == "BLOCK_JOB_COMPLETED" || ev.Event == "BLOCK_JOB_CANCELLED":
				return fmt.Errorf("its job has ended: %s", ev.Event)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// mirrored tells whether there are any.
func (m *mirrors) mirrored() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all) > 0
}

// Proceed lets a VM go on with its switch-over, which waits because it had mirrors.
func (m *mirrors) Proceed(ctx context.Context) error {
	if err := m.client.MigrateContinue(ctx); err != nil {
		return fmt.Errorf("vm %s: %w", m.vm, err)
	}
	return nil
}

// closeMirrors ends the mirrors, and lets go of the VM.
func (m *mirrors) closeMirrors() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.all {
		one.conn.Close()
		<-one.ended
	}
	return m.client.Close()
}

// EndMirrors ends the mirrors of a VM that stands still, and returns when all was told that it has written.
func (m *mirrors) EndMirrors(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.all) > 0 {
		if err := m.end(ctx, m.all[0]); err != nil {
			return fmt.Errorf("vm %s: %s: %w", m.vm, m.all[0].name, err)
		}
		m.all = m.all[1:]
	}
	return nil
}

func (m *mirrors) end(ctx context.Context, one *mirror) error {
	events := m.client.Subscribe(64)
	defer events.Close()
	if err := m.client.Do(ctx, "block-job-cancel", map[string]string{"device": one.name}, nil); err != nil {
		return err
	}
	if err := m.await(ctx, events, one.name, "BLOCK_JOB_COMPLETED"); err != nil {
		return err
	}
	if err := m.client.Do(ctx, "blockdev-del", map[string]string{"node-name": one.name}, nil); err != nil {
		return err
	}
	one.conn.Close()
	<-one.ended
	return nil
}

// DropMirrors ends all mirrors, those of a scatter that was killed as well, whatever they have not told. The guest notices nothing.
func (m *mirrors) DropMirrors(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.all {
		one.conn.Close() // on which its job ends by itself
		<-one.ended
	}
	m.all = nil
	for {
		names, err := m.left(ctx)
		if err != nil || len(names) == 0 {
			return err
		}
		if err := system.Pause(ctx, freedPoll); err != nil {
			return fmt.Errorf("vm %s: %s is still there: %w", m.vm, names[0], err)
		}
	}
}

// left ends the jobs whose server is gone, removes the nodes that no job uses any more, and returns what is still there.
func (m *mirrors) left(ctx context.Context) (names []string, err error) {
	var jobs []struct {
		Device string `json:"device"`
	}
	if err := m.client.Do(ctx, "query-block-jobs", nil, &jobs); err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if !strings.HasPrefix(j.Device, mirrorName) {
			continue
		}
		if _, err := refused(m.client.Do(ctx, "block-job-cancel", map[string]any{"device": j.Device, "force": true}, nil)); err != nil {
			return nil, err
		}
		names = append(names, j.Device)
	}
	var nodes []struct {
		Name string `json:"node-name"`
	}
	if err := m.client.Do(ctx, "query-named-block-nodes", map[string]bool{"flat": true}, &nodes); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if !strings.HasPrefix(n.Name, mirrorName) {
			continue
		}
		used, err := refused(m.client.Do(ctx, "blockdev-del", map[string]string{"node-name": n.Name}, nil))
		if err != nil {
			return nil, err
		}
		if used {
			names = append(names, n.Name)
		}
	}
	return names, nil
}

// refused tells QEMU's refusal, which is none of our errors here, from those.
func refused(err error) (bool, error) {
	if _, ok := errors.AsType[*qemu.QMPError](err); ok {
		return true, nil
	}
	return false, err
}
