#include "textflag.h"

// Offsets in message.
#define COUNTER 0
#define ADDITIONAL 16
#define BITS 32
#define TAG 48

// The power for the lengths, in schedule: behind 15 round keys and 577 other powers.
#define LAST_POWER (15*16 + 577*16)

DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

DATA ahead<>+0(SB)/8, $1
DATA ahead<>+8(SB)/8, $0
DATA ahead<>+16(SB)/8, $2
DATA ahead<>+24(SB)/8, $0
DATA ahead<>+32(SB)/8, $3
DATA ahead<>+40(SB)/8, $0
DATA ahead<>+48(SB)/8, $4
DATA ahead<>+56(SB)/8, $0
GLOBL ahead<>(SB), RODATA|NOPTR, $64

DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $16

// x^128 + x^127 + x^126 + x^121 + 1, without x^128: GHASH's polynomial with its bits reversed.
DATA polynomial<>+0(SB)/8, $1
DATA polynomial<>+8(SB)/8, $0xc200000000000000
GLOBL polynomial<>(SB), RODATA|NOPTR, $16

// Z16-Z30 round keys, Z31 reverses the bytes of each block, Z15 the next four counters (bytes reversed), Z14 what they go on by.
// Z8, Z9, Z10 the sums of the products' low, middle and high parts. Z11-Z13 are scratch.

// COUNT takes the next four counters to state.
#define COUNT(state) \
	VPSHUFB Z31, Z15, state  \
	VPADDD  Z14, Z15, Z15    \
	VPXORD  Z16, state, state

#define ROUND(k) \
	VAESENC k, Z0, Z0 \
	VAESENC k, Z1, Z1 \
	VAESENC k, Z2, Z2 \
	VAESENC k, Z3, Z3

// HASH multiplies four blocks of ciphertext with their powers.
#define HASH(blocks, offset) \
	VPSHUFB    Z31, blocks, blocks          \
	VMOVDQU64  offset(R9), Z11              \
	VPCLMULQDQ $0x00, blocks, Z11, Z12      \
	VPCLMULQDQ $0x11, blocks, Z11, Z13      \
	VPXORD     Z12, Z8, Z8                  \
	VPXORD     Z13, Z10, Z10                \
	VPCLMULQDQ $0x01, blocks, Z11, Z12      \
	VPCLMULQDQ $0x10, blocks, Z11, Z13      \
	VPTERNLOGD $0x96, Z12, Z13, Z9

// FOLD adds up the four products in a sum.
#define FOLD(z, y, x) \
	VEXTRACTI64X4 $1, z, Y11 \
	VPXOR         Y11, y, y  \
	VEXTRACTI128  $1, y, X11 \
	VPXOR         X11, x, x

// PRODUCT multiplies a block with a power.
#define PRODUCT(block, power) \
	VPCLMULQDQ $0x00, block, power, X8  \
	VPCLMULQDQ $0x01, block, power, X9  \
	VPCLMULQDQ $0x10, block, power, X12 \
	VPCLMULQDQ $0x11, block, power, X10 \
	VPXOR      X12, X9, X9

// REDUCE makes a block of a sum of products, in X10.
#define REDUCE \
	VMOVDQU    polynomial<>(SB), X4 \
	VPCLMULQDQ $0x01, X8, X4, X5    \
	VPSHUFD    $0x4e, X8, X8        \
	VPXOR      X8, X9, X9           \
	VPXOR      X5, X9, X9           \
	VPCLMULQDQ $0x01, X9, X4, X5    \
	VPSHUFD    $0x4e, X9, X9        \
	VPXOR      X9, X10, X10         \
	VPXOR      X5, X10, X10

// func crypt(k *schedule, first *power, m *message, dst, src *byte, n int, encrypt bool)
TEXT ·crypt(SB), NOSPLIT, $0-49
	MOVQ    k+0(FP), R8
	MOVQ    first+8(FP), R9
	MOVQ    m+16(FP), R10
	MOVQ    dst+24(FP), DI
	MOVQ    src+32(FP), SI
	MOVQ    n+40(FP), CX
	MOVBLZX encrypt+48(FP), DX

	VBROADCASTI32X4 0(R8), Z16
	VBROADCASTI32X4 16(R8), Z17
	VBROADCASTI32X4 32(R8), Z18
	VBROADCASTI32X4 48(R8), Z19
	VBROADCASTI32X4 64(R8), Z20
	VBROADCASTI32X4 80(R8), Z21
	VBROADCASTI32X4 96(R8), Z22
	VBROADCASTI32X4 112(R8), Z23
	VBROADCASTI32X4 128(R8), Z24
	VBROADCASTI32X4 144(R8), Z25
	VBROADCASTI32X4 160(R8), Z26
	VBROADCASTI32X4 176(R8), Z27
	VBROADCASTI32X4 192(R8), Z28
	VBROADCASTI32X4 208(R8), Z29
	VBROADCASTI32X4 224(R8), Z30
	VBROADCASTI32X4 reverse<>(SB), Z31
	VBROADCASTI32X4 four<>(SB), Z14
	VBROADCASTI32X4 COUNTER(R10), Z15
	VPSHUFB         Z31, Z15, Z15
	VPADDD          ahead<>(SB), Z15, Z15

	// The first counter encrypts the tag.
	VMOVDQU     COUNTER(R10), X0
	VPXORD      X16, X0, X0
	VAESENC     X17, X0, X0
	VAESENC     X18, X0, X0
	VAESENC     X19, X0, X0
	VAESENC     X20, X0, X0
	VAESENC     X21, X0, X0
	VAESENC     X22, X0, X0
	VAESENC     X23, X0, X0
	VAESENC     X24, X0, X0
	VAESENC     X25, X0, X0
	VAESENC     X26, X0, X0
	VAESENC     X27, X0, X0
	VAESENC     X28, X0, X0
	VAESENC     X29, X0, X0
	VAESENCLAST X30, X0, X0
	VMOVDQU     X0, TAG(R10)

	// Additional data come before the first block, the lengths come last. Instructions on X clear the rest of Z.
	VMOVDQU    ADDITIONAL(R10), X4
	VPSHUFB    X31, X4, X4
	VMOVDQU    -16(R9), X11
	PRODUCT(X4, X11)
	VMOVDQU    BITS(R10), X4
	VMOVDQU    LAST_POWER(R8), X11
	VPCLMULQDQ $0x00, X4, X11, X12
	VPXOR      X12, X8, X8
	VPCLMULQDQ $0x01, X4, X11, X12
	VPXOR      X12, X9, X9
	VPCLMULQDQ $0x10, X4, X11, X12
	VPXOR      X12, X9, X9
	VPCLMULQDQ $0x11, X4, X11, X12
	VPXOR      X12, X10, X10

	SUBQ $256, CX
	JL   rest

sixteen:
	COUNT(Z0)
	COUNT(Z1)
	COUNT(Z2)
	COUNT(Z3)
	ROUND(Z17)
	ROUND(Z18)
	ROUND(Z19)
	ROUND(Z20)
	ROUND(Z21)
	ROUND(Z22)
	ROUND(Z23)
	ROUND(Z24)
	ROUND(Z25)
	ROUND(Z26)
	ROUND(Z27)
	ROUND(Z28)
	ROUND(Z29)
	VAESENCLAST Z30, Z0, Z0
	VAESENCLAST Z30, Z1, Z1
	VAESENCLAST Z30, Z2, Z2
	VAESENCLAST Z30, Z3, Z3
	VMOVDQU64   0(SI), Z4
	VMOVDQU64   64(SI), Z5
	VMOVDQU64   128(SI), Z6
	VMOVDQU64   192(SI), Z7
	VPXORD      Z4, Z0, Z0
	VPXORD      Z5, Z1, Z1
	VPXORD      Z6, Z2, Z2
	VPXORD      Z7, Z3, Z3
	VMOVDQU64   Z0, 0(DI)
	VMOVDQU64   Z1, 64(DI)
	VMOVDQU64   Z2, 128(DI)
	VMOVDQU64   Z3, 192(DI)
	TESTQ       DX, DX
	JZ          hash
	VMOVDQA64   Z0, Z4
	VMOVDQA64   Z1, Z5
	VMOVDQA64   Z2, Z6
	VMOVDQA64   Z3, Z7

hash:
	HASH(Z4, 0)
	HASH(Z5, 64)
	HASH(Z6, 128)
	HASH(Z7, 192)
	ADDQ $256, SI
	ADDQ $256, DI
	ADDQ $256, R9
	SUBQ $256, CX
	JGE  sixteen

rest:
	ADDQ $256, CX
	JZ   reduce

	// Up to four blocks at a time. Bytes behind the last are neither read nor written, and count as zeros.
four:
	MOVQ        $-1, AX
	BZHIQ       CX, AX, AX
	KMOVQ       AX, K1
	VMOVDQU8.Z  (SI), K1, Z4
	COUNT(Z0)
	VAESENC     Z17, Z0, Z0
	VAESENC     Z18, Z0, Z0
	VAESENC     Z19, Z0, Z0
	VAESENC     Z20, Z0, Z0
	VAESENC     Z21, Z0, Z0
	VAESENC     Z22, Z0, Z0
	VAESENC     Z23, Z0, Z0
	VAESENC     Z24, Z0, Z0
	VAESENC     Z25, Z0, Z0
	VAESENC     Z26, Z0, Z0
	VAESENC     Z27, Z0, Z0
	VAESENC     Z28, Z0, Z0
	VAESENC     Z29, Z0, Z0
	VAESENCLAST Z30, Z0, Z0
	VPXORD      Z4, Z0, Z0
	VMOVDQU8    Z0, K1, (DI)
	TESTQ       DX, DX
	JZ          hashfour
	VMOVDQU8.Z  Z0, K1, Z4

hashfour:
	HASH(Z4, 0)
	ADDQ $64, SI
	ADDQ $64, DI
	ADDQ $64, R9
	SUBQ $64, CX
	JG   four

reduce:
	FOLD(Z8, Y8, X8)
	FOLD(Z9, Y9, X9)
	FOLD(Z10, Y10, X10)
	REDUCE
	VPSHUFB    X31, X10, X10
	VPXOR      TAG(R10), X10, X10
	VMOVDQU    X10, TAG(R10)
	VZEROUPPER
	RET

// func times(a, b *power)
TEXT ·times(SB), NOSPLIT, $0-16
	MOVQ    a+0(FP), AX
	MOVQ    b+8(FP), BX
	VMOVDQU (AX), X6
	VMOVDQU (BX), X7
	PRODUCT(X6, X7)
	REDUCE
	VMOVDQU X10, (AX)
	RET

// MIX makes half a key of the one before it and of X2.
#define MIX(half) \
	VPSLLDQ $4, half, X3     \
	VPXOR   X3, half, half   \
	VPSLLDQ $4, X3, X3       \
	VPXOR   X3, half, half   \
	VPSLLDQ $4, X3, X3       \
	VPXOR   X3, half, half   \
	VPXOR   X2, half, half

#define EVEN(constant, offset) \
	VAESKEYGENASSIST $constant, X1, X2 \
	VPSHUFD          $0xff, X2, X2     \
	MIX(X0)                            \
	VMOVDQU          X0, offset(BX)

#define ODD(offset) \
	VAESKEYGENASSIST $0, X0, X2    \
	VPSHUFD          $0xaa, X2, X2 \
	MIX(X1)                        \
	VMOVDQU          X1, offset(BX)

// func expand(key *[32]byte, rounds *[15][blockSize]byte)
TEXT ·expand(SB), NOSPLIT, $0-16
	MOVQ    key+0(FP), AX
	MOVQ    rounds+8(FP), BX
	VMOVDQU 0(AX), X0
	VMOVDQU 16(AX), X1
	VMOVDQU X0, 0(BX)
	VMOVDQU X1, 16(BX)
	EVEN(0x01, 32)
	ODD(48)
	EVEN(0x02, 64)
	ODD(80)
	EVEN(0x04, 96)
	ODD(112)
	EVEN(0x08, 128)
	ODD(144)
	EVEN(0x10, 160)
	ODD(176)
	EVEN(0x20, 192)
	ODD(208)
	EVEN(0x40, 224)
	RET
