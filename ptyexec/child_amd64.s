//go:build linux

#include "go_asm.h"
#include "textflag.h"

#define SYS_rt_sigprocmask 14
#define SYS_exit_group 231
#define SIG_SETMASK 2

DATA everySignal<>(SB)/8, $-1
GLOBL everySignal<>(SB), RODATA|NOPTR, $8

// func vfork(c *call) int
//
// Parent and child share memory and this very stack, so the child must not
// write to it: no CALL, no RET, nothing but registers, the steps and SYSCALL.
//
// R12 holds c, R13 the step at hand; system calls leave both alone.
TEXT ·vfork(SB), NOSPLIT, $0-16
	MOVQ c+0(FP), R12

	// Block every signal: a handler of the runtime in the child would run
	// on the stacks, and with the state, of the parent.
	MOVQ $SYS_rt_sigprocmask, AX
	MOVQ $SIG_SETMASK, DI
	LEAQ everySignal<>(SB), SI
	LEAQ call_mask(R12), DX
	MOVQ $8, R10
	SYSCALL

	MOVQ call_nr(R12), AX
	MOVQ (call_args+0)(R12), DI
	MOVQ (call_args+8)(R12), SI
	MOVQ (call_args+16)(R12), DX
	MOVQ (call_args+24)(R12), R10
	MOVQ (call_args+32)(R12), R8
	SYSCALL
	TESTQ AX, AX
	JZ   child
	MOVQ AX, R13

	MOVQ $SYS_rt_sigprocmask, AX
	MOVQ $SIG_SETMASK, DI
	LEAQ call_mask(R12), SI
	MOVQ $0, DX
	MOVQ $8, R10
	SYSCALL

	MOVQ R13, ret+8(FP)
	RET

child:
	// With clone(2) the pid was written here, in the child. It must be seen before
	// cancelled is read, as cancel writes the one and reads the other.
	MFENCE
	MOVQ call_first(R12), R13

next:
	MOVL call_cancelled(R12), AX
	TESTL AX, AX
	JNZ  stop

	MOVQ step_nr(R13), AX
	MOVQ (step_args+0)(R13), DI
	MOVQ (step_args+8)(R13), SI
	MOVQ (step_args+16)(R13), DX
	MOVQ (step_args+24)(R13), R10
	MOVQ (step_args+32)(R13), R8
	MOVQ (step_args+40)(R13), R9
	SYSCALL
	CMPQ AX, $-4095
	JCC  failed
	ADDQ step_advance(R13), R13
	JMP  next

failed:
	// Go on only if the step's set of passable errors has this one.
	NEGQ AX
	MOVQ AX, step_errno(R13)
	CMPQ AX, $128
	JCC  stop
	MOVQ AX, CX
	SHRQ $6, CX
	MOVQ step_pass(R13)(CX*8), DX
	BTQ  AX, DX
	JCC  stop
	ADDQ $step__size, R13
	JMP  next

stop:
	MOVQ R13, call_stopped(R12)

exit:
	MOVQ $SYS_exit_group, AX
	MOVQ $127, DI
	SYSCALL
	JMP  exit
