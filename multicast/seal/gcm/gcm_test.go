package gcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
)

const tagSize = 12

// pair is New's AEAD and the one of crypto/cipher, for the same key.
func pair(t testing.TB, key [32]byte, tagSize int) (ours, standard cipher.AEAD) {
	ours, err := New(key, tagSize)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	standard, err = cipher.NewGCMWithTagSize(block, tagSize)
	if err != nil {
		t.Fatal(err)
	}
	return ours, standard
}

func random(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

// TestKnownAnswers seals the messages of AES-256 in the appendix of McGrew and Viega, "The Galois/Counter Mode of Operation", cases 14 to 16.
func TestKnownAnswers(t *testing.T) {
	const (
		key   = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
		nonce = "cafebabefacedbaddecaf888"
		text  = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
		out   = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
	)
	for _, c := range []struct{ key, nonce, text, additional, sealed string }{
		{fmt.Sprintf("%064d", 0), fmt.Sprintf("%024d", 0), fmt.Sprintf("%032d", 0), "", "cea7403d4d606b6e074ec5d3baf39d18" + "d0d1c8a799996bf0265b98b5d48ab919"},
		{key, nonce, text, "", out + "b094dac5d93471bdec1a502270e3cc6c"},
		{key, nonce, text[:120], "feedfacedeadbeeffeedfacedeadbeefabaddad2", out[:120] + "76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		aead, err := New([32]byte(unhex(t, c.key)), 16)
		if err != nil {
			t.Fatal(err)
		}
		if got := aead.Seal(nil, unhex(t, c.nonce), unhex(t, c.text), unhex(t, c.additional)); hex.EncodeToString(got) != c.sealed {
			t.Errorf("%s sealed as\n%x, want\n%s", c.text, got, c.sealed)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLikeStandardLibrary seals and opens messages of all lengths up to a frame's, and some up to a jumbo frame's and beyond.
func TestLikeStandardLibrary(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	ours, standard := pair(t, [32]byte(random(r, 32)), tagSize)
	for n := range 9400 {
		if n > 1600 && n < 9100 && n%61 != 0 {
			continue
		}
		compare(t, ours, standard, random(r, 12), random(r, n), random(r, n%20))
	}
}

// FuzzLikeStandardLibrary seals and opens what the fuzzer finds.
func FuzzLikeStandardLibrary(f *testing.F) {
	f.Add(make([]byte, 32), make([]byte, 12), make([]byte, 100), []byte("additional"), uint8(12))
	f.Fuzz(func(t *testing.T, key, nonce, text, additional []byte, size uint8) {
		if len(key) < 32 || len(nonce) < 12 {
			return
		}
		ours, standard := pair(t, [32]byte(key), 12+int(size)%5)
		compare(t, ours, standard, nonce[:12], text, additional)
	})
}

// compare wants the same bytes from both, and nothing touched before and behind them.
func compare(t *testing.T, ours, standard cipher.AEAD, nonce, text, additional []byte) {
	t.Helper()
	want := standard.Seal([]byte("before"), nonce, text, additional)
	room := bytes.Repeat([]byte{0xee}, len(want)+100)
	copy(room, "before")
	got := ours.Seal(room[:6], nonce, text, additional)
	if !bytes.Equal(got, want) || !bytes.Equal(room[:len(want)], want) {
		t.Fatalf("%d bytes, %d additional: sealed as\n%x, want\n%x", len(text), len(additional), got, want)
	}
	untouched(t, "sealed", room[len(want)+3:]) // crypto/cipher on amd64 writes whole blocks, and so 3 bytes beyond a tag of 12

	sealed := want[6:]
	room = bytes.Repeat([]byte{0xee}, len(text)+100)
	opened, err := ours.Open(room[:0], nonce, sealed, additional)
	if err != nil || !bytes.Equal(opened, text) {
		t.Fatalf("%d bytes, %d additional: opened as %x, %v", len(text), len(additional), opened, err)
	}
	untouched(t, "opened", room[len(text):])

	place := bytes.Clone(sealed)
	if opened, err := ours.Open(place[:0], nonce, place, additional); err != nil || !bytes.Equal(opened, text) {
		t.Fatalf("%d bytes, %d additional: opened in place as %x, %v", len(text), len(additional), opened, err)
	}
	place = append(bytes.Clone(text), make([]byte, ours.Overhead())...)
	if again := ours.Seal(place[:0], nonce, place[:len(text)], additional); !bytes.Equal(again, sealed) {
		t.Fatalf("%d bytes, %d additional: sealed in place as %x", len(text), len(additional), again)
	}
}

func untouched(t *testing.T, what string, behind []byte) {
	t.Helper()
	for i, c := range behind {
		if c != 0xee {
			t.Fatalf("byte %d behind the %s message was written", i, what)
		}
	}
}

// TestForgeriesAreRefused alters each bit of messages and of what they come with, and cuts them.
func TestForgeriesAreRefused(t *testing.T) {
	r := rand.NewChaCha8([32]byte{2})
	aead, _ := pair(t, [32]byte(random(r, 32)), tagSize)
	for _, n := range []int{0, 1, 16, 63, 64, 65, 300} {
		nonce, text, additional := random(r, 12), random(r, n), random(r, 13)
		sealed := aead.Seal(nil, nonce, text, additional)
		for what, part := range map[string][]byte{"message": sealed, "nonce": nonce, "additional data": additional} {
			for bit := range 8 * len(part) {
				part[bit/8] ^= 1 << (bit % 8)
				room := make([]byte, n)
				if _, err := aead.Open(room[:0], nonce, sealed, additional); err == nil {
					t.Errorf("%d bytes: bit %d of the %s altered, opened", n, bit, what)
				}
				if !bytes.Equal(room, make([]byte, n)) {
					t.Errorf("%d bytes: bit %d of the %s altered: plain text was left behind", n, bit, what)
				}
				part[bit/8] ^= 1 << (bit % 8)
			}
		}
		for cut := range sealed {
			if _, err := aead.Open(nil, nonce, sealed[:cut], additional); err == nil {
				t.Errorf("%d bytes: opened when cut to %d", n, cut)
			}
		}
		if _, err := aead.Open(nil, nonce, sealed, additional[:12]); err == nil {
			t.Errorf("%d bytes: opened with less additional data", n)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	ours, standard := pair(b, [32]byte{1}, tagSize)
	for _, c := range []struct {
		name string
		aead cipher.AEAD
	}{{"scatter", ours}, {"standard", standard}} {
		for _, n := range []int{1447, 8947} {
			nonce, text, additional := make([]byte, 12), make([]byte, n), make([]byte, 13)
			out := make([]byte, 0, n+tagSize)
			b.Run(fmt.Sprintf("%s/seal/%d", c.name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					out = c.aead.Seal(out[:0], nonce, text, additional)
				}
			})
			sealed := bytes.Clone(out)
			b.Run(fmt.Sprintf("%s/open/%d", c.name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.aead.Open(out[:0], nonce, sealed, additional); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
