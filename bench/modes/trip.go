package main

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/wait"
)

// Sizes of a question and its answer, which are those of a page that is asked for.
const (
	questionBytes = 32
	answerBytes   = 4096
)

// tripEvery is the time between two questions.
const tripEvery = 20 * time.Millisecond

// trips measures how long a question takes from one host to another and its answer back, without scatter, until stop is called.
type trips struct {
	conn   net.Conn
	closed sync.WaitGroup
	took   []time.Duration
}

// startTrips begins.
func startTrips(asks, answers *lan.Host) (*trips, error) {
	var l net.Listener
	err := answers.In(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(answers.Addr.String(), "0"))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	t := &trips{}
	err = asks.In(func() (err error) {
		t.conn, err = net.Dial("tcp", l.Addr().String())
		return err
	})
	if err != nil {
		return nil, err
	}
	far, err := l.Accept()
	if err != nil {
		return nil, errors.Join(err, t.conn.Close())
	}
	t.closed.Go(func() { answer(far) })
	t.closed.Go(t.ask)
	return t, nil
}

// answer answers questions until the connection ends.
func answer(c net.Conn) {
	defer c.Close()
	question, page := make([]byte, questionBytes), make([]byte, answerBytes)
	for {
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		if _, err := c.Write(page); err != nil {
			return
		}
	}
}

// ask asks until the connection ends.
func (t *trips) ask() {
	question, page := make([]byte, questionBytes), make([]byte, answerBytes)
	for {
		began := time.Now()
		if _, err := t.conn.Write(question); err != nil {
			return
		}
		if _, err := io.ReadFull(t.conn, page); err != nil {
			return
		}
		t.took = append(t.took, time.Since(began))
		time.Sleep(tripEvery)
	}
}

// stop ends it and returns the median.
func (t *trips) stop() time.Duration {
	t.conn.Close()
	t.closed.Wait()
	if len(t.took) == 0 {
		return 0
	}
	slices.Sort(t.took)
	return t.took[len(t.took)/2]
}

// idleTrip is how long one takes while nothing else is sent.
func idleTrip(ctx context.Context, asks, answers *lan.Host) (time.Duration, error) {
	t, err := startTrips(asks, answers)
	if err != nil {
		return 0, err
	}
	err = wait.For(ctx, time.Second)
	return t.stop(), err
}
