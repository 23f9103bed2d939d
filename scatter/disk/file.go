package disk

import (
	"errors"
	"io"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter/model"
)

// file is a raw image, read beside QEMU.
type file struct {
	*os.File
	direct bool
}

func openFile(i Image) (opened, error) {
	flags := os.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC // a pipe in its place must not be waited for
	if i.Direct {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(i.Path, flags, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (st.Ino != i.Inode || st.Mode&unix.S_IFMT != unix.S_IFREG) {
		err = errors.New("is another file than the one that QEMU has open")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return file{f, i.Direct}, nil
}

func (file) answers() bool { return false }

// within yields what is not a hole. A file system that knows none says that all is data (lseek(2), SEEK_DATA).
func (f file) within(at, last uint32, yield func(first, n uint32) error) error {
	for at < last {
		data, err := f.Seek(int64(at)*model.PageSize, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but holes from here on
		}
		if err != nil {
			return err
		}
		hole, err := f.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		first, end := max(at, uint32(data/model.PageSize)), min(last, uint32((hole+model.PageSize-1)/model.PageSize))
		if first >= end {
			return nil
		}
		if err := yield(first, end-first); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// read reads whole pages.
func (f file) read(first uint32, dst []byte) (read int, err error) {
	at := int64(first) * model.PageSize
	if !f.direct {
		return f.readAt(dst, at)
	}
	aligned := buffers.Get().(*[]byte)
	defer buffers.Put(aligned)
	for len(dst) > 0 {
		part := (*aligned)[:min(len(dst), len(*aligned))]
		n, err := f.readAt(part, at)
		copy(dst, part[:n])
		if read += n; err != nil || n < len(part) {
			return read, err
		}
		dst, at = dst[n:], at+int64(n)
	}
	return read, nil
}

// readAt reads up to the end of the file, which is no error.
func (f file) readAt(dst []byte, at int64) (int, error) {
	n, err := f.ReadAt(dst, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// buffers are for files that are read past the page cache, which takes what is aligned only.
var buffers = sync.Pool{New: func() any {
	const size = 256 << 10
	b := make([]byte, size+model.PageSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (model.PageSize - 1)
	b = b[skip : skip+size]
	return &b
}}
