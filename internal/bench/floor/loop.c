/* The floor of a daemon: starts a program again and again, with no more than so
 * many running at a time, and does nothing else. With a terminal each program is
 * session leader on a fresh pty, which is closed when the program has ended. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64 };

static struct running { pid_t pid; int master, terminal; } running[MOST];

/* Calls nothing that a child of vfork(2) may not call. */
static pid_t start(struct running *r, char **argv)
{
	if ((r->pid = vfork()) != 0)
		return r->pid;
	if (r->terminal >= 0) {
		setsid();
		ioctl(r->terminal, TIOCSCTTY, 0);
		for (int fd = 0; fd < 3; fd++)
			dup2(r->terminal, fd);
	}
	execv(argv[0], argv);
	_exit(127);
}

static struct running *find(pid_t pid)
{
	for (struct running *r = running; r < running + MOST; r++)
		if (r->pid == pid)
			return r;
	return 0;
}

static int open_pty(struct running *r)
{
	if (openpty(&r->master, &r->terminal, 0, 0, 0) < 0)
		return -1;
	fcntl(r->master, F_SETFD, FD_CLOEXEC);
	fcntl(r->terminal, F_SETFD, FD_CLOEXEC);
	return 0;
}

int main(int argc, char **argv)
{
	int started = 0, ended = 0, failed = 0, status;

	if (argc < 5)
		return 2;
	int terminal = strcmp(argv[1], "pty") == 0, count = atoi(argv[2]), most = atoi(argv[3]);
	if (most < 1 || most > MOST)
		return 2;
	while (ended < count) {
		struct running *r;
		if (started < count && started - ended < most) {
			r = find(0);
			r->master = r->terminal = -1;
			if ((terminal && open_pty(r) < 0) || start(r, argv + 4) < 0)
				return 125;
			started++;
			continue;
		}
		pid_t pid = wait(&status);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0 || !(r = find(pid)))
			return 125;
		if (r->master >= 0) {
			close(r->terminal);
			close(r->master);
		}
		r->pid = 0;
		failed |= status;
		ended++;
	}
	return failed != 0;
}
