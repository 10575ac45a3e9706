//go:build linux

#include "textflag.h"

#define SYS_write 1
#define SYS_rt_sigreturn 15

// The kernel calls handler with the signal's number in DI. It runs no Go: in this
// thread the runtime may be anywhere. All registers come back with
// rt_sigreturn(2), those that the system call changes among them.
TEXT handler<>(SB), NOSPLIT|NOFRAME, $0
	SUBQ $24, SP
	MOVB DI, 8(SP)
	MOVL ·end(SB), DI
	LEAQ 8(SP), SI
	MOVL $1, DX
	MOVL $SYS_write, AX
	SYSCALL
	ADDQ $24, SP
	RET

// The handler returns here.
TEXT restorer<>(SB), NOSPLIT|NOFRAME, $0
	MOVL $SYS_rt_sigreturn, AX
	SYSCALL
	INT  $3

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	LEAQ handler<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func restorerAddress() uintptr
TEXT ·restorerAddress(SB), NOSPLIT, $0-8
	LEAQ restorer<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET
