package stream_test

import (
	"fmt"
	"io"
	"os"

	"github.com/scatter-vm/scatter/qemu/stream"
)

// forward passes what QEMU sends on to a target, but for the pages that the target has.
func forward(qemu io.Reader, target io.Writer, has func(*stream.Item) bool) error {
	w := stream.NewWriter(target)
	p := stream.NewParser(qemu, stream.Options{Idle: w.Flush})
	for {
		it, err := p.Next()
		if err == io.EOF {
			return w.Flush() // the end of post-copy
		}
		if err != nil {
			return err
		}
		switch it.Kind {
		case stream.KindPage, stream.KindZero:
			if has(it) {
				continue
			}
		case stream.KindTail:
			if err := w.Flush(); err != nil {
				return err
			}
			_, err := p.Tail(target) // the connection stays open: QEMU waits for SHUT
			return err
		}
		if err := w.Item(p, it); err != nil {
			return err
		}
	}
}

// A proxy between two QEMUs, here with a stream that ends at once.
func Example() {
	in, err := os.Open(os.DevNull)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Close()
	fmt.Println(forward(in, io.Discard, func(*stream.Item) bool { return false }))
	// Output: unexpected EOF
}
