package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"

	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// Contents is an independent count of what guests hold. All numbers are bytes.
type Contents struct {
	Total    int64
	NonZero  int64
	Distinct int64 // of pages that are not zero, each content counted once: what must cross the source's link at least
}

// CountContents stops the guests on the source, counts what they hold, and lets them run on.
func CountContents(ctx context.Context, guests ...*Guest) (c Contents, err error) {
	seen := make(map[[sha256.Size]byte]struct{})
	zero := make([]byte, witness.PageBytes)
	for _, g := range guests {
		resume, err := g.Stop(ctx)
		if err != nil {
			return c, err
		}
		defer func() { err = errors.Join(err, resume(ctx)) }()
	}
	for _, g := range guests {
		err := g.eachPage(ctx, func(page []byte) {
			n := int64(len(page))
			c.Total += n
			if bytes.Equal(page, zero[:n]) {
				return
			}
			c.NonZero += n
			sum := sha256.Sum256(page)
			if _, known := seen[sum]; !known {
				seen[sum] = struct{}{}
				c.Distinct += n
			}
		})
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// Stop pauses the guest on the source; the returned function lets it run on.
func (g *Guest) Stop(ctx context.Context) (resume func(context.Context) error, err error) {
	order := func(ctx context.Context, command string) error {
		m, err := g.Monitor(ctx)
		if err != nil {
			return err
		}
		defer m.Close()
		return m.Do(ctx, command, nil, nil)
	}
	return func(ctx context.Context) error { return order(ctx, "cont") }, order(ctx, "stop")
}

// eachPage calls yield for each page of the guest's memory on the source.
func (g *Guest) eachPage(ctx context.Context, yield func(page []byte)) error {
	ram, err := g.OpenRAM(ctx, g.lab.Source)
	if err != nil {
		return err
	}
	defer ram.Close()
	return ram.Pages(yield)
}
