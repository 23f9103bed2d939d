package fec

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/reedsolomon"
	"pgregory.net/rapid"
)

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestRestoreAnySymbols loses symbols at random, puts any parity in their place and wants the stripe back.
func TestRestoreAnySymbols(t *testing.T) {
	var d Decoder
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(1, MaxSource).Draw(t, "k")
		size := rapid.IntRange(1, 70).Draw(t, "size")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		source := random(r, k*size)
		slots, at := bytes.Clone(source), make([]uint8, k)
		for i := range at {
			at[i] = uint8(i)
		}
		ids := r.Perm(MaxSymbols - k)
		lost := rapid.IntRange(0, min(k, len(ids))).Draw(t, "lost")
		for n, i := range r.Perm(k)[:lost] {
			at[i] = uint8(k + ids[n])
			Parity(slots[i*size:(i+1)*size], source, nil, k, at[i])
		}
		if err := d.Restore(slots, size, at); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(slots, source) {
			t.Fatalf("k %d, %d lost: restored bytes differ", k, lost)
		}
	})
}

func TestRestoreRefusesBadSymbols(t *testing.T) {
	var d Decoder
	if err := d.Restore(make([]byte, 3), 1, []uint8{0, 0, 2}); !errors.Is(err, ErrSymbols) {
		t.Errorf("a source symbol out of place: %v", err)
	}
	if err := d.Restore(make([]byte, 3), 1, []uint8{9, 9, 2}); !errors.Is(err, ErrSymbols) {
		t.Errorf("the same parity twice: %v", err)
	}
}

// TestParityIsCauchy holds the code to the library's own Cauchy encoder.
func TestParityIsCauchy(t *testing.T) {
	const k, m, size = 40, 10, 64
	source := random(rand.New(rand.NewPCG(1, 2)), k*size)
	enc, err := reedsolomon.New(k, m, reedsolomon.WithCauchyMatrix())
	if err != nil {
		t.Fatal(err)
	}
	shards := make([][]byte, k+m)
	for i := range shards {
		shards[i] = make([]byte, size)
		if i < k {
			copy(shards[i], source[i*size:])
		}
	}
	if err := enc.Encode(shards); err != nil {
		t.Fatal(err)
	}
	tail := bytes.Clone(source[(k-1)*size:])
	got := make([]byte, size)
	for id := k; id < k+m; id++ {
		Parity(got, source[:(k-1)*size], tail, k, uint8(id))
		if !bytes.Equal(got, shards[id]) {
			t.Errorf("parity %d differs", id)
		}
	}
}

func BenchmarkParity(b *testing.B) {
	const k, size = 183, 1433
	source, dst := make([]byte, k*size), make([]byte, size)
	b.SetBytes(k * size)
	b.ReportAllocs()
	for b.Loop() {
		Parity(dst, source, nil, k, 200)
	}
}

func BenchmarkRestore(b *testing.B) {
	const k, size, lost = 183, 1433, 10
	slots, at := make([]byte, k*size), make([]uint8, k)
	for i := range at {
		at[i] = uint8(i)
	}
	for i := range lost {
		at[i*17] = uint8(k + i)
	}
	var d Decoder
	b.SetBytes(k * size)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Restore(slots, size, at); err != nil {
			b.Fatal(err)
		}
	}
}
