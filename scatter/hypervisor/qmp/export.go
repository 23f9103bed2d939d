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
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// exportName begins the names of exports, and is that of the socket that they are served at.
const exportName = "scatter-export-"

// exports are disks that a QEMU serves to us, as its guest sees them. A QEMU has one NBD server at most. Nobody else can connect to ours: its socket has no
// name any more when QEMU gets it.
type exports struct {
	client *qemu.Client
	vm     string

	mu      sync.Mutex // guards the fields below
	served  bool
	clients []*nbd.Client
}

// Export has QEMU serve disks, which are only read, and returns a connection to each. What a scatter has left that was killed is removed before.
func (x *exports) Export(ctx context.Context, disks []hypervisor.Disk) ([]*nbd.Client, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.dropLeft(ctx); err != nil {
		return nil, x.named(err)
	}
	conns, err := x.serve(ctx, len(disks))
	if err != nil {
		return nil, x.named(err)
	}
	x.served = true
	for i, d := range disks {
		name := fmt.Sprint(exportName, i)
		add := map[string]any{"type": "nbd", "id": name, "name": name, "node-name": d.Layer, "allocation-depth": true}
		if err == nil {
			err = x.client.Do(ctx, "block-export-add", add, nil)
		}
	}
	for i, conn := range conns {
		if err != nil {
			conn.Close()
			continue
		}
		tells := "base:allocation"
		if len(disks[i].Backing) > 0 {
			tells = nbd.Depth
		}
		var c *nbd.Client
		if c, err = nbd.Connect(ctx, conn, fmt.Sprint(exportName, i), tells); err == nil {
			x.clients = append(x.clients, c)
		}
	}
	if err != nil {
		return nil, errors.Join(x.named(err), x.drop(ctx))
	}
	return x.clients, nil
}

func (x *exports) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("vm %s: export of its disks: %w", x.vm, err)
}

// serve starts QEMU's NBD server, at a socket to which n connections are made, and none can be any more.
func (x *exports) serve(ctx context.Context, n int) (conns []net.Conn, err error) {
	listener, conns, err := nbd.DeadEnd(n)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	err = x.client.Do(ctx, "getfd", map[string]string{"fdname": exportName}, nil, listener)
	if err == nil {
		addr := map[string]any{"type": "fd", "data": map[string]string{"str": exportName}}
		if err = x.client.Do(ctx, "nbd-server-start", map[string]any{"addr": addr}, nil); err != nil {
			_, cerr := refused(x.client.Do(ctx, "closefd", map[string]string{"fdname": exportName}, nil))
			err = errors.Join(x.explain(err), cerr)
		}
	}
	if err != nil {
		for _, c := range conns {
			c.Close()
		}
		return nil, err
	}
	return conns, nil
}

// explain names an NBD server that somebody else has started.
func (x *exports) explain(err error) error {
	refusal, ok := errors.AsType[*qemu.QMPError](err)
	if !ok || !strings.Contains(refusal.Desc, "already running") {
		return err
	}
	return model.Blocker{VM: x.vm, Problem: "its QEMU has an NBD server already, and can have one only, by which its disks would be read", Remedy: "end that one (nbd-server-stop)"}
}

// dropLeft ends the NBD server of a scatter that was killed: nobody else names exports so.
func (x *exports) dropLeft(ctx context.Context) error {
	var all []struct {
		ID string `json:"id"`
	}
	if err := x.client.Do(ctx, "query-block-exports", nil, &all); err != nil {
		return err
	}
	for _, e := range all {
		if strings.HasPrefix(e.ID, exportName) {
			return x.client.Do(ctx, "nbd-server-stop", nil, nil)
		}
	}
	return nil
}

// dropOthers ends the exports that a scatter has left that was killed. Our own are read until the VM is let go of: others have pages that are on its disks, too.
func (x *exports) dropOthers(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.served {
		return nil
	}
	return x.named(x.dropLeft(ctx))
}

// drop ends the exports. The lock is held.
func (x *exports) drop(ctx context.Context) error {
	for _, c := range x.clients {
		c.Close()
	}
	x.clients, x.served = nil, false
	_, err := refused(x.client.Do(ctx, "nbd-server-stop", nil, nil))
	return err
}

// closeExports ends them. A QEMU that does not answer keeps them, which nobody can use; the next scatter finds them.
func (x *exports) closeExports() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.served {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), system.QMPTimeout)
	defer cancel()
	_ = x.drop(ctx)
}
