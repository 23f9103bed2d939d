package main

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/bench/guest/content"
)

// Sizes of what goes to and fro. A value is somewhat shorter than a page, so that with what Redis puts around it it fills one.
const (
	valueWords = 500
	valueBytes = valueWords * 8
	batch      = 16 // commands, or keys of one command, that are on their way together
)

// redisPort is where Redis listens, as Debian configures it; redisPatience, in seconds, bounds each wait for it.
const (
	redisPort     = 6379
	redisPatience = 30
)

// shelf is a run of keys of one kind.
type shelf struct {
	kind content.Kind
	keys int
}

// Redis is a server on this machine all of whose values have known content: a page each, named KIND:NUMBER.
type Redis struct {
	guest      uint64
	shelves    []shelf
	generation []uint32 // of each hot value, kept apart from it
	nextHot    int
	nextShelf  int
	nextKey    int

	conn    port
	in      *bufio.Reader
	request []byte
	asked   []content.Name // what the values of the present request must be
	page    content.Page
	scratch content.Page
}

// DialRedis connects to the server and fills it with the values that w describes.
func DialRedis(w Workload) (*Redis, error) {
	conn, err := dialLocal(redisPort)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	r := &Redis{guest: w.ID, conn: conn, in: bufio.NewReaderSize(conn, 1<<16)}
	for _, p := range w.parts() {
		if p.mib > 0 {
			r.shelves = append(r.shelves, shelf{p.kind, int(p.mib) << 20 / content.Bytes})
		}
	}
	r.generation = make([]uint32, r.hot().keys)
	return r, r.fill()
}

// dialLocal connects to a port of this machine by a socket that blocks, see pause.
func dialLocal(number int) (port, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: number, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	return port(fd), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: redisPatience})
}

// hot returns the shelf that is rewritten; it is the last one.
func (r *Redis) hot() shelf { return r.shelves[len(r.shelves)-1] }

// Pages returns how many values there are.
func (r *Redis) Pages() (n int) {
	for _, s := range r.shelves {
		n += s.keys
	}
	return n
}

// name returns what value i of s must be now.
func (r *Redis) name(s shelf, i int) content.Name {
	n := content.Name{Kind: s.kind, Guest: r.guest, Number: uint64(i)}
	if s.kind == content.Hot {
		n.Generation = uint64(r.generation[i])
	}
	return n
}

func (r *Redis) fill() error {
	for _, s := range r.shelves {
		for i := range s.keys {
			r.asked = append(r.asked, r.name(s, i))
			if err := r.flush(batch); err != nil {
				return err
			}
		}
	}
	return r.flush(1)
}

// Rewrite gives the next n hot values a new generation.
func (r *Redis) Rewrite(n int) error {
	for range n {
		i := r.nextHot
		r.nextHot = (i + 1) % len(r.generation)
		r.generation[i]++
		r.asked = append(r.asked, r.name(r.hot(), i))
		if err := r.flush(batch); err != nil {
			return err
		}
	}
	return r.flush(1)
}

// flush sets the values that were asked for, once there are enough of them.
func (r *Redis) flush(enough int) error {
	if len(r.asked) < enough {
		return nil
	}
	r.request = r.request[:0]
	for _, n := range r.asked {
		content.Fill(&r.page, n)
		r.request = append(r.request, "*3\r\n$3\r\nSET\r\n"...)
		r.request = appendKey(r.request, n)
		r.request = appendBulk(r.request, value(&r.page))
	}
	if _, err := r.conn.Write(r.request); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	for range r.asked {
		if err := expect(r.in, "+OK"); err != nil {
			return err
		}
	}
	r.asked = r.asked[:0]
	return nil
}

// Verify compares the next n values with what they must be and calls wrong for each that differs. One that is missing is an error.
func (r *Redis) Verify(n int, wrong func(Mismatch)) error {
	for ; n > 0; n -= batch {
		if err := r.compare(min(n, batch), wrong); err != nil {
			return err
		}
	}
	return nil
}

// compare verifies a batch by one command.
func (r *Redis) compare(n int, wrong func(Mismatch)) error {
	r.request = fmt.Appendf(r.request[:0], "*%d\r\n$4\r\nMGET\r\n", n+1)
	for range n {
		name := r.name(r.shelves[r.nextShelf], r.nextKey)
		r.asked = append(r.asked, name)
		r.request = appendKey(r.request, name)
		r.advance()
	}
	defer func() { r.asked = r.asked[:0] }()
	if _, err := r.conn.Write(r.request); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if err := expect(r.in, fmt.Sprintf("*%d", n)); err != nil {
		return err
	}
	for _, name := range r.asked {
		if err := readValue(r.in, value(&r.page)); err != nil {
			return fmt.Errorf("%v value %d: %w", name.Kind, name.Number, err)
		}
		content.Fill(&r.scratch, name)
		for i := range valueWords {
			if r.page[i] != r.scratch[i] {
				wrong(Mismatch{name, i, r.page[i], r.scratch[i]})
				break
			}
		}
	}
	return nil
}

// advance moves the cursor of Verify to the next key, and after the last to the first.
func (r *Redis) advance() {
	r.nextKey++
	if r.nextKey == r.shelves[r.nextShelf].keys {
		r.nextKey = 0
		r.nextShelf = (r.nextShelf + 1) % len(r.shelves)
	}
}

// value returns the bytes of a page that are a value.
func value(p *content.Page) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), valueBytes) }

// appendBulk appends an argument as Redis's protocol has it: its length and its bytes.
func appendBulk(b, argument []byte) []byte {
	b = strconv.AppendInt(append(b, '$'), int64(len(argument)), 10)
	b = append(append(b, "\r\n"...), argument...)
	return append(b, "\r\n"...)
}

func appendKey(b []byte, n content.Name) []byte {
	var key [32]byte
	k := append(append(key[:0], n.Kind.String()...), ':')
	return appendBulk(b, strconv.AppendUint(k, n.Number, 10))
}

// expect reads a line that must be want.
func expect(in *bufio.Reader, want string) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if got := bytes.TrimRight(line, "\r\n"); string(got) != want {
		return fmt.Errorf("redis: says %q instead of %q", got, want)
	}
	return nil
}

// readValue reads a value of the length of to. One that is missing or has another length is an error.
func readValue(in *bufio.Reader, to []byte) error {
	if err := expect(in, "$"+strconv.Itoa(len(to))); err != nil {
		return err
	}
	for done := 0; done < len(to); {
		n, err := in.Read(to[done:])
		if err != nil {
			return fmt.Errorf("redis: %w", err)
		}
		done += n
	}
	return expect(in, "")
}
