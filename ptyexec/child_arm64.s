//go:build linux

#include "go_asm.h"
#include "textflag.h"

#define SYS_exit_group 94
#define SYS_rt_sigprocmask 135
#define SIG_SETMASK 2

DATA everySignal<>(SB)/8, $-1
GLOBL everySignal<>(SB), RODATA|NOPTR, $8

// func vfork(c *call) int
//
// Parent and child share memory and this very stack, so the child must not
// write to it: no calls, no RET, nothing but registers, the steps and SVC.
//
// R19 holds c, R20 the step at hand; system calls leave both alone.
TEXT ·vfork(SB), NOSPLIT|NOFRAME, $0-16
	MOVD c+0(FP), R19

	// Block every signal: a handler of the runtime in the child would run
	// on the stacks, and with the state, of the parent.
	MOVD $SIG_SETMASK, R0
	MOVD $everySignal<>(SB), R1
	ADD  $call_mask, R19, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigprocmask, R8
	SVC

	MOVD call_nr(R19), R8
	MOVD (call_args+0)(R19), R0
	MOVD (call_args+8)(R19), R1
	MOVD (call_args+16)(R19), R2
	MOVD (call_args+24)(R19), R3
	MOVD (call_args+32)(R19), R4
	SVC
	CBZ  R0, child
	MOVD R0, R20

	MOVD $SIG_SETMASK, R0
	ADD  $call_mask, R19, R1
	MOVD $0, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigprocmask, R8
	SVC

	MOVD R20, ret+8(FP)
	RET

child:
	// With clone(2) the pid was written here, in the child. It must be seen before
	// cancelled is read, as cancel writes the one and reads the other.
	DMB  $0xb
	MOVD call_first(R19), R20

next:
	MOVWU call_cancelled(R19), R0
	CBNZ  R0, stop

	MOVD step_nr(R20), R8
	MOVD (step_args+0)(R20), R0
	MOVD (step_args+8)(R20), R1
	MOVD (step_args+16)(R20), R2
	MOVD (step_args+24)(R20), R3
	MOVD (step_args+32)(R20), R4
	MOVD (step_args+40)(R20), R5
	SVC
	CMN  $4095, R0
	BCS  failed
	MOVD step_advance(R20), R1
	ADD  R1, R20, R20
	B    next

failed:
	// Go on only if the step's set of passable errors has this one.
	NEG  R0, R0
	MOVD R0, step_errno(R20)
	CMP  $128, R0
	BCS  stop
	LSR  $6, R0, R1
	ADD  $step_pass, R20, R2
	MOVD (R2)(R1<<3), R3
	LSR  R0, R3, R3
	TBZ  $0, R3, stop
	ADD  $step__size, R20, R20
	B    next

stop:
	MOVD R20, call_stopped(R19)

exit:
	MOVD $127, R0
	MOVD $SYS_exit_group, R8
	SVC
	B    exit
