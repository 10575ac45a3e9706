//go:build linux

#include "textflag.h"

#define SYS_write 64
#define SYS_rt_sigreturn 139

// The kernel calls handler with the signal's number in R0. It runs no Go: in this
// thread the runtime may be anywhere. All registers come back with
// rt_sigreturn(2), those that the system call changes among them.
TEXT handler<>(SB), NOSPLIT|NOFRAME, $0
	SUB  $16, RSP
	MOVB R0, 8(RSP)
	MOVW ·end(SB), R0
	ADD  $8, RSP, R1
	MOVD $1, R2
	MOVD $SYS_write, R8
	SVC
	ADD  $16, RSP
	RET

// The handler returns here.
TEXT restorer<>(SB), NOSPLIT|NOFRAME, $0
	MOVD $SYS_rt_sigreturn, R8
	SVC
	BRK

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOVD $handler<>(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func restorerAddress() uintptr
TEXT ·restorerAddress(SB), NOSPLIT, $0-8
	MOVD $restorer<>(SB), R0
	MOVD R0, ret+0(FP)
	RET
