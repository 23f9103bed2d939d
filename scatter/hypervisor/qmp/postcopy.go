package qmp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// StartPostcopy has QEMU switch over soon. From when it has sent its device state on, a socket that is lost leaves it paused, to be resumed
// (migration.c, postcopy_pause), and one that nobody reads any further leaves it waiting, with a monitor that answers.
func (s *Source) StartPostcopy(ctx context.Context) error {
	return s.named(s.Client.StartPostcopy(ctx))
}

// Complete reads what is left of a post-copy migration's stream, and lets QEMU complete it.
func (s *Source) Complete(ctx context.Context, stream net.Conn) error {
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.Close() })()
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return s.named(err)
	}
	return s.AwaitCompleted(ctx)
}

// completeLost completes a post-copy migration whose stream was lost: it is resumed by one who says that he has all pages.
func completeLost(ctx context.Context, s *Source) error {
	c, err := resume(ctx, s)
	if err != nil {
		return s.named(err)
	}
	if _, err := c.Write(stream.Return{Kind: stream.ReturnShut}.Append(nil)); err != nil {
		c.Close()
		return s.named(err)
	}
	return s.Complete(ctx, c)
}

// resume continues a migration whose stream was lost, up to where pages would come, of which none is wanted.
func resume(ctx context.Context, s *Source) (net.Conn, error) {
	if err := s.await(ctx, func(i qemu.MigrationInfo) (bool, error) {
		if i.Status.Idle() {
			return false, fmt.Errorf("its migration is %s", i.Status)
		}
		return i.Status == qemu.MigrationPostcopyPaused, nil
	}); err != nil {
		return nil, err
	}
	blocks, err := s.RAMBlocks(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.ResumeMigrate(ctx)
	if err != nil {
		return nil, err
	}
	if err := haveAll(ctx, c, blocks); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// haveAll answers what a source asks that resumes a post-copy migration (migration.c, postcopy_do_resume).
func haveAll(ctx context.Context, c net.Conn, blocks []qemu.RAMBlock) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(system.QMPTimeout)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return err
	}
	for {
		cmd, payload, err := stream.ReadCommand(c)
		if err != nil {
			return err
		}
		answer := stream.Return{Kind: stream.ReturnResumeAck, Value: 1}
		if cmd == stream.CmdRecvBitmap {
			if answer, err = all(payload, blocks); err != nil {
				return err
			}
		}
		if _, err := c.Write(answer.Append(nil)); err != nil {
			return err
		}
		if cmd == stream.CmdPostcopyResume {
			return c.SetReadDeadline(time.Time{})
		}
	}
}

// all says that every page of a block has come.
func all(payload []byte, blocks []qemu.RAMBlock) (stream.Return, error) {
	if len(payload) == 0 || int(payload[0]) != len(payload)-1 {
		return stream.Return{}, errors.New("QEMU asks for the pages of a block without a name")
	}
	for _, b := range blocks {
		if b.ID != string(payload[1:]) {
			continue
		}
		words := (b.Length/model.PageSize + 63) / 64
		bitmap := make([]byte, 0, 8*words)
		for range words {
			bitmap = binary.LittleEndian.AppendUint64(bitmap, ^uint64(0))
		}
		return stream.Return{Kind: stream.ReturnRecvBitmap, Block: b.ID, Bitmap: bitmap}, nil
	}
	return stream.Return{}, fmt.Errorf("QEMU asks for the pages of ram block %.64q, which its monitor does not tell", payload[1:])
}
